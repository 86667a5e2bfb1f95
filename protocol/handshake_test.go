package protocol

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Each way to fail a handshake ends in one line of the log that says who, where and why, and is counted.
func TestHandshakeFailures(t *testing.T) {
	t.Parallel()
	own, others := testCertificates(), newCertificates(time.Now().Add(time.Hour))
	expired := own.issue("late", time.Now().Add(-time.Minute))
	with := func(change func(*tls.Config)) func(net.Conn) {
		return func(socket net.Conn) {
			config := own.client(own.pair)
			change(config)
			secure := tls.Client(socket, config)
			if secure.Handshake() == nil {
				secure.Read(make([]byte, 1))
			}
		}
	}
	says := func(text string) func(net.Conn) {
		return func(socket net.Conn) {
			io.WriteString(socket, text)
			io.Copy(io.Discard, socket)
		}
	}
	showing := func(certificate tls.Certificate) func(net.Conn) {
		return with(func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
		})
	}
	for name, test := range map[string]struct {
		client func(net.Conn)
		want   string
	}{
		"plain":          {says(encode("PING")), "the client does not speak TLS: it began with *1..$"},
		"HTTP":           {says("GET / HTTP/1.1\r\n\r\n"), "the client does not speak TLS: it began with GET /"},
		"zeros":          {says(strings.Repeat("\x00", 100)), "the client does not speak TLS: it began with ....."},
		"no certificate": {with(func(c *tls.Config) { c.Certificates = nil }), "the client has no certificate, and tls-client-auth is require"},
		"wrong CA":       {showing(others.pair), "no CA in tls-ca has signed the client's certificate"},
		"expired":        {showing(expired), "the client's certificate has expired or is not valid yet: current time"},
		"wrong host":     {with(func(c *tls.Config) { c.ServerName = "elsewhere" }), "the client refuses this node's certificate: bad certificate"},
		"unknown CA":     {with(func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }), "the client refuses this node's certificate: "},
		"old version":    {with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11; c.MinVersion = tls.VersionTLS10 }), "the client speaks only versions of TLS before 1.2"},
		"disconnected": {func(socket net.Conn) {
			io.WriteString(socket, "\x16\x03\x01\x02\x00\x01")
			socket.Close()
		}, "the client disconnected during the handshake"},
		"slow": {func(socket net.Conn) {
			for b := []byte("\x16\x03\x01\x02\x00\x01\x00"); ; b = []byte{0} { // paces the client, does not wait for a condition
				if _, err := socket.Write(b); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, "the client has not finished the handshake within 1s"},
		"silent": {func(socket net.Conn) { io.Copy(io.Discard, socket) }, "the client has not finished the handshake within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startWith(t, Config{}, own.server(tls.RequireAndVerifyClientCert), own.client(own.pair))
			if strings.Contains(test.want, "within") {
				s.handshakes.limit.Store(int64(time.Second))
			}
			var logged safeBuffer
			s.logs.to(&logged)
			socket, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			socket.SetDeadline(time.Now().Add(30 * time.Second))
			test.client(socket)
			eventually(t, "the failure is counted", func() bool { return s.Stats().HandshakeFailures == 1 && s.Stats().Clients == 0 })
			line := logged.String()
			for _, part := range []string{"level=WARN", "TLS handshake failed", "client=" + socket.LocalAddr().String(), "listener=default", test.want} {
				if !strings.Contains(line, part) {
					t.Errorf("%q is not in %s", part, line)
				}
			}
			if n := strings.Count(line, "\n"); n != 1 {
				t.Errorf("%d lines: %s", n, line)
			}
			goodClient(t, s)
		})
	}
}

