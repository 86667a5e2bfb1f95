package bus

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/uuid"
)

// TLS is how nodes prove to each other who they are. Server and Client are called for each connection, so that it begins with the
// newest certificates. Both sides need a certificate of one of the CAs (Server's ClientCAs, Client's RootCAs), and it must name the
// node (see "Who may connect"). It need not name the host: which node answers is checked by its id, whatever its address is today.
type TLS struct {
	Server, Client func() *tls.Config
	// Cluster is what this node's certificate names. Nodes whose certificates name others are refused, also
	// before either belongs to a cluster.
	Cluster uuid.UUID
	// Removed reports whether a node was removed from the cluster: its certificate counts no more. It must not block; nil: none was.
	Removed func(topology.NodeID) bool
}

// server returns the configuration for one accepted connection.
func (t *TLS) server() *tls.Config {
	given := t.Server()
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		c := given
		if given.GetConfigForClient != nil {
			found, err := given.GetConfigForClient(h)
			if err != nil {
				return nil, err
			}
			if found != nil {
				c = found
			}
		}
		if c.ClientCAs == nil {
			return nil, errNoCA // the system's would let in anyone with a certificate of the internet
		}
		c = c.Clone()
		c.MinVersion, c.ClientAuth = tls.VersionTLS13, tls.RequireAndVerifyClientCert
		c.SessionTicketsDisabled = true // a resumed session would skip the check of the CA
		c.DynamicRecordSizingDisabled = true
		return c, nil
	}}
}

// client returns the configuration for one outbound connection.
func (t *TLS) client() *tls.Config {
	c := t.Client().Clone()
	c.MinVersion, c.DynamicRecordSizingDisabled = tls.VersionTLS13, true
	c.InsecureSkipVerify = true // of the host's name: all else is checked below, and the node's id after that
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if c.RootCAs == nil {
			return errNoCA
		}
		options := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if c.Time != nil {
			options.CurrentTime = c.Time()
		}
		for _, cert := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
		return nil
	}
	return c
}

var errNoCA = errors.New("no CA is configured for the bus")

// admits returns an error unless a peer has proved who it is, and is not removed. It reports whether there was a proof.
func (t *TLS) admits(state tls.ConnectionState, local, remote Identity) (verified bool, err error) {
	if t == nil {
		return false, nil
	}
	if err := t.checkCertificate(state, local, remote); err != nil {
		return false, err
	}
	if t.Removed != nil && t.Removed(remote.Node) {
		return false, fmt.Errorf("%w: node %s", ErrRemoved, remote.Node)
	}
	return true, nil
}

// begin starts TLS, or not, on an accepted connection, according to its first bytes. A peer that begins in the other way gets
// REFUSE in plain text, which does not say who this node is.
func (a *acceptor) begin(ctx context.Context, conn net.Conn) (net.Conn, tls.ConnectionState, error) {
	var state tls.ConnectionState
	first := make([]byte, len(greetingMagic))
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, state, fmt.Errorf("bus: HELLO of %s: %w", conn.RemoteAddr(), err)
	}
	replay := &replayed{Conn: conn, first: first}
	secure := a.core.options.TLS
	switch plain := string(first) == greetingMagic; {
	case secure == nil && first[0] == recordHandshake:
		return nil, state, a.refuseMixed(replay, "the other side speaks TLS, this node does not: it has no --bus-tls-cert")
	case secure == nil:
		return replay, state, nil
	case plain:
		return nil, state, a.refuseMixed(replay, "this node speaks TLS, the other side does not: it has no --bus-tls-cert")
	}
	layer := &gather{Conn: replay}
	over := tls.Server(layer, secure.server())
	if err := over.HandshakeContext(ctx); err != nil {
		return nil, state, &tlsError{conn.RemoteAddr().String(), true, err}
	}
	return &gathered{over, layer}, over.ConnectionState(), nil
}

// recordHandshake is the first byte of a client that speaks TLS.
const recordHandshake = 22

// lastWords bounds the time that a refused peer has to read why.
const lastWords = 500 * time.Millisecond

