package protocol

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/certs"
)

// certificates are a CA and what it has signed.
type certificates struct {
	ca   *certs.Authority
	pool *x509.CertPool
	pair tls.Certificate // of the server, and of a client
}

var testCertificates = sync.OnceValue(func() *certificates { return newCertificates(time.Now().Add(24 * time.Hour)) })

// newCertificates makes a CA and a certificate that is valid until then.
func newCertificates(until time.Time) *certificates {
	ca, err := certs.NewAuthority("test", time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	if err != nil {
		panic(err)
	}
	c := &certificates{ca: ca, pool: x509.NewCertPool()}
	c.pool.AddCert(ca.Certificate())
	c.pair = c.issue("node", until)
	return c
}

func (c *certificates) issue(name string, until time.Time) tls.Certificate {
	pair, err := c.ca.Issue(certs.Request{Name: name, Hosts: []string{"127.0.0.1"}, From: time.Now().Add(-time.Hour), Until: until})
	if err != nil {
		panic(err)
	}
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		panic(err)
	}
	return certificate
}

func (c *certificates) server(auth tls.ClientAuthType) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c.pair}, ClientCAs: c.pool, ClientAuth: auth, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true}
}

func (c *certificates) client(own ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: c.pool, ServerName: "127.0.0.1", Certificates: own}
}

// overTLS is how the names of tests begin whose servers speak TLS.
const overTLS = "TestOverTLS/"

// What holds for plain connections holds for TLS, too.
func TestOverTLS(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*testing.T){
		"idle": TestIdleTimeout, "output limits": TestOutputLimits, "stall": TestReplyStall,
		"soft limit": TestSoftLimitForgivesClientsThatCatchUp, "all replies": TestRepliesOfAllClientsAreBounded, "old deadline": TestOldWriteDeadlineDoesNotCount,
		"pushes between": TestPushesBetweenLargeReplies, "pushes alone": TestPushesWithoutReplies, "order of pushes": TestOrderOfPushes,
		"malformed": TestMalformedStreams, "truncated": TestTruncatedStreams, "refused": TestRefusedCommands, "silence": TestSilenceWithinACommand,
		"budget": TestUploadBudget, "unread": TestUnreadReplies, "panic": TestPanicEndsOneConnection, "close": TestCloseWaitsForCommands, "HTTP": TestHTTPEndsTheConnection,
		"strangers": TestStrangersHoldLittle, "strangers' replies": TestStrangersRepliesDoNotWait, "WAIT": TestWaitEnds,
	}
	if !testing.Short() {
		tests["dribble"], tests["slow uploads"], tests["unread pushes"] = TestDribble, TestSlowUploadsMakeRoom, TestClientThatReadsNoPushes
	}
	for name, test := range tests {
		t.Run(name, test)
	}
}

// Replies of all sizes arrive complete, in order, and in as few records as they need.
func TestRepliesOverTLS(t *testing.T) {
	t.Parallel()
	s := startWith(t, Config{}, testCertificates().server(tls.NoClientCert), testCertificates().client())
	c := s.dial(t)
	large := 64 << 20
	if testing.Short() {
		large = 8 << 20
	}
	sizes := []int{0, 1, 1000, 4 << 10, 16<<10 - 200, 16 << 10, 64 << 10, 256 << 10, 3<<20 + 1, large}
	var all, want strings.Builder
	for _, n := range sizes {
		key, array := fmt.Sprintf("{k}%d", n), bytesNPY(n, "")
		c.want("+OK", "NP.SET", key, array)
		c.want(`"`+array+`"`, "NP.GET", key)
		all.WriteString(encode("PING") + encode("NP.GET", key) + encode("ECHO", strings.Repeat("e", n%5000)))
		want.WriteString("+PONG\r\n" + fmt.Sprintf("$%d\r\n%s\r\n", len(array), array) + fmt.Sprintf("$%d\r\n%s\r\n", n%5000, strings.Repeat("e", n%5000)))
	}
	go c.send(all.String() + encode("QUIT"))
	if got := c.closed(); got != want.String()+"+OK\r\n" {
		t.Errorf("%d bytes of replies are not the %d that were to come", len(got), want.Len()+5)
	}
	c = s.dial(t)
	c.send(encode("MULTI") + encode("NP.GET", "{k}1000") + encode("NP.GET", "{k}262144") + encode("EXEC"))
	for _, want := range []string{"+OK", "+QUEUED", "+QUEUED", `["` + bytesNPY(1000, "") + `" "` + bytesNPY(256<<10, "") + `"]`} {
		if got := c.reply(); got != want {
			t.Errorf("got %.100q", got)
		}
	}
}

