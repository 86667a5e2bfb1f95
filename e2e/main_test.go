//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

var (
	project     = "ndring-e2e"
	image       = "ndring:e2e"
	clientImage string
)

// TestMain builds the images, and removes the clusters afterwards in any case. A missing engine is a failure, not
// a skip.
func TestMain(m *testing.M) {
	if p := os.Getenv("NDRING_E2E_PROJECT"); p != "" {
		project = p
	}
	redis.SetLogger(silent{}) // it logs every dial of a node that a test has stopped
	os.Exit(func() int {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer clean()
		return m.Run()
	}())
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func prepare() error {
	tool := &cluster{project: project, files: "docker-compose.yml"}
	for _, script := range []string{"scripts/need-engine", "scripts/image"} {
		if out, err := tool.try(script); err != nil {
			return fmt.Errorf("%s: %w: %s", script, err, out)
		}
	}
	cmd := exec.Command("scripts/client-image")
	cmd.Dir, cmd.Stderr = root(), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("scripts/client-image: %w", err)
	}
	clientImage = strings.TrimSpace(string(out))
	return nil
}

func clean() {
	tool := &cluster{project: project, files: "docker-compose.yml"}
	if out, err := tool.try("scripts/e2e-clean", project, project+"-disk", project+"-heal", project+"-tls"); err != nil {
		fmt.Fprintln(os.Stderr, "what the tests have started was not all removed:", err, out)
	}
	_, _ = tool.try("docker", "rmi", "-f", image)
}

// theOne is the cluster that most tests share. Each test leaves it whole.
var theOne = sync.OnceValues(func() (*cluster, error) { return newCluster(project, "docker-compose.yml", nil) })

// shared returns the shared cluster, whole, and a random source whose seed is printed.
func shared(t *testing.T) (*cluster, *rand.Rand) {
	t.Helper()
	c, err := theOne()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.saveLogs(t)
		}
	})
	c.whole(t)
	return c, chance(t)
}

// chance returns a random source. NDRING_E2E_SEED repeats a seed.
func chance(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("NDRING_E2E_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("NDRING_E2E_SEED: %v", err)
		}
	}
	t.Logf("seed %d (NDRING_E2E_SEED repeats it)", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// insider is a container beside the nodes that runs clients.
func (c *cluster) insider(t testing.TB) string {
	t.Helper()
	if id, err := c.try("docker", "inspect", "-f", "{{.Id}}", c.project+"-client"); err == nil {
		return strings.TrimSpace(id)
	}
	mount := func(folder string) string { return filepath.Join(root(), folder) + ":/src/" + folder + ":ro" }
	return c.aside(t, "--name", c.project+"-client", "-v", mount("python"), "-v", mount("e2e"), "-v", mount("README.md"),
		"-e", "PYTHONPATH=/src/python:/src/python/tests", "-e", "PYTHONDONTWRITEBYTECODE=1")
}

// side is where a client runs.
type side struct {
	name string
	seed [2]string // host and port of its seed node
	src  string
	argv func(program ...string) []string
}

// sides returns both sides.
func (c *cluster) sides(t testing.TB, node int) []side {
	t.Helper()
	inside := c.insider(t)
	return []side{
		{"host", [2]string{"127.0.0.1", fmt.Sprint(c.ports[node])}, root(), func(program ...string) []string {
			if program[0] == "python3" {
				program = append([]string{"env", "PYTHONPATH=python:python/tests", "PYTHONDONTWRITEBYTECODE=1", ".venv/bin/python"}, program[1:]...)
			}
			return program
		}},
		{"container", [2]string{name(node), "7379"}, "/src", func(program ...string) []string {
			return append([]string{"docker", "exec", "-i", inside}, program...)
		}},
	}
}

// python runs client.py on that side and returns its output.
func (s side) python(t testing.TB, c *cluster, what string, args ...string) string {
	t.Helper()
	argv := s.argv(append([]string{"python3", "-W", "error", s.src + "/e2e/client.py", what, s.seed[0], s.seed[1]}, args...)...)
	return c.run(t, argv[0], argv[1:]...)
}

// redisCLI runs redis-cli on that side with the given standard input, and returns its output without the final
// line break.
func (s side) redisCLI(t testing.TB, input string, args ...string) string {
	t.Helper()
	argv := s.argv(append([]string{"redis-cli", "-h", s.seed[0], "-p", s.seed[1]}, args...)...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %s: %v: %s", s.name, strings.Join(argv, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}
