package protocol

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ndring/ndring/protocol/resp"
)

// handshakeTime is how long a TLS handshake may take.
const handshakeTime = 10 * time.Second

// handshakes are the TLS handshakes of a server, and those that should have been.
type handshakes struct {
	log      *slog.Logger
	limit    atomic.Int64       // ns that one may take; tests change it
	warnings [failures]throttle // one for each kind, so that scanners do not hide a client whose certificate is wrong
	plain    throttle           // of clients that speak TLS to a listener without it
}

// failure is why a handshake failed.
type failure int

const (
	notTLS failure = iota
	noCertificate
	wrongCertificate
	refusedByClient
	tooSlow
	disconnected
	otherFailure
	failures // their number
)

// shake makes the handshake of a client that speaks TLS, and reports whether the client may send commands.
func (h *handshakes) shake(c *conn) bool {
	secure, ok := c.nc.(*resp.TLSConn)
	if !ok {
		return true
	}
	limit := time.Duration(h.limit.Load())
	if secure.SetDeadline(time.Now().Add(limit)) != nil || c.stopping.Load() {
		return false
	}
	err := secure.Shake()
	switch {
	case c.stopping.Load():
		return false
	case err != nil:
		h.failed(err, c, secure, limit)
		return false
	case c.denied:
		c.server.counters.denied.Add(1)
		c.out.Post([]byte("-" + deniedText + "\r\n"))
		c.linger()
		return false
	}
	return true
}

// failed counts and logs a handshake that failed, and lets the client read why.
func (h *handshakes) failed(err error, c *conn, secure *resp.TLSConn, limit time.Duration) {
	first := secure.First()
	if len(first) == 0 && !isTimeout(err) { // a probe of the port
		h.log.Debug("client disconnected before the TLS handshake", "client", c.origin.address(), "listener", c.origin.listener)
		return
	}
	c.server.counters.handshakeFailures.Add(1)
	kind, reason := explainFailure(err, first, limit)
	if dropped, ok := h.warnings[kind].pass(time.Now()); ok {
		h.log.Warn("TLS handshake failed", "client", c.origin.address(), "listener", c.origin.listener, "reason", reason, "suppressed", dropped)
	}
	socket := secure.Socket()
	switch kind {
	case disconnected, refusedByClient, tooSlow:
		return
	case notTLS:
		if plainCommand(first) {
			reject(socket, notTLSText)
			return
		}
	}
	if half, ok := socket.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil && socket.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		io.CopyN(io.Discard, socket, lingerBytes) // a reset would overtake the alert that crypto/tls has sent
	}
}

// notTLSText is the reply to a client that sends a command in place of a handshake.
const notTLSText = "ERR this port speaks TLS, and the client does not"

// plainCommand reports whether a client begins with a command.
func plainCommand(first []byte) bool {
	letter := first[0] | 0x20
	return first[0] == '*' || letter >= 'a' && letter <= 'z'
}

// explainFailure returns why a handshake failed. First are the first bytes of the client.
func explainFailure(err error, first []byte, limit time.Duration) (failure, string) {
	var (
		header      tls.RecordHeaderError
		certificate *tls.CertificateVerificationError
		operation   *net.OpError
	)
	text := strings.TrimPrefix(err.Error(), "tls: ")
	switch {
	case errors.As(err, &header) && header.Conn != nil:
		return notTLS, "the client does not speak TLS: it began with " + printable(first)
	case errors.As(err, &certificate):
		return wrongCertificate, explainCertificate(certificate.Err)
	case strings.Contains(text, "client didn't provide a certificate"):
		return noCertificate, "the client has no certificate, and tls-client-auth is require"
	case strings.Contains(text, "client offered only unsupported versions"):
		return otherFailure, "the client speaks only versions of TLS before 1.2"
	case errors.As(err, &operation) && operation.Op == "remote error":
		alert := strings.TrimPrefix(operation.Err.Error(), "tls: ")
		if strings.Contains(alert, "certificate") {
			return refusedByClient, "the client refuses this node's certificate: " + alert
		}
		return refusedByClient, "the client ended the handshake: " + alert
	case isTimeout(err):
		return tooSlow, "the client has not finished the handshake within " + limit.String()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, os.ErrClosed), errors.Is(err, net.ErrClosed):
		return disconnected, "the client disconnected during the handshake; it may refuse this node's certificate"
	}
	return otherFailure, text
}

// explainCertificate returns what is wrong with a client's certificate.
func explainCertificate(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &unknown):
		return "no CA in tls-ca has signed the client's certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the client's certificate has expired or is not valid yet: " + invalid.Detail
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "the client's certificate is not one for TLS clients"
	}
	return "the client's certificate is wrong: " + strings.TrimPrefix(err.Error(), "x509: ")
}

// printable shows the first bytes of a client.
func printable(first []byte) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, string(first)), " ")
}

// logPlain logs that a client speaks TLS to a listener without it.
func (h *handshakes) logPlain(c *conn) {
	if dropped, ok := h.plain.pass(time.Now()); ok {
		h.log.Warn("closed a connection that speaks TLS on a listener without it: the client uses the wrong port, or this listener lacks tls=yes and --tls-cert",
			"client", c.origin.address(), "listener", c.origin.listener, "suppressed", dropped)
	}
}
