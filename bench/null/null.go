// Package null is a RESP server that stores nothing: it shows the limit of a machine. It discards
// what it receives, and answers each GET with an array of the size in the key,
// k:<bytes>:<anything>.
package null

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/ndring/ndring/bench/npy"
)

// Serve answers the clients of l until l is closed.
func Serve(l net.Listener) error {
	s := &server{values: map[int]value{}}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			s.serve(c) // an error means that the client has gone, or is not a client of the benchmarks
		}()
	}
}

type server struct {
	mu     sync.Mutex // guards values
	values map[int]value
}

// value is a reply, plain and as NP.GET WITHATTRS returns it.
type value struct{ plain, rest []byte }

func (s *server) value(bytes int) value {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[bytes]
	if !ok {
		file := npy.Float32(bytes - npy.HeaderBytes)
		crc := crc32.Checksum(file, crc32.MakeTable(crc32.Castagnoli))
		v = value{fmt.Appendf(nil, "$%d\r\n%s\r\n", len(file), file), fmt.Appendf(nil, "$-1\r\n$3\r\n1-1\r\n:%d\r\n*0\r\n", crc)}
		s.values[bytes] = v
	}
	return v
}

const (
	kept = 256 // bytes of an argument; the rest is discarded
	sink = 256 << 10
)

func (s *server) serve(c net.Conn) error {
	r := bufio.NewReaderSize(c, 64<<10)
	discard := make([]byte, sink)
	var out net.Buffers
	var args []string
	for {
		if r.Buffered() == 0 && len(out) > 0 {
			if _, err := out.WriteTo(c); err != nil {
				return err
			}
			out = nil
		}
		n, err := length(r, '*')
		if err != nil {
			return err
		}
		args = args[:0]
		for range n {
			size, err := length(r, '$')
			if err != nil {
				return err
			}
			head := make([]byte, min(size, kept))
			if _, err := io.ReadFull(r, head); err != nil {
				return err
			}
			args = append(args, string(head))
			if err := forget(r, c, size-len(head)+2, discard); err != nil {
				return err
			}
		}
		reply, err := s.reply(args)
		if err != nil {
			return err
		}
		out = append(out, reply...)
	}
}

// forget discards n bytes: first buffered ones, then directly from the connection.
func forget(r *bufio.Reader, c net.Conn, n int, into []byte) error {
	took, err := r.Discard(min(n, r.Buffered()))
	if err != nil {
		return err
	}
	for n -= took; n > 0; {
		got, err := c.Read(into[:min(n, len(into))])
		if err != nil {
			return err
		}
		n -= got
	}
	return nil
}

func length(r *bufio.Reader, mark byte) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 4 || line[0] != mark {
		return 0, fmt.Errorf("expected %c, got %.20q", mark, line)
	}
	return strconv.Atoi(string(line[1 : len(line)-2]))
}

func (s *server) reply(args []string) ([][]byte, error) {
	switch name := strings.ToUpper(args[0]); name {
	case "GET", "NP.GET":
		fields := strings.Split(args[1], ":")
		bytes, err := strconv.Atoi(fields[min(1, len(fields)-1)])
		if err != nil || bytes < npy.HeaderBytes {
			return nil, fmt.Errorf("the key %q contains no size", args[1])
		}
		v := s.value(bytes)
		if len(args) > 2 { // WITHATTRS
			return [][]byte{[]byte("*5\r\n"), v.plain, v.rest}, nil
		}
		return [][]byte{v.plain}, nil
	case "PING":
		return [][]byte{[]byte("+PONG\r\n")}, nil
	case "HELLO":
		return [][]byte{[]byte("-NOPROTO this server speaks RESP2\r\n")}, nil
	default: // SET, NP.SET, CLIENT SETINFO
		return [][]byte{[]byte("+OK\r\n")}, nil
	}
}
