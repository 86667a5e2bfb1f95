package resp

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Input is a Source that reads a connection. It allocates memory only when bytes have arrived, so that
// an idle client holds none. One goroutine uses it.
type Input struct {
	conn     net.Conn
	secure   *TLSConn              // is conn; nil without TLS
	raw      syscall.RawConn       // nil if the connection is not a socket
	readOnce func(fd uintptr) bool // is tryRead

	reader *Reader // whose read buffer tryRead fills
	took   int     // result of tryRead
	failed error   // result of tryRead
}

// NewInput returns a Source that reads conn.
func NewInput(conn net.Conn) *Input {
	i := &Input{conn: conn}
	i.readOnce = i.tryRead
	i.secure, _ = conn.(*TLSConn)
	if sc, ok := conn.(syscall.Conn); ok {
		i.raw, _ = sc.SyscallConn() // an error leaves raw nil
	}
	return i
}

// Receive implements Source.
func (i *Input) Receive(dst Destination) (int, error) {
	if i.secure != nil {
		return i.secure.receive(dst)
	}
	if dst.direct != nil || i.raw == nil {
		return i.conn.Read(dst.space())
	}
	i.reader = dst.ahead
	err := i.raw.Read(i.readOnce)
	i.reader = nil
	switch {
	case err != nil:
		return 0, err
	case i.failed != nil:
		return 0, os.NewSyscallError("read", i.failed)
	case i.took == 0:
		return 0, io.EOF
	}
	return i.took, nil
}

// tryRead reads what has arrived. It reports false to wait for more.
func (i *Input) tryRead(fd uintptr) bool {
	for {
		i.took, i.failed = unix.Read(int(fd), i.reader.space())
		switch i.failed {
		case unix.EINTR:
		case unix.EAGAIN:
			i.reader.idle()
			return false
		default:
			return true
		}
	}
}
