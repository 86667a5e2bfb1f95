package clusters

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Conn is one RESP connection.
type Conn struct {
	net   net.Conn
	in    *bufio.Reader
	limit time.Duration // for one exchange
}

// Dial connects. The limit bounds the connect and each exchange.
func Dial(addr string, limit time.Duration) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return nil, err
	}
	return &Conn{c, bufio.NewReader(c), limit}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.net.Close() }

// ErrorReply is an error that a server replied with. The connection stays usable.
type ErrorReply string

func (e ErrorReply) Error() string { return string(e) }

// Moved returns the address of a MOVED reply.
func Moved(err error) (addr string, ok bool) {
	var reply ErrorReply
	if !errors.As(err, &reply) {
		return "", false
	}
	words := strings.Fields(string(reply))
	if len(words) != 3 || words[0] != "MOVED" {
		return "", false
	}
	return words[2], true
}

// Command is one command with its arguments.
type Command []string

// Do sends one command and returns its reply as text: a string as it is, an integer in decimal.
func (c *Conn) Do(words ...string) (string, error) {
	replies, err := c.Pipeline(words)
	if err != nil {
		return "", err
	}
	return replies[0].Text, replies[0].Err
}

// Store sends a command with a key and a value, without a copy of the value, and reads its reply.
func (c *Conn) Store(command, key string, value []byte) error {
	if err := c.net.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return err
	}
	head := fmt.Appendf(nil, "*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n$%d\r\n", len(command), command, len(key), key, len(value))
	all := net.Buffers{head, value, []byte("\r\n")}
	if _, err := all.WriteTo(c.net); err != nil {
		return err
	}
	_, err := c.read()
	return err
}

// Reply is one reply of a pipeline: text, or an ErrorReply.
type Reply struct {
	Text string
	Err  error
}

// Pipeline sends commands in one write and reads all replies. After an error of its own, as opposed
// to one in a Reply, the connection is unusable.
func (c *Conn) Pipeline(commands ...Command) ([]Reply, error) {
	if err := c.net.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return nil, err
	}
	var out []byte
	for _, words := range commands {
		out = fmt.Appendf(out, "*%d\r\n", len(words))
		for _, w := range words {
			out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	if _, err := c.net.Write(out); err != nil {
		return nil, err
	}
	replies := make([]Reply, len(commands))
	for i := range replies {
		var err error
		replies[i].Text, err = c.read()
		var reply ErrorReply
		if errors.As(err, &reply) {
			replies[i].Err = reply
		} else if err != nil {
			return nil, err
		}
	}
	return replies, nil
}

func (c *Conn) read() (string, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("empty line instead of a reply")
	}
	switch line[0] {
	case '+', ':', '_':
		return line[1:], nil
	case '-':
		return "", ErrorReply(line[1:])
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", err
		}
		text := make([]byte, n+2)
		if _, err := io.ReadFull(c.in, text); err != nil {
			return "", err
		}
		return string(text[:n]), nil
	}
	return "", fmt.Errorf("unexpected reply %.100q", line)
}

// Slots is the number of hash slots of a cluster.
const Slots = 16384

// Slot returns the hash slot of a key without a hash tag: its CRC16 (XMODEM) modulo Slots.
func Slot(key string) int {
	crc := uint16(0)
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % Slots)
}
