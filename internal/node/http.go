package node

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many requests for metrics are served at once: they cost memory and time, and their clients may read slowly.
const maxScrapes = 8

// handler serves /healthz (the process is alive), /readyz (the node serves clients) and /metrics (for Prometheus). The first two
// need no password: orchestrators ask them, and they say nothing else.
func handler(n *Node, password func() string) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{node: n})
	closed := http.NewServeMux()
	closed.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case n.ready.Load():
			fmt.Fprintln(w, "ready")
		case n.closing.Load():
			http.Error(w, "not ready: the node is stopping", http.StatusServiceUnavailable)
		default:
			http.Error(w, "not ready: the node is waiting for "+n.view.Status().Waiting, http.StatusServiceUnavailable)
		}
	})
	mux.Handle("/", withPassword(closed, password, &n.http.denied))
	return markBusy(mux)
}

// withPassword serves requests that give the password, if there is one: with Basic and any user, or as a Bearer token.
func withPassword(h http.Handler, password func() string, denied *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := password()
		_, given, _ := r.BasicAuth()
		if token, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); is {
			given = token
		}
		if want != "" && !sameSecret(want, given) {
			if r.Header.Get("Authorization") != "" {
				denied.Add(1)
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="ndring"`)
			http.Error(w, "a password is needed (--http-password-file)", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// sameSecret compares in a time that does not depend on the secrets, not even on their lengths.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