// A pipeline of small replies is one record, and a large one is in full records: a client that reads raw counts them.
func TestRecordsOfReplies(t *testing.T) {
	t.Parallel()
	s := startWith(t, Config{}, testCertificates().server(tls.NoClientCert), testCertificates().client())
	for _, test := range []struct{ size, pipeline, want int }{{100, 50, 1}, {256 << 10, 1, 17}, {5 << 10, 8, 3}} {
		socket, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		counting := &recordCounter{Conn: socket}
		secure := tls.Client(counting, s.tls)
		c := &client{t, secure, bufio.NewReader(secure)}
		array := bytesNPY(test.size, "")
		c.want("+OK", "NP.SET", "k", array)
		before := counting.records
		c.send(strings.Repeat(encode("NP.GET", "k"), test.pipeline))
		for range test.pipeline {
			if got := c.reply(); got != `"`+array+`"` {
				t.Fatalf("got %.100q", got)
			}
		}
		if got := counting.records - before; got != test.want {
			t.Errorf("%d arrays of %d bytes came in %d records, not %d", test.pipeline, test.size, got, test.want)
		}
		c.Close()
	}
}

// recordCounter counts the TLS records that a client receives.
type recordCounter struct {
	net.Conn
	head    []byte
	left    int // bytes of the record
	records int
}

func (c *recordCounter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	for rest := b[:n]; len(rest) > 0; {
		if c.left > 0 {
			took := min(c.left, len(rest))
			c.left, rest = c.left-took, rest[took:]
			continue
		}
		c.head, rest = append(c.head, rest[0]), rest[1:]
		if len(c.head) == 5 {
			c.left, c.head = int(c.head[3])<<8|int(c.head[4]), nil
			c.records++
		}
	}
	return n, err
}

// The end of a connection is one for TLS, so that a client can tell it from an attack; errors arrive before it.
func TestEndOverTLS(t *testing.T) {
	t.Parallel()
	s := startWith(t, Config{}, testCertificates().server(tls.NoClientCert), testCertificates().client())
	for send, want := range map[string]string{
		"*1\r\n$4\r\nQUIT\r\n": "+OK\r\n",
		"*1\r\n!\r\n":          "-ERR Protocol error: expected '$', got '!'\r\n",
	} {
		c := s.dial(t)
		c.send(send)
		got, err := io.ReadAll(c.r)
		if string(got) != want || err != nil {
			t.Errorf("%q: %q, %v", send, got, err)
		}
	}
	c := s.dial(t) // a client that ends its side still gets its replies
	c.send(encode("PING"))
	if err := c.Conn.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := c.closed(); got != "+PONG\r\n" {
		t.Errorf("%q", got)
	}
}

// A server that stops does not wait for handshakes.
func TestStopDuringAHandshake(t *testing.T) {
	t.Parallel()
	s := startWith(t, Config{}, testCertificates().server(tls.NoClientCert), testCertificates().client())
	var logged safeBuffer
	s.logs.to(&logged)
	socket, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	eventually(t, "the client is counted", func() bool { return s.Stats().Clients == 1 })
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if strings.Contains(logged.String(), "handshake") {
		t.Error(logged.String())
	}
}

// Handshakes under way count as clients, and others need not wait for them. One client too many gets no reply, as in Redis.
func TestHandshakesUnderWay(t *testing.T) {
	t.Parallel()
	s := startWith(t, Config{MaxClients: 3}, testCertificates().server(tls.NoClientCert), testCertificates().client())
	for range 2 {
		socket, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
	}
	s.dial(t).want("+PONG", "PING")
	socket, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	c := &client{t, socket, bufio.NewReader(socket)}
	if got := c.closed(); got != "" {
		t.Errorf("a client too many got %q", got)
	}
	if n := s.Stats().Rejected; n != 1 {
		t.Errorf("%d clients are counted as rejected", n)
	}
}

