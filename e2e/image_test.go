//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// inspected is what the engine reports about an image or a container.
type inspected struct {
	Size   int64
	Config struct {
		User        string
		Env         []string
		Entrypoint  []string
		StopSignal  string
		Healthcheck struct{ Test []string }
		Labels      map[string]string
		Volumes     map[string]struct{}
	}
	HostConfig struct {
		ReadonlyRootfs bool
		CapDrop        []string
		CapAdd         []string
		SecurityOpt    []string
		Privileged     bool
		Memory         int64
	}
	State struct {
		Pid                int
		Running, OOMKilled bool
	}
	RestartCount int
}

func (c *cluster) inspect(t testing.TB, what string) inspected {
	t.Helper()
	var all []inspected
	if err := json.Unmarshal([]byte(c.docker(t, "inspect", what)), &all); err != nil || len(all) != 1 {
		t.Fatalf("docker inspect %s: %v", what, err)
	}
	return all[0]
}

// The image consists of one static binary and an empty folder.
func TestImage(t *testing.T) {
	c, _ := shared(t)
	i := c.inspect(t, image)
	for what, wrong := range map[string]bool{
		"size":         i.Size > 30_000_000,
		"user":         i.Config.User != "65532:65532",
		"entry point":  !slices.Equal(i.Config.Entrypoint, []string{"/ndring"}),
		"stop signal":  i.Config.StopSignal != "SIGTERM",
		"health check": !slices.Equal(i.Config.Healthcheck.Test, []string{"CMD", "/ndring", "healthcheck"}),
		"licence":      i.Config.Labels["org.opencontainers.image.licenses"] != "Apache-2.0",
		"version":      i.Config.Labels["org.opencontainers.image.version"] == "",
		"source":       i.Config.Labels["org.opencontainers.image.source"] != "https://github.com/ndring/ndring",
	} {
		if wrong {
			t.Errorf("%s: %+v", what, i)
		}
	}
	for _, e := range i.Config.Env {
		if key, _, _ := strings.Cut(e, "="); !slices.Contains([]string{"PATH", "NDRING_DIR", "NDRING_BIND"}, key) {
			t.Errorf("the image sets %s", e)
		}
	}
	history := c.docker(t, "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
	if found := regexp.MustCompile(`(?i)pass|secret|token|credential|private|\bkey\b`).FindString(history); found != "" {
		t.Errorf("the history has %q:\n%s", found, history)
	}
	files := imageFiles(t)
	if want := map[string]string{"ndring": "file of 0:0", "data/": "folder of 65532:65532"}; fmt.Sprint(files) != fmt.Sprint(want) {
		t.Errorf("the image has %v, want %v", files, want)
	}
	t.Logf("%.1f MB: %v", float64(i.Size)/1e6, files)
}

// imageFiles returns the files in the layers of the image.
func imageFiles(t *testing.T) map[string]string {
	t.Helper()
	cmd := exec.Command("docker", "save", image)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	files, layers := map[string]string{}, 0
	each := func(r io.Reader, do func(*tar.Header, io.Reader)) error {
		for archive := tar.NewReader(r); ; {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			do(h, archive)
		}
	}
	err = each(bytes.NewReader(out), func(h *tar.Header, r io.Reader) {
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) { // engines with containerd's image store compress layers
			unpacked, err := gzip.NewReader(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			if content, err = io.ReadAll(unpacked); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.HasSuffix(h.Name, "layer.tar") && !(strings.HasPrefix(h.Name, "blobs/") && len(content) > 512 && string(content[257:262]) == "ustar") {
			return // metadata of the layers
		}
		layers++
		if err := each(bytes.NewReader(content), func(h *tar.Header, _ io.Reader) {
			kind := "folder"
			if h.Typeflag != tar.TypeDir {
				kind = "file"
			}
			files[h.Name] = fmt.Sprintf("%s of %d:%d", kind, h.Uid, h.Gid)
		}); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil || layers == 0 {
		t.Fatalf("%d layers: %v", layers, err)
	}
	return files
}

// The containers of the cluster have only the rights that they need, and Compose reads the compose file without
// a warning.
func TestContainersAreLocked(t *testing.T) {
	c, _ := shared(t)
	if out, err := c.try("scripts/compose", "config", "-q"); err != nil || out != "" {
		t.Errorf("the compose file: %v: %s", err, out)
	}
	for n := 1; n <= nodes; n++ {
		i := c.inspect(t, c.container(t, n))
		h := i.HostConfig
		if !h.ReadonlyRootfs || !slices.Equal(h.CapDrop, []string{"ALL"}) || len(h.CapAdd) > 0 || h.Privileged ||
			!slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "no-new-privileges") }) {
			t.Errorf("%s: %+v", name(n), h)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", i.State.Pid))
		if err != nil {
			t.Fatalf("the engine must run on this machine: %v", err)
		}
		for _, want := range []string{`(?m)^CapEff:\t0+$`, `(?m)^CapPrm:\t0+$`, `(?m)^CapBnd:\t0+$`, `(?m)^NoNewPrivs:\t1$`, `(?m)^Uid:\t65532\t65532\t65532\t65532$`, `(?m)^Gid:\t65532\t65532\t65532\t65532$`} {
			if !regexp.MustCompile(want).Match(status) {
				t.Errorf("%s: its process lacks %s:\n%s", name(n), want, status)
			}
		}
	}
}
