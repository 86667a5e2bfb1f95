package protocol

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/ndring/ndring/protocol/resp"
)

// publish updates the memory usage that other clients see.
func (c *conn) publish() {
	unread, free, args, kept := c.reader.Sizes()
	c.usage.unread.Store(unread)
	c.usage.free.Store(free)
	c.usage.args.Store(args)
	c.usage.queued.Store(kept)
	c.usage.replies.Store(c.replies.Out.Len())
	c.usage.replyBuffer.Store(c.replies.Out.BufferBytes())
}

// describe returns the connection's line of CLIENT LIST, with the fields of Redis 7.2.
func (c *conn) describe() string {
	command := "NULL"
	if row := c.lastCommand.Load(); row != nil {
		command = row.Full
	}
	id := c.identity.Load()
	now := time.Now()
	idle := max(0, now.UnixMilli()-c.lastUse.Load()) / 1000
	u := &c.usage
	bytes, pieces := c.out.Queued()
	events := "r"
	if bytes > 0 {
		events = "rw"
	}
	total := int64(unsafe.Sizeof(*c)) + u.unread.Load() + u.free.Load() + u.args.Load() + u.queued.Load() + u.replyBuffer.Load() + bytes
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=0 sub=0 psub=0 ssub=0 multi=%d "+
		"qbuf=%d qbuf-free=%d argv-mem=%d multi-mem=%d rbs=%d rbp=%d obl=%d oll=%d omem=%d tot-mem=%d events=%s "+
		"cmd=%s user=%s redir=%d resp=%d lib-name=%s lib-ver=%s",
		c.id, c.origin.address(), c.origin.local, c.descriptor, id.name, int(now.Sub(c.since).Seconds()), idle, c.flags(), c.queueShown.Load(),
		u.unread.Load(), u.free.Load(), u.args.Load(), u.queued.Load(), u.replyBuffer.Load(), u.replyPeak.Load(), u.replies.Load(), pieces, bytes, total, events,
		command, c.login.user.Load().Name(), id.redirect(), id.proto, id.library, id.libraryVersion)
}

// flags returns the flags of CLIENT LIST: x within a transaction, r after READONLY, e for NO-EVICT, T for
// NO-TOUCH, t for TRACKING, B for its BCAST, N for none.
func (c *conn) flags() (letters string) {
	id := c.identity.Load()
	for _, flag := range []struct {
		letter string
		set    bool
	}{{"x", c.queueShown.Load() >= 0}, {"r", id.readOnly}, {"e", id.noEvict}, {"T", id.noTouch}, {"t", id.tracking}, {"B", id.broadcast}} {
		if flag.set {
			letters += flag.letter
		}
	}
	if letters == "" {
		return "N"
	}
	return letters
}

// descriptorOf returns the file descriptor of a socket, or -1 if the connection is not a socket.
func descriptorOf(nc net.Conn) int {
	descriptor := -1
	if socket, ok := nc.(syscall.Conn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { descriptor = int(fd) }) // an error leaves -1
		}
	}
	return descriptor
}

func clientInfo(c *call, x *conn) {
	x.publish()
	c.replies.Verbatim(x.describe() + "\n")
}

func clientList(c *call, x *conn, all *connections) {
	wanted, err := clientFilter(c.args[2:])
	if err != nil {
		c.replies.Error(err)
		return
	}
	x.publish()
	conns := all.sorted()
	var b strings.Builder
	for _, other := range conns {
		if wanted(other) {
			b.WriteString(other.describe() + "\n")
		}
	}
	c.replies.Verbatim(b.String())
}

// clientFilter parses TYPE and ID of CLIENT LIST.
func clientFilter(args []resp.Arg) (func(*conn) bool, error) {
	if len(args) == 0 {
		return func(*conn) bool { return true }, nil
	}
	if len(args) < 2 {
		return nil, errSyntax
	}
	switch upper(string(args[0].Bytes())) {
	case "TYPE":
		if len(args) != 2 {
			return nil, errSyntax
		}
		return clientType(string(args[1].Bytes()))
	case "ID":
		var ids []int64
		for _, a := range args[1:] {
			id, ok := resp.ParseInt(a.Bytes())
			if !ok {
				return nil, errors.New("Invalid client ID")
			}
			ids = append(ids, id)
		}
		return func(c *conn) bool { return slices.Contains(ids, c.id) }, nil
	}
	return nil, errSyntax
}

// clientType parses TYPE of CLIENT LIST and CLIENT KILL. All clients are normal.
func clientType(name string) (func(*conn) bool, error) {
	switch strings.ToLower(name) {
	case "normal":
		return func(*conn) bool { return true }, nil
	case "master", "slave", "replica", "pubsub":
		return func(*conn) bool { return false }, nil
	}
	return nil, fmt.Errorf("Unknown client type '%.64s'", name)
}
