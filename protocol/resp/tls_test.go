package resp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"github.com/ndring/ndring/memory"
)

// secured returns a connection and its client, after the handshake.
func secured(t *testing.T) (*TLSConn, *tls.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server := NewTLSConn(far, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}, DynamicRecordSizingDisabled: true})
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	t.Cleanup(func() {
		near.Close()
		server.Close()
	})
	near.SetDeadline(time.Now().Add(time.Minute))
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := server.Shake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	return server, client
}

// unlimited are Outputs that never make a client wait.
func unlimited() *Outputs {
	o := new(Outputs)
	o.SetLimits(OutputLimits{Client: 1 << 40, All: 1 << 40, Stall: time.Minute})
	return o
}

// Sending to a client that reads nothing returns, and little of what waits is encrypted; the client gets all of it once it reads.
func TestOutboxOverTLS(t *testing.T) {
	t.Parallel()
	server, client := secured(t)
	outbox := NewOutbox(server, unlimited())
	var want []byte
	for i := range 40 {
		b := bytes.Repeat([]byte{byte(i)}, i*20_000+i)
		want = append(want, b...)
		if err := outbox.Send([]Piece{{b, nil}, {b[:min(len(b), 10)], nil}}); err != nil {
			t.Fatal(err)
		}
		want = append(want, b[:min(len(b), 10)]...)
		if err := outbox.Post([]byte("post")); err != nil {
			t.Fatal(err)
		}
		want = append(want, "post"...)
	}
	if outbox.Waiting() == 0 {
		t.Fatal("the socket takes everything: the test must send more")
	}
	if n := server.wire.waiting(); n > maxWire {
		t.Errorf("%d bytes are encrypted", n)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the client got something else: %v", err)
	}
	if err := outbox.Flush(); err != nil || outbox.Waiting() != 0 || server.wire.out != nil {
		t.Errorf("%v; %d bytes wait", err, outbox.Waiting())
	}
}

// A deadline that ends a write half-way does not damage what follows.
func TestDeadlinesOverTLS(t *testing.T) {
	t.Parallel()
	server, client := secured(t)
	data := make([]byte, 20<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	server.Socket().(*net.TCPConn).SetWriteBuffer(4 << 10)
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(client)
		got <- all
	}()
	halves := 0
	for rest := data; len(rest) > 0; rest = rest[sealStep:] {
		left, err := server.seal([][]byte{rest[:sealStep]}) // with a deadline that has passed
		for err == nil && left > 0 {
			if left < sealStep {
				halves++
			}
			server.Socket().SetWriteDeadline(time.Now().Add(20 * time.Microsecond))
			if _, left, err = server.wire.drain(); errors.Is(err, os.ErrDeadlineExceeded) {
				err = nil
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	server.Socket().SetWriteDeadline(time.Time{})
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, data) {
		t.Error("the client got something else")
	}
	if halves == 0 {
		t.Error("no write ended half-way")
	}
}

// A client that makes TLS itself send, and reads nothing, is disconnected.
func TestTLSItselfSendsLittle(t *testing.T) {
	t.Parallel()
	server, _ := secured(t)
	outbox := NewOutbox(server, unlimited())
	if err := outbox.Send([]Piece{{make([]byte, 32<<20), nil}}); err != nil {
		t.Fatal(err)
	}
	record := make([]byte, 1000)
	for sent := 0; ; sent += len(record) { // the system's buffers take some
		if _, err := server.wire.Write(record); err != nil {
			break
		}
		if n := server.wire.waiting(); n > maxWire || sent > 64<<20 {
			t.Fatalf("%d of %d bytes are kept", n, sent)
		}
	}
	server.Close()
	if err := outbox.Close(); err == nil {
		t.Error("the outbox does not know")
	}
}

// Commands of all sizes arrive as they were sent, however they are divided into records, and an idle client holds no memory.
func TestInputOverTLS(t *testing.T) {
	t.Parallel()
	server, client := secured(t)
	pool := new(memory.Pool)
	reader := NewReader(NewInput(server), pool, pool, NewBudget(1<<30), Limits{MaxArgs: 10, MaxBulk: 1 << 30, MaxSkip: 1 << 30}, nil, nil)
	var stream bytes.Buffer
	var want [][]byte
	for _, n := range []int{0, 1, 100, 5000, 16 << 10, 16<<10 + 1, 100_000, 1, 1 << 20, 3, 7 << 20, 20, 20, 20} {
		b := make([]byte, n)
		if _, err := rand.Read(b); err != nil {
			t.Fatal(err)
		}
		want = append(want, b)
		stream.WriteString("*2\r\n$3\r\nSET\r\n")
		stream.Write(appendHead(nil, '$', n))
		stream.Write(b)
		stream.WriteString("\r\n")
	}
	go func() {
		for i, rest := 0, stream.Bytes(); len(rest) > 0; i++ {
			n := min(len(rest), []int{1, 7, 3000, 16 << 10, 400_000}[i%5])
			if _, err := client.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		client.Close()
	}()
	for i, w := range want {
		args, err := reader.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := args[1].Bytes(); !bytes.Equal(got, w) {
			t.Fatalf("command %d: %d bytes differ from the %d that were sent", i, len(got), len(w))
		}
	}
	if _, err := reader.Next(); err != io.EOF {
		t.Error(err)
	}
	reader.Close()
	if pool.Buffers() != 0 {
		t.Error("buffers are left")
	}
	if server.wire.buffer != nil {
		t.Error("a buffer for what has arrived is left")
	}
}
