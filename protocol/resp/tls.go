package resp

import (
	"crypto/tls"
	"math"
	"net"
	"sync"
	"time"
)

// TLSConn is the server's side of a TLS connection. Once the handshake is done its writes never wait, whatever the client does: what
// the socket does not take stays encrypted in a buffer, until the Outbox sends it. So a deadline ends a write to the socket, of which
// the rest is sent later, and never one of crypto/tls, after which the connection would be lost. docs/decisions/tls.md says why.
type TLSConn struct {
	*tls.Conn
	wire *wire
}

const (
	maxRecord = 16 << 10      // bytes of plaintext in one TLS record
	sealStep  = 4 * maxRecord // bytes that are encrypted before they are written to the socket
	sealFirst = 1 << 20       // bytes that the connection's goroutine encrypts before it leaves the rest to the second goroutine
)

// NewTLSConn returns a connection whose handshake is still to be made. It takes over the socket.
func NewTLSConn(socket net.Conn, config *tls.Config) *TLSConn {
	w := newWire(socket)
	return &TLSConn{tls.Server(w, config), w}
}

// Shake makes the handshake, within the deadline of the connection, which it removes then.
func (c *TLSConn) Shake() error {
	if err := c.Handshake(); err != nil {
		return err
	}
	c.wire.detached.Store(true)
	return c.wire.Conn.SetDeadline(time.Time{})
}

// Socket returns the connection that carries the TLS records.
func (c *TLSConn) Socket() net.Conn { return c.wire.Conn }

// First returns the first bytes that the client has sent, at most five, the head of a TLS record. The goroutine that reads calls it.
func (c *TLSConn) First() []byte { return c.wire.first }

// CloseWrite says that nothing follows what was sent, to TLS and to TCP.
func (c *TLSConn) CloseWrite() error {
	if err := c.Conn.CloseWrite(); err != nil {
		return err
	}
	left, err := c.wire.flush()
	if half, ok := c.wire.Conn.(interface{ CloseWrite() error }); ok && left == 0 && err == nil {
		err = half.CloseWrite()
	}
	return err
}

// receive reads at least one byte into dst, and then whatever has arrived already.
func (c *TLSConn) receive(dst Destination) (n int, err error) {
	b, most := dst.direct, math.MaxInt
	if b == nil { // there is no memory to decrypt into before bytes have arrived
		c.wire.reader = dst.ahead
		n, err = c.Read(c.wire.one[:])
		c.wire.reader = nil
		if n == 0 {
			return 0, err
		}
		b = dst.space()
		b[0] = c.wire.one[0]
		most = 2 // the rest of that record and one more: what follows may be a large bulk, whose bytes are better read directly
	} else if n, err = c.Read(b); n == 0 {
		return 0, err
	}
	c.wire.arrived = true
	for ; err == nil && n < len(b) && most > 0; most-- {
		var more int
		more, err = c.Read(b[n:]) // an error that ends the connection comes again
		n += more
	}
	c.wire.arrived = false
	return n, nil
}

// seal encrypts pieces and passes them to the socket, and returns the bytes of ciphertext that it does not take at once. Small pieces
// that follow each other share a record.
func (c *TLSConn) seal(pieces [][]byte) (left int, err error) {
	if len(pieces) == 1 && len(pieces[0]) <= maxRecord {
		_, err = c.Write(pieces[0])
		return c.wire.waiting(), err
	}
	c.wire.collect()
	for len(pieces) > 0 && err == nil {
		b := pieces[0]
		switch whole := len(b) - len(b)%maxRecord; {
		case len(pieces) == 1:
			_, err = c.Write(b)
			pieces = nil
		case whole > 0:
			_, err = c.Write(b[:whole])
			pieces[0] = b[whole:]
		default:
			pieces, err = c.sealTogether(pieces)
		}
	}
	if err != nil {
		return 0, err
	}
	return c.wire.flush()
}

// records is memory in which the pieces of one record are put together.
var records = sync.Pool{New: func() any { return new([maxRecord]byte) }}

// sealTogether encrypts the beginning of pieces as one record, and returns the rest.
func (c *TLSConn) sealTogether(pieces [][]byte) ([][]byte, error) {
	record := records.Get().(*[maxRecord]byte)
	defer records.Put(record)
	n := 0
	for len(pieces) > 0 && n < maxRecord {
		took := copy(record[n:], pieces[0])
		n += took
		if pieces[0] = pieces[0][took:]; len(pieces[0]) == 0 {
			pieces = pieces[1:]
		}
	}
	_, err := c.Write(record[:n])
	return pieces, err
}
