package protocol

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// input reads from a client. It takes the memory for what comes when something is there, so that a client that sends nothing holds none.
type input struct {
	conn     net.Conn
	raw      syscall.RawConn       // nil where the connection is no socket
	readOnce func(fd uintptr) bool // is tryRead

	direct []byte      // where the bytes go; nil for memory
	memory aheadMemory // likewise
	took   int         // by tryRead
	failed error       // likewise
}

func newInput(conn net.Conn) *input {
	i := &input{conn: conn}
	i.readOnce = i.tryRead
	if sc, ok := conn.(syscall.Conn); ok {
		i.raw, _ = sc.SyscallConn() // an error leaves raw nil
	}
	return i
}

// read waits for bytes and reads them.
func (i *input) read() (int, error) {
	switch {
	case i.direct != nil:
		return i.conn.Read(i.direct)
	case i.raw == nil:
		return i.conn.Read(i.memory.take())
	}
	if err := i.raw.Read(i.readOnce); err != nil {
		return 0, err
	}
	if i.failed != nil {
		return 0, os.NewSyscallError("read", i.failed)
	}
	if i.took == 0 {
		return 0, io.EOF
	}
	return i.took, nil
}

// tryRead reads what is there. It reports whether there is nothing to wait for.
func (i *input) tryRead(fd uintptr) bool {
	for {
		i.took, i.failed = unix.Read(int(fd), i.memory.take())
		switch i.failed {
		case unix.EINTR:
		case unix.EAGAIN:
			i.memory.idle()
			return false
		default:
			return true
		}
	}
}
