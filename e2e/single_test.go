//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/loadtest"
)

// single runs one node from the image, without Compose and with as few rights as possible, and returns a client
// once the node is healthy.
func (c *cluster) single(t *testing.T, options []string, flags ...string) (container string, client *redis.Client) {
	t.Helper()
	args := append([]string{"run", "-d", "--label", "ndring.e2e=" + c.project, "-p", "127.0.0.1::7379", "--read-only", "--user", "65532", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges"}, options...)
	container = c.docker(t, append(append(args, image, "--protected-mode", "no", "--insecure"), flags...)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.docker(t, "logs", container))
		}
		c.docker(t, "rm", "-f", "-v", container)
	})
	eventually(t, "the node is healthy", func() error {
		if health := c.docker(t, "inspect", "-f", "{{.State.Health.Status}}", container); health != "healthy" {
			return errors.New(health)
		}
		return nil
	})
	client = redis.NewClient(&redis.Options{Addr: strings.Fields(c.docker(t, "port", container, "7379"))[0], ReadTimeout: 20 * time.Second, PoolSize: 8})
	t.Cleanup(func() { client.Close() })
	return container, client
}

// The image runs without Compose, without privileges, on a new volume, and stops cleanly.
func TestSingleContainer(t *testing.T) {
	c, r := shared(t)
	container, client := c.single(t, nil)
	want := loadtest.Array(r.Uint64(), 3<<20)
	if err := client.Do(t.Context(), "NP.SET", "k", want).Err(); err != nil {
		t.Fatal(err)
	}
	c.docker(t, "stop", container)
	if state := c.docker(t, "inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", container); state != "0 false" {
		t.Errorf("stopped with %s", state)
	}
	c.docker(t, "start", container)
	client = redis.NewClient(&redis.Options{Addr: strings.Fields(c.docker(t, "port", container, "7379"))[0]})
	defer client.Close()
	eventually(t, "the array is there again", func() error { return data{"k": want}.served(t.Context(), client) })
}

// A node owns a volume that is new or was created before. For a volume of another user the error says which user
// must own it.
func TestVolumes(t *testing.T) {
	c, _ := shared(t)
	volume := func(what string) string {
		return c.docker(t, "volume", "create", "--label", "com.docker.compose.project="+c.project, c.project+"-"+what) // removed with the project at the latest
	}
	made, others := volume("made"), volume("others")
	_, client := c.single(t, []string{"-v", made + ":/data"})
	if err := client.Do(t.Context(), "NP.SET", "k", loadtest.Array(1, 100)).Err(); err != nil {
		t.Errorf("on a volume that existed before: %v", err)
	}
	for _, volume := range []string{made, others} {
		var stat syscall.Stat_t
		folder := c.docker(t, "volume", "inspect", "-f", "{{.Mountpoint}}", volume)
		if volume == others {
			c.docker(t, "run", "--rm", "--user", "0", "-v", others+":/data", "--entrypoint", "touch", clientImage, "/data/file") // no longer new: the engine does not change its owner
		}
		if err := syscall.Stat(folder, &stat); err != nil {
			t.Fatalf("the engine must run on this machine: %v", err)
		}
		if want := map[string]uint32{made: 65532, others: 0}[volume]; stat.Uid != want {
			t.Errorf("the volume %s belongs to user %d, want %d", volume, stat.Uid, want)
		}
	}
	out, err := c.try("docker", "run", "--rm", "--read-only", "-v", others+":/data", image, "--insecure")
	if err == nil || !strings.Contains(out, "permission denied: this process runs as user 65532") {
		t.Errorf("on a volume of user 0: %v: %s", err, out)
	}
}

// The nodes know the memory limits of their containers, and their own maxmemory.
func TestMemoryOfTheContainer(t *testing.T) {
	c, _ := shared(t)
	for n := 1; n <= nodes; n++ {
		id := c.container(t, n)
		limit := c.inspect(t, id).HostConfig.Memory
		memory, err := c.node(t, n).Info(t.Context(), "memory").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{fmt.Sprintf("total_system_memory:%d\r\n", limit), "maxmemory:734003200\r\n"} {
			if !strings.Contains(memory, want) {
				t.Errorf("%s does not say %q:\n%s", name(n), want, memory)
			}
		}
		if limit != 1<<30 {
			t.Errorf("%s has a limit of %d bytes", name(n), limit)
		}
		if log := c.docker(t, "logs", id); strings.Contains(log, "may kill this process for lack of memory") {
			t.Errorf("%s: maxmemory is too high for the container:\n%s", name(n), log)
		}
	}
}

// A node at maxmemory that many clients overwrite and read stays within the limit of its container.
func TestFullMemory(t *testing.T) {
	c, r := shared(t)
	container, client := c.single(t, []string{"--memory", "256m", "--memory-swap", "256m"}, "--maxmemory", "180mb")
	var oom, acks atomic.Int64
	var group sync.WaitGroup
	for w := range 4 {
		r := rand.New(rand.NewPCG(r.Uint64(), uint64(w)))
		group.Go(func() {
			for range 150 {
				key, value := fmt.Sprint("k", r.IntN(400)), loadtest.Array(r.Uint64(), 1+r.IntN(2<<20))
				err := client.Do(t.Context(), "NP.SET", key, value).Err()
				switch {
				case err == nil:
					acks.Add(1)
				case strings.HasPrefix(err.Error(), "OOM "):
					oom.Add(1)
					err = client.Do(t.Context(), "NP.GET", fmt.Sprint("k", r.IntN(400))).Err()
					if err == nil || errors.Is(err, redis.Nil) {
						continue
					}
					fallthrough
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	i := c.inspect(t, container)
	if oom.Load() == 0 || i.State.OOMKilled || !i.State.Running || i.RestartCount != 0 {
		t.Errorf("%d writes, %d answered OOM; the container: %+v, restarts %d", acks.Load(), oom.Load(), i.State, i.RestartCount)
	}
	t.Logf("%d writes, %d answered OOM", acks.Load(), oom.Load())
}
