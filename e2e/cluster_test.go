//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const nodes = 5

// cluster is a cluster of docker-compose.yml with its own name and ports.
type cluster struct {
	project string
	files   string // COMPOSE_FILE
	certs   string // NDRING_CERTS
	ports   [nodes + 1]int
	// settings are variables of docker-compose.yml; the others have their defaults.
	settings map[string]string
}

func name(node int) string { return fmt.Sprintf("node%d", node) }

// newCluster starts a cluster as `make up` does.
func newCluster(project, files string, settings map[string]string) (*cluster, error) {
	c := &cluster{project: project, files: files, settings: settings}
	return c, c.start("scripts/up")
}

// start starts the cluster, with ports that are free, by a script.
func (c *cluster) start(script string) error {
	if out, err := c.try("scripts/e2e-clean", c.project); err != nil { // left by a killed run
		return fmt.Errorf("%w: %s", err, out)
	}
	// Below the ephemeral ports, so a port is still free when its node comes back.
	base := 20_000 + rand.IntN(1000)*10
	for i := 1; i <= nodes; {
		base++
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base)); err == nil {
			l.Close()
			c.ports[i] = base
			i++
		}
	}
	out, err := c.try(script)
	if err != nil {
		return fmt.Errorf("cannot start the cluster: %w: %s", err, out)
	}
	fmt.Print(out)
	return nil
}

func root() string {
	dir, err := filepath.Abs("..")
	if err != nil {
		panic(err)
	}
	return dir
}

// environ is the environment of the tools, without settings that a user has made for another cluster.
func (c *cluster) environ() []string {
	var env []string
	for _, e := range os.Environ() {
		if own := strings.HasPrefix(e, "NDRING_") && !strings.HasPrefix(e, "NDRING_CACHE="); !own && !strings.HasPrefix(e, "COMPOSE_") {
			env = append(env, e)
		}
	}
	env = append(env, "COMPOSE_PROJECT_NAME="+c.project, "COMPOSE_FILE="+c.files, "NDRING_IMAGE="+image, "NDRING_CERTS="+c.certs)
	// If empty, they have their defaults and override a file .env.
	for _, s := range []string{"HOST", "SHARDS", "REQUIREPASS", "PROTECTED_MODE", "INSECURE", "MAXMEMORY", "MAXMEMORY_POLICY", "APPENDFSYNC", "LOG_LEVEL", "LOG_FORMAT", "MEM_LIMIT"} {
		env = append(env, "NDRING_"+s+"="+c.settings["NDRING_"+s])
	}
	for i := 1; i <= nodes; i++ {
		env = append(env, fmt.Sprintf("NDRING_PORT_%d=%d", i, c.ports[i]))
	}
	return env
}