// refuseMixed refuses a peer that speaks plain text to TLS, or the other way round.
func (a *acceptor) refuseMixed(conn net.Conn, detail string) error {
	own := a.core.options.versions
	reply := greeting{message: refuse, min: own.min, max: own.max, code: codeOf(ErrMixed), detail: detail}
	if b, err := reply.append(nil); err == nil {
		conn.SetDeadline(time.Now().Add(lastWords))
		conn.Write(b)
		if half, ok := conn.(*replayed).Conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
		io.Copy(io.Discard, io.LimitReader(conn, 64<<10)) // unread bytes would make the system drop the reply
	}
	return &HandshakeError{Reason: ErrMixed, Address: conn.RemoteAddr().String(), Inbound: true, Local: a.core.options.Identity(), Detail: detail}
}

// refusal returns why the other side refused in plain text a connection that was to begin with TLS; nil if it did not.
func refusal(err error, conn net.Conn) error {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) || !bytes.HasPrefix(record.RecordHeader[:], []byte(greetingMagic)) {
		return nil
	}
	return &HandshakeError{Reason: ErrMixed, Address: conn.RemoteAddr().String(), Detail: "this node speaks TLS, the other side does not: it has no --bus-tls-cert"}
}

// tlsError says that TLS with another node has failed.
type tlsError struct {
	address string
	inbound bool
	err     error
}

func (e *tlsError) Error() string {
	hint := ""
	switch alert, direction := (tls.AlertError)(0), new(net.OpError); {
	case errors.As(e.err, &direction) && direction.Op == "remote error", errors.As(e.err, &alert):
		hint = ": the other side refuses this node's certificate, or does not have this node's CA"
	case errors.Is(e.err, io.EOF) && !e.inbound:
		hint = ": does its bus speak TLS?"
	}
	return fmt.Sprintf("bus: TLS with %s: %v%s", e.address, e.err, hint)
}

func (e *tlsError) Unwrap() error { return e.err }

// telling reports whether an error of TLS points to a mistake in a configuration, and not to a connection that ended.
func (e *tlsError) telling() bool {
	var network *net.OpError
	switch {
	case errors.Is(e.err, io.EOF), errors.Is(e.err, net.ErrClosed), errors.Is(e.err, context.Canceled), errors.Is(e.err, context.DeadlineExceeded):
		return false
	case errors.As(e.err, &network):
		return network.Op == "remote error" || network.Op == "local error"
	}
	return true
}

// replayed is a connection of which the first bytes have been read.
type replayed struct {
	net.Conn
	first []byte
}

func (r *replayed) Read(b []byte) (int, error) {
	if len(r.first) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.first)
	r.first = r.first[n:]
	return n, nil
}

// gathered is a TLS connection whose writes reach the socket whole: TLS alone would write each record, of 16 KiB, with a system
// call of its own.
type gathered struct {
	*tls.Conn
	below *gather
}

func (g *gathered) Write(b []byte) (int, error) {
	g.below.hold()
	n, err := g.Conn.Write(b)
	if e := g.below.release(); err == nil && e != nil {
		n, err = 0, e
	}
	return n, err
}

// gatherBytes is how much is held before it is written.
const gatherBytes = 256 << 10

// gather holds what TLS writes while a write is under way. What TLS writes by itself is not held.
type gather struct {
	net.Conn
	mu   sync.Mutex // guards all below
	held bool
	buf  []byte
	err  error // of a write: what follows would not be understood
}

func (g *gather) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = true
}

func (g *gather) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = false
	return g.flush()
}

// flush writes what is held. It must be called with mu held.
func (g *gather) flush() error {
	if len(g.buf) > 0 && g.err == nil {
		_, g.err = g.Conn.Write(g.buf)
	}
	if g.buf = g.buf[:0]; cap(g.buf) > 2*gatherBytes {
		g.buf = nil
	}
	return g.err
}

func (g *gather) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, g.err
	}
	if !g.held {
		return g.Conn.Write(b)
	}
	if g.buf = append(g.buf, b...); len(g.buf) >= gatherBytes {
		if err := g.flush(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
