package protocol

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ndring/ndring/protocol/acl"
	"github.com/ndring/ndring/protocol/resp"
)

func clientReply(c *call, x *conn) {
	switch c.option(2) {
	case "ON":
		x.replyMode = replyMode{suppressing: x.replyMode.suppressing, answer: true} // also after SKIP
		c.replies.OK()
	case "OFF":
		x.replyMode.off = true
	case "SKIP":
		x.replyMode.skip = !x.replyMode.off
	default:
		c.replies.Error(errSyntax)
	}
}

// clientNoEvict has no effect: no connection is ever closed to free memory.
func clientNoEvict(c *call, x *conn) {
	on, ok := onOff(c.option(2))
	if !ok {
		c.replies.Error(errSyntax)
		return
	}
	x.change(func(id *identity) { id.noEvict = on })
	c.replies.OK()
}

func clientNoTouch(c *call, x *conn) {
	on, ok := onOff(c.option(2))
	if !ok {
		c.replies.Error(errSyntax)
		return
	}
	x.keys.touch = !on
	x.change(func(id *identity) { id.noTouch = on })
	c.replies.OK()
}

func onOff(word string) (on, ok bool) { return word == "ON", word == "ON" || word == "OFF" }

func clientPause(c *call, p *pause) {
	ms, ok := resp.ParseInt(c.arg(2))
	switch {
	case !ok || ms > math.MaxInt64/int64(time.Millisecond):
		c.replies.Error(errors.New("timeout is not an integer or out of range"))
		return
	case ms < 0:
		c.replies.Error(errors.New("timeout is negative"))
		return
	}
	all := true
	if len(c.args) > 3 {
		mode := c.option(3)
		if len(c.args) > 4 {
			c.replies.Error(c.subcommandError())
			return
		}
		if mode != "ALL" && mode != "WRITE" {
			c.replies.Error(errors.New("CLIENT PAUSE mode must be WRITE or ALL"))
			return
		}
		all = mode == "ALL"
	}
	p.set(time.Now().Add(time.Duration(ms)*time.Millisecond), all)
	c.replies.OK()
}

func clientUnpause(c *call, p *pause) {
	p.end()
	c.replies.OK()
}

// clientKill kills the client of an address (the old form), or those that match all filters.
func clientKill(c *call, x *conn, all *connections) {
	if len(c.args) == 3 {
		addr := string(c.arg(2))
		if all.kill(x, func(other *conn) bool { return other.origin.address() == addr }, false) == 0 {
			c.replies.Error(errors.New("No such client"))
			return
		}
		c.replies.OK()
		return
	}
	fits, skipMe, err := killFilter(c.args[2:], x.server.accounts.users.Load())
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.Int(int64(all.kill(x, fits, skipMe)))
}

func killFilter(args []resp.Arg, users *acl.Users) (fits func(*conn) bool, skipMe bool, err error) {
	if len(args)%2 != 0 {
		return nil, false, errSyntax
	}
	skipMe = true
	var filters []func(*conn) bool
	for i := 0; i < len(args); i += 2 {
		value := string(args[i+1].Bytes())
		var fit func(*conn) bool
		switch upper(string(args[i].Bytes())) {
		case "ID":
			id, ok := resp.ParseInt(args[i+1].Bytes())
			if !ok || id < 1 {
				return nil, false, errors.New("client-id should be greater than 0")
			}
			fit = func(other *conn) bool { return other.id == id }
		case "ADDR":
			fit = func(other *conn) bool { return other.origin.address() == value }
		case "LADDR":
			fit = func(other *conn) bool { return other.origin.local.String() == value }
		case "MAXAGE":
			age, ok := resp.ParseInt(args[i+1].Bytes())
			if !ok || age < 1 {
				return nil, false, errors.New("maxage should be greater than 0")
			}
			fit = func(other *conn) bool { return int64(time.Since(other.since).Seconds()) >= age }
		case "TYPE":
			if fit, err = clientType(value); err != nil {
				return nil, false, err
			}
		case "USER":
			if users.Get(value) == nil {
				return nil, false, fmt.Errorf("No such user '%.64s'", value)
			}
			fit = func(other *conn) bool { return other.login.user.Load().Name() == value }
		case "SKIPME":
			switch strings.ToLower(value) {
			case "yes":
				skipMe = true
			case "no":
				skipMe = false
			default:
				return nil, false, errSyntax
			}
			continue
		default:
			return nil, false, errSyntax
		}
		filters = append(filters, fit)
	}
	return func(other *conn) bool {
		for _, fit := range filters {
			if !fit(other) {
				return false
			}
		}
		return true
	}, skipMe, nil
}

// kill closes the connections that fit and returns their number. The caller's own is closed after its reply.
func (all *connections) kill(x *conn, fits func(*conn) bool, skipMe bool) (killed int) {
	for _, other := range all.sorted() {
		switch {
		case !fits(other) || other == x && skipMe || other.killed.Swap(true):
		case other == x:
			x.quit = true
			killed++
		default:
			other.cut()
			killed++
		}
	}
	return killed
}
