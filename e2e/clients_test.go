//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/loadtest"
)

// want returns exactly the addresses that clients on a side should receive.
func (c *cluster) want(s side) (all []string) {
	for i := 1; i <= nodes; i++ {
		if s.name == "host" {
			all = append(all, c.address(i))
		} else {
			all = append(all, name(i)+":7379")
		}
	}
	return all
}

// Clients inside the cluster's network and on the host use one cluster, and neither ever receives an address
// that it cannot reach.
func TestAddresses(t *testing.T) {
	c, r := shared(t)
	for _, s := range c.sides(t, 1+r.IntN(nodes)) {
		want := c.want(s)
		told := map[string]bool{}
		reply := strings.Split(s.redisCLI(t, "", "CLUSTER", "SLOTS"), "\n") // not a terminal: one element per line
		for i, line := range reply {
			if regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(line) {
				told[reply[i-2]+":"+reply[i-1]] = true
			}
		}
		for _, line := range strings.Split(s.redisCLI(t, "", "CLUSTER", "NODES"), "\n") {
			if fields := strings.Fields(line); len(fields) > 1 {
				address, _, _ := strings.Cut(fields[1], "@")
				told[address] = true
			}
		}
		for _, node := range want {
			host, port, _ := strings.Cut(node, ":")
			at := s
			at.seed = [2]string{host, port}
			commands := "PING\n"
			for i := range 40 {
				commands += fmt.Sprintf("NP.GET no-such-key-%d\n", i)
			}
			got := at.redisCLI(t, commands) // without -c it prints redirects
			if !strings.HasPrefix(got, "PONG\n") {
				t.Errorf("%s: %s answers %q", s.name, node, got)
			}
			for _, moved := range regexp.MustCompile(`(?m)^MOVED \d+ (\S+)$`).FindAllStringSubmatch(got, -1) {
				told[moved[1]] = true
			}
		}
		for address := range told {
			if !slices.Contains(want, address) {
				t.Errorf("%s: received the address %s, which is not one of %v", s.name, address, want)
			}
		}
		if len(told) != nodes {
			t.Errorf("%s: received %d addresses, want %v", s.name, len(told), want)
		}
		seen := strings.Fields(s.python(t, c, "nodes"))
		seen = slices.DeleteFunc(seen, func(line string) bool { return !strings.Contains(line, ":") })
		slices.Sort(seen)
		if !slices.Equal(seen, want) {
			t.Errorf("%s: the Python client sees %v, want %v", s.name, seen, want)
		}
	}
}

// Python on each side gets what Python on the other has stored, bit for bit, although one has NumPy 1 and the
// other NumPy 2.
func TestPythonInsideAndOutside(t *testing.T) {
	c, r := shared(t)
	sides := c.sides(t, 1+r.IntN(nodes))
	for _, s := range sides {
		t.Logf("%s: %s", s.name, s.python(t, c, "program", s.src+"/README.md"))
		t.Logf("%s: stores %s arrays", s.name, s.python(t, c, "store", s.name+":"))
	}
	for i, s := range sides {
		for j, from := range sides {
			found := regexp.MustCompile(`(\d+) identical, (\d+) refused, missing: (.*)`).FindStringSubmatch(s.python(t, c, "check", from.name+":"))
			if found == nil {
				t.Fatalf("%s does not report what it checked", s.name)
			}
			t.Logf("%s: of what the %s has stored: %s", s.name, from.name, found[0])
			// Features of NumPy 2 are missing in what NumPy 1 stored, and rejected when NumPy 1 reads.
			if (i == j && found[2] != "0") || (found[3] != "[]" && (s.name != "container" || from.name != "host")) {
				t.Errorf("%s, reading what the %s stored: %s", s.name, from.name, found[0])
			}
		}
	}
}

// redis-cli -c on both sides and go-redis on the host get what the others stored.
func TestOtherClients(t *testing.T) {
	c, r := shared(t)
	client := c.client(r)
	defer client.Close()
	sides := c.sides(t, 1+r.IntN(nodes))
	for i := range 12 {
		want := loadtest.Array(r.Uint64(), 1+r.IntN(20_000))
		key := fmt.Sprint("other clients ", i)
		if i%3 == 0 {
			if err := client.Do(t.Context(), "NP.SET", key, want).Err(); err != nil {
				t.Fatalf("go-redis: %v", err)
			}
		} else if got := sides[i%3-1].redisCLI(t, want, "-c", "-x", "NP.SET", key); got != "OK" {
			t.Fatalf("%s: redis-cli: %q", sides[i%3-1].name, got)
		}
		if got, err := client.Do(t.Context(), "NP.GET", key).Text(); err != nil || got != want {
			t.Errorf("go-redis does not get what was stored for %q: %v", key, err)
		}
		for _, s := range sides {
			if got := s.redisCLI(t, "", "-c", "NP.GET", key); got != want {
				t.Errorf("%s: redis-cli gets %d bytes for %q, want the stored %d", s.name, len(got), key, len(want))
			}
		}
	}
	for _, s := range sides {
		if got := s.redisCLI(t, "", "--cluster", "check", s.seed[0]+":"+s.seed[1]); !strings.Contains(got, "All 16384 slots covered") {
			t.Errorf("%s: redis-cli --cluster check: %s", s.name, got)
		}
	}
}

// go-redis on both sides, the same static program: it dials all nodes at the addresses of its side, and no
// other addresses.
func TestGoRedisInsideAndOutside(t *testing.T) {
	c, r := shared(t)
	program := filepath.Join(t.TempDir(), "goredis")
	build := exec.Command("go", "build", "-o", program, "./e2e/goredis")
	build.Dir, build.Env = root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sides := c.sides(t, 1+r.IntN(nodes))
	c.docker(t, "cp", program, c.insider(t)+":/usr/local/bin/goredis")
	for i, s := range sides {
		argv := s.argv([]string{program, "/usr/local/bin/goredis"}[i], s.seed[0]+":"+s.seed[1], "go-redis "+s.name+" ")
		dialled := strings.Fields(c.run(t, argv[0], argv[1:]...))
		if want := c.want(s); !slices.Equal(dialled, want) {
			t.Errorf("%s: go-redis dialled %v, want %v", s.name, dialled, want)
		}
		t.Logf("%s: go-redis dials %v", s.name, dialled)
	}
}
