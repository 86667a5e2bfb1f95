package node

import (
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// The health check asks the address in the environment, and passes on why the node is not ready.
func TestHealthcheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	var ready atomic.Bool
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		if !ready.Load() {
			http.Error(w, "not ready: the node waits for 5 nodes, 2 are there", http.StatusServiceUnavailable)
		}
	})}
	go server.Serve(l)
	defer server.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	t.Setenv("NDRING_BIND", "127.0.0.2")
	t.Setenv("NDRING_HTTP_PORT", port)
	if _, said, code := runProgram("healthcheck"); code != exitFailure || !strings.Contains(said, "the node waits for 5 nodes, 2 are there") {
		t.Errorf("not ready: exit code %d, %q", code, said)
	}
	ready.Store(true)
	if out, said, code := runProgram("healthcheck"); code != exitOK || out != "ready\n" {
		t.Errorf("ready: exit code %d, %q, %q", code, out, said)
	}
	for _, any := range []string{"", "0.0.0.0", "::"} { // all addresses: it asks on loopback
		t.Setenv("NDRING_BIND", any)
		if _, said, code := runProgram("healthcheck"); code != exitFailure || !strings.Contains(said, "127.0.0.1:"+port) {
			t.Errorf("bound to %q: exit code %d, %q", any, code, said)
		}
	}
}