// A scanner does not fill the log, and does not hide a client whose certificate is wrong.
func TestScannersDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	own := testCertificates()
	s := startWith(t, Config{}, own.server(tls.RequireAndVerifyClientCert), own.client())
	var logged safeBuffer
	s.logs.to(&logged)
	for range 20 {
		socket, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(socket, encode("PING"))
		c := &client{t: t, Conn: socket}
		got := make([]byte, 100)
		n, _ := c.Read(got)
		if string(got[:n]) != "-"+notTLSText+"\r\n" {
			t.Errorf("a plain client got %q", got[:n])
		}
		socket.Close()
	}
	socket, err := tls.Dial("tcp", s.addr, s.tls)
	if err == nil {
		socket.Read(make([]byte, 1))
		socket.Close()
	}
	for range 5 { // probes of the port: nothing is wrong with them
		socket, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		socket.Close()
	}
	eventually(t, "the failures are counted", func() bool { return s.Stats().HandshakeFailures == 21 && s.Stats().Clients == 0 })
	if line := logged.String(); strings.Count(line, "\n") != 2 || !strings.Contains(line, "does not speak TLS") || !strings.Contains(line, "has no certificate") {
		t.Error(line)
	}
}

// A client that speaks TLS to a listener without it gets an error, and the log says what is wrong.
func TestTLSOnAPlainListener(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	var logged safeBuffer
	s.logs.to(&logged)
	if _, err := tls.Dial("tcp", s.addr, testCertificates().client()); err == nil || !strings.Contains(err.Error(), "first record does not look like a TLS handshake") {
		t.Error(err)
	}
	c := s.dial(t)
	c.send("\x16\x03\x01\x02\x00")
	if got := c.closed(); got != "-ERR Protocol error: this is the beginning of TLS, and this port does not speak it\r\n" {
		t.Errorf("got %q", got)
	}
	if line := logged.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, "speaks TLS on a listener without it") || !strings.Contains(line, "listener=default") {
		t.Error(line)
	}
	if n := s.Stats().ProtocolErrors; n != 2 {
		t.Errorf("%d protocol errors", n)
	}
}

// flipping is a connection that changes one byte of what is sent.
type flipping struct {
	net.Conn
	at int // bytes until then
}

func (f *flipping) Write(b []byte) (int, error) {
	if f.at >= 0 && f.at < len(b) {
		b = append([]byte(nil), b...)
		b[f.at] ^= 0x40
	}
	f.at -= len(b)
	return f.Conn.Write(b)
}

// Random bytes, and good ones with one that is changed, harm no other client and leave nothing behind. It runs alone, since it
// counts what the process has.
func TestRandomBytesOnATLSPort(t *testing.T) {
	own := testCertificates()
	s := startWith(t, Config{}, own.server(tls.NoClientCert), own.client())
	good := s.dial(t)
	good.want("+PONG", "PING")
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	goroutines, files, buffers := runtime.NumGoroutine(), descriptors(), s.clients.Buffers()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		socket, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		socket.SetDeadline(time.Now().Add(30 * time.Second))
		switch i % 3 {
		case 0: // no TLS
			b := make([]byte, random.IntN(2000))
			for j := range b {
				b[j] = byte(random.Uint32())
			}
			socket.Write(b)
		case 1: // a record of nonsense
			b := append([]byte{byte(20 + random.IntN(4)), 3, byte(random.IntN(5)), byte(random.IntN(70)), byte(random.Uint32())}, make([]byte, random.IntN(20000))...)
			for j := range b[5:] {
				b[5+j] = byte(random.Uint32())
			}
			socket.Write(b)
		case 2: // damage, in the handshake or behind it
			secure := tls.Client(&flipping{socket, random.IntN(1500)}, s.tls)
			if _, err := io.WriteString(secure, encode("ECHO", strings.Repeat("x", 1000))); err == nil {
				secure.Read(make([]byte, 100))
			}
		}
		socket.Close()
	}
	good.want("+PONG", "PING")
	eventually(t, "nothing is left", func() bool {
		return s.Stats().Clients == 1 && runtime.NumGoroutine() <= goroutines && descriptors() <= files && s.clients.Buffers() <= buffers
	})
}