// try runs a program at the root of the repository and returns its combined output.
func (c *cluster) try(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = root(), c.environ()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try, but fails the test if the program fails.
func (c *cluster) run(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := c.try(program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (c *cluster) docker(t testing.TB, args ...string) string {
	t.Helper()
	return c.run(t, "docker", args...)
}

// container returns the id of the container of a node.
func (c *cluster) container(t testing.TB, node int) string {
	t.Helper()
	id := c.docker(t, "ps", "-aq", "--no-trunc", "--filter", "label=com.docker.compose.project="+c.project, "--filter", "label=com.docker.compose.service="+name(node))
	if len(strings.Fields(id)) != 1 {
		t.Fatalf("%s has the containers %q, want one", name(node), id)
	}
	return id
}

func (c *cluster) network() string { return c.project + "_cluster" }

// ip returns the address of a container in the network of the cluster.
func (c *cluster) ip(t testing.TB, container string) string {
	t.Helper()
	return c.docker(t, "inspect", "-f", fmt.Sprintf("{{with index .NetworkSettings.Networks %q}}{{.IPAddress}}{{end}}", c.network()), container)
}

func (c *cluster) ips(t testing.TB) (all [nodes + 1]string) {
	t.Helper()
	for i := 1; i <= nodes; i++ {
		if all[i] = c.ip(t, c.container(t, i)); all[i] == "" {
			t.Fatalf("%s has no address", name(i))
		}
	}
	return all
}

// aside starts a container beside the cluster. It stays until it or the cluster is removed.
func (c *cluster) aside(t testing.TB, args ...string) (id string) {
	t.Helper()
	args = append([]string{"run", "-d", "--init", "--label", "ndring.e2e=" + c.project, "--network", c.network()}, args...)
	return c.docker(t, append(args, clientImage, "sleep", "infinity")...)
}

// squat starts containers that occupy addresses until the test ends. The engine assigns free addresses in turn.
func (c *cluster) squat(t testing.TB, addresses ...string) {
	t.Helper()
	free := slices.Clone(addresses)
	for tries := 0; len(free) > 0; tries++ {
		if tries == 300 { // more than the network has addresses
			t.Fatalf("cannot occupy %v", free)
		}
		squatter := c.aside(t)
		t.Cleanup(func() { c.docker(t, "rm", "-f", squatter) })
		ip := c.ip(t, squatter)
		free = slices.DeleteFunc(free, func(address string) bool { return address == ip })
	}
}

// address is where the host reaches a node.
func (c *cluster) address(node int) string { return fmt.Sprintf("127.0.0.1:%d", c.ports[node]) }

func (c *cluster) addresses() (all []string) {
	for i := 1; i <= nodes; i++ {
		all = append(all, c.address(i))
	}
	return all
}

// client is a cluster client on the host that asks the nodes in random order.
func (c *cluster) client(r *rand.Rand) *redis.ClusterClient {
	addrs := c.addresses()
	r.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 4, ReadTimeout: 5 * time.Second, DialTimeout: time.Second, PoolSize: 8})
}

// node returns a client of one node.
func (c *cluster) node(t testing.TB, node int) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: c.address(node), DialTimeout: time.Second, ReadTimeout: 5 * time.Second, MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	return client
}

// info returns CLUSTER INFO of a node.
func info(ctx context.Context, node *redis.Client) (map[string]string, error) {
	text, err := node.ClusterInfo(ctx).Result()
	fields := map[string]string{}
	for _, line := range strings.Split(text, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[key] = value
		}
	}
	return fields, err
}

// whole waits until every node serves and sees all others, and returns the cluster id.
func (c *cluster) whole(t testing.TB) (id string) {
	t.Helper()
	for i := 1; i <= nodes; i++ {
		node := c.node(t, i)
		eventually(t, name(i)+" is part of a whole cluster", func() error {
			f, err := info(t.Context(), node)
			switch {
			case err != nil:
				return err
			case f["cluster_state"] != "ok", f["cluster_known_nodes"] != fmt.Sprint(nodes), f["cluster_nodes_down"] != "0", f["cluster_quorum"] != "1":
				return fmt.Errorf("state %s, %s nodes, down: %q, quorum %s, waits for %q", f["cluster_state"], f["cluster_known_nodes"], f["cluster_nodes_down_names"], f["cluster_quorum"], f["cluster_waiting_for"])
			case id != "" && f["cluster_id"] != id:
				t.Fatalf("%s belongs to cluster %s, others to %s", name(i), f["cluster_id"], id)
			}
			id = f["cluster_id"]
			return nil
		})
	}
	return id
}

// patience is how long an expected event may take: no test measures time.
const patience = 90 * time.Second

func eventually(t testing.TB, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", patience, what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// saveLogs writes the logs of the nodes to .cache/e2e, and their ends to the output of the test.
func (c *cluster) saveLogs(t testing.TB) {
	dir := filepath.Join(root(), ".cache", "e2e", strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Log(err)
	}
	for i := 1; i <= nodes; i++ {
		id, err := c.try("docker", "ps", "-aq", "--filter", "label=com.docker.compose.project="+c.project, "--filter", "label=com.docker.compose.service="+name(i))
		if err != nil || id == "" {
			t.Logf("%s has no container", name(i))
			continue
		}
		text, _ := c.try("docker", "logs", strings.TrimSpace(id))
		file := filepath.Join(dir, name(i)+".log")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Log(err)
		}
		lines := strings.Split(strings.TrimSpace(text), "\n")
		t.Logf("%s (all of it in %s):\n%s", name(i), file, strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
}
