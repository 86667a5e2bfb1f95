//go:build faults

package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

// beforeCommit is the version before this one for the tests of two versions: the newest commit of the main line without the last change of the
// topology's format or of what nodes send each other. Whoever makes such a change moves it to the commit before the change, and
// formatBefore to the LatestFormat of that commit.
const (
	beforeCommit = "30e749dce930e040904e0d54be2fae59494a2bba"
	formatBefore = topology.Format2
)

// programBefore is the ndring program of beforeCommit.
func programBefore(t *testing.T) func() (string, error) {
	t.Helper()
	path, err := builtBefore()
	switch {
	case err == nil:
		return func() (string, error) { return path, nil }
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	}
	t.Skip(err)
	return nil
}

// builtBefore builds the program once, and keeps it in the folder that the scripts use.
var builtBefore = sync.OnceValues(func() (string, error) {
	root, err := git("rev-parse", "--show-toplevel")
	root = strings.TrimSpace(root)
	if err != nil {
		return "", fmt.Errorf("the version before is built from the repository, and this is not a clone of it: %w", err)
	}
	if _, err := git("cat-file", "-e", beforeCommit+"^{commit}"); err != nil {
		return "", fmt.Errorf("commit %.12s, the version before, is not in this clone (git fetch --unshallow brings it): %w", beforeCommit, err)
	}
	cache := os.Getenv("NDRING_CACHE")
	if cache == "" {
		cache = filepath.Join(root, ".cache")
	}
	path := filepath.Join(cache, "versions", beforeCommit, "ndring")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	source, err := os.MkdirTemp("", "ndring-before-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(source)
	archive, err := git("-C", root, "archive", "--format", "tar", beforeCommit)
	if err == nil {
		err = unpackTar(strings.NewReader(archive), source)
	}
	if err != nil {
		return "", err
	}
	made := fmt.Sprintf("%s.%d", path, os.Getpid())
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.version=before", "-o", made, "./cmd/node")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build of commit %.12s: %w: %s", beforeCommit, err, out)
	}
	return path, os.Rename(made, path) // whole or not at all
})

func git(args ...string) (string, error) {
	out, err := exec.Command("git", args...).Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(failed.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}