// A client from another machine is told over TLS that protected mode refuses it, whatever its certificate: as in Redis, only
// a password counts.
func TestProtectedModeOverTLS(t *testing.T) {
	t.Parallel()
	own := testCertificates()
	s := startWith(t, Config{ProtectedMode: true}, own.server(tls.RequireAndVerifyClientCert), own.client(own.pair))
	ours, theirs := net.Pipe()
	go s.acceptConn(farConn{ours, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}, s.listeners[0])
	secure := tls.Client(theirs, s.tls)
	c := &client{t, secure, bufio.NewReader(secure)}
	if got := c.closed(); got != "-"+deniedText+"\r\n" {
		t.Errorf("got %q", got)
	}
	eventually(t, "the client is counted", func() bool { return s.Stats().Denied == 1 })
	near := s.dial(t)
	near.want("+PONG", "PING")
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	own, others := testCertificates(), newCertificates(time.Now().Add(time.Hour))
	for auth, served := range map[tls.ClientAuthType][3]bool{
		tls.NoClientCert: {true, true, true}, tls.VerifyClientCertIfGiven: {true, true, false}, tls.RequireAndVerifyClientCert: {false, true, false},
	} {
		s := startWith(t, Config{}, own.server(auth), nil)
		for i, certificate := range [][]tls.Certificate{nil, {own.pair}, {others.pair}} {
			config := own.client()
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // whatever CAs the server names
				if len(certificate) == 0 {
					return new(tls.Certificate), nil
				}
				return &certificate[0], nil
			}
			socket, err := tls.Dial("tcp", s.addr, config)
			if err == nil {
				_, err = io.WriteString(socket, encode("PING"))
			}
			got := make([]byte, 7)
			if err == nil {
				_, err = io.ReadFull(socket, got)
			}
			if is := err == nil && string(got) == "+PONG\r\n"; is != served[i] {
				t.Errorf("%v, certificate %d: served is %v, %v", auth, i, is, err)
			}
			if socket != nil {
				socket.Close()
			}
		}
	}
}

// While the certificate is replaced again and again, no client that connects notices anything but the new certificate.
func TestRenewalUnderTraffic(t *testing.T) {
	t.Parallel()
	own, folder := testCertificates(), t.TempDir()
	files := certs.Files{Cert: filepath.Join(folder, "crt"), Key: filepath.Join(folder, "key")}
	replace := func(name string) {
		pair, err := own.ca.Issue(certs.Request{Name: name, Hosts: []string{"127.0.0.1"}, From: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string][]byte{files.Cert: pair.Cert, files.Key: pair.Key} {
			if err := os.WriteFile(name+".new", text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(name+".new", name); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace("first")
	store, err := certs.Open("a test", files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { store.Watch(ctx, time.Millisecond) })
	s := startWith(t, Config{}, store.Server(tls.NoClientCert), own.client())
	served := func() (string, error) {
		socket, err := tls.Dial("tcp", s.addr, own.client())
		if err != nil {
			return "", err
		}
		defer socket.Close()
		if _, err := io.WriteString(socket, encode("PING")); err != nil {
			return "", err
		}
		if _, err := io.ReadFull(socket, make([]byte, 7)); err != nil {
			return "", err
		}
		return socket.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
	}
	old := s.dial(t) // a connection keeps the certificate that it began with
	old.want("+PONG", "PING")
	var requests atomic.Int64
	for range 3 {
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := served(); err != nil {
					t.Error(err)
					return
				}
				requests.Add(1)
			}
		})
	}
	for i := range 20 {
		before := requests.Load()
		replace(fmt.Sprint(i))
		eventually(t, "clients connect", func() bool { return requests.Load() > before || t.Failed() })
	}
	replace("last")
	eventually(t, "the new certificate is served", func() bool { name, err := served(); return name == "last" && err == nil })
	old.want("+PONG", "PING")
}

// safeBuffer is a log that a test reads while the server writes it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
