package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/internal/certs"
)

// HTTPConfig is how a node serves HTTP, besides its port.
type HTTPConfig struct {
	TLS          bool
	PasswordFile string // of all but /healthz and /readyz; empty: no password
	Pprof        int    // port of /debug/pprof on loopback; 0: none
}

// httpPort is the HTTP port of a node, and that of its profiles.
type httpPort struct {
	server, pprof *http.Server // nil if they are not open
	addr          net.Addr     // of server
	denied        atomic.Int64 // requests with a wrong password
}

const (
	maxHeader   = 16 << 10 // bytes of a request's header
	maxProfiles = 8        // connections to the port of profiles
)

// newHTTPServer returns a server that bounds what a client may send and how long it may take.
func newHTTPServer(h http.Handler, logger *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // one request at a time on each connection, which bounds what all of them cost
	return &http.Server{
		Handler: h, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute,
		Protocols: protocols, ConnContext: withConn, ErrorLog: log.New(&rareLines{log: logger}, "", 0),
	}
}

// openHTTP opens the HTTP port, and that of profiles if there is one. Without certificates it is plain. Ctx lasts until the node
// closes.
func openHTTP(ctx context.Context, n *Node, certificates *certs.Store) error {
	config := &n.config.HTTP
	password, err := openSecret("the password of the HTTP port", config.PasswordFile)
	if err != nil {
		return err
	}
	socket, err := n.machine.listen(ctx, joinHostPort(n.config.Bind, n.config.HTTPPort))
	if err != nil {
		return cannotListen("HTTP", "--http-port", err)
	}
	p := &n.http
	p.addr = socket.Addr()
	p.server = newHTTPServer(handler(n, password.value), n.log)
	bounds := bound(socket, n.config.Descriptors.HTTP)
	if certificates != nil {
		bounds = tls.NewListener(bounds, certificates.Server(tls.NoClientCert))
	}
	go serveHTTP(p.server, bounds, n.log)
	n.done.Go(func() { password.watch(ctx, n.log, func(string) {}) })
	if config.Pprof == 0 {
		return nil
	}
	if socket, err = n.machine.listen(ctx, joinHostPort("127.0.0.1", config.Pprof)); err != nil {
		return cannotListen("profiles", "--pprof-port", err)
	}
	p.pprof = newHTTPServer(markBusy(profiles()), n.log)
	p.pprof.WriteTimeout = 0 // a profile takes as long as its client asks for
	go serveHTTP(p.pprof, bound(socket, maxProfiles), n.log)
	n.log.Info("profiles at /debug/pprof/", "address", socket.Addr().String())
	return nil
}

func serveHTTP(server *http.Server, l net.Listener, log *slog.Logger) {
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		log.Error("HTTP port failed", "err", err)
	}
}

// shutdown ends both servers. Requests under way may finish until ctx is done.
func (p *httpPort) shutdown(ctx context.Context) (err error) {
	if p.pprof != nil {
		err = p.pprof.Close() // a profile may take minutes
	}
	if p.server != nil {
		err = errors.Join(err, p.server.Shutdown(ctx))
	}
	return err
}

// profiles serves /debug/pprof to programs on this machine. A web page that makes a browser there ask for it names another host.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			http.Error(w, "only for programs on this machine", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// rareLines logs what an HTTP server reports, at most one line in a time: hostile clients cause as many as they like.
type rareLines struct {
	log *slog.Logger

	mu         sync.Mutex // guards all below
	next       time.Time
	suppressed int
}

const rareTime = 10 * time.Second

// Write implements io.Writer for one line.
func (r *rareLines) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Before(r.next) {
		r.suppressed++
		return len(line), nil
	}
	r.log.Warn("HTTP port", "err", string(bytes.TrimSpace(line)), "suppressed", r.suppressed)
	r.suppressed, r.next = 0, now.Add(rareTime)
	return len(line), nil
}
