package protocol

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// mute is CLIENT REPLY.
type mute struct {
	off  bool // no replies until ON
	skip bool // none for the next command

	hushed bool // the command that is being done is one whose reply is not wanted
	wanted bool // and yet it is: the command ended the silence, and says so
}

// hush puts the replies that wait aside when those of the next command are not wanted.
func (c *conn) hush() (saved Replies, hushed bool) {
	if !c.mute.off && !c.mute.skip {
		return Replies{}, false
	}
	saved = c.replies
	c.replies = Replies{resp3: saved.resp3, errors: saved.errors, count: saved.count}
	c.mute.skip, c.mute.hushed, c.mute.wanted = false, true, false
	return saved, true
}

// unhush takes back the replies before the command, and drops those to it unless they are wanted after all.
func (c *conn) unhush(saved Replies, hushed bool) {
	if !hushed {
		return
	}
	written := c.replies.take()
	saved.resp3, saved.errors = c.replies.resp3, c.replies.errors
	c.replies = saved
	if c.mute.wanted {
		c.replies.append(written)
	} else {
		releasePieces(written)
	}
	c.mute.hushed, c.mute.wanted = false, false
}

func clientReply(c *call) {
	switch c.option(2) {
	case "ON":
		c.mute = mute{hushed: c.mute.hushed, wanted: true} // also after SKIP
		c.replies.OK()
	case "OFF":
		c.mute.off = true
	case "SKIP":
		c.mute.skip = !c.mute.off
	default:
		c.replies.Error(errSyntax)
	}
}

// clientNoEvict is accepted: no connection is ever closed for want of memory.
func clientNoEvict(c *call) {
	on, ok := onOff(c.option(2))
	if !ok {
		c.replies.Error(errSyntax)
		return
	}
	c.change(func(id *identity) { id.noEvict = on })
	c.replies.OK()
}

func clientNoTouch(c *call) {
	on, ok := onOff(c.option(2))
	if !ok {
		c.replies.Error(errSyntax)
		return
	}
	c.noTouch = on
	c.change(func(id *identity) { id.noTouch = on })
	c.replies.OK()
}

func onOff(word string) (on, ok bool) { return word == "ON", word == "ON" || word == "OFF" }

// clientTracking can only be turned off: nobody is told of keys that change.
func clientTracking(c *call) {
	on, ok := onOff(c.option(2))
	err := checkTrackingOptions(c.args[3:])
	switch {
	case err != nil:
		c.replies.Error(err)
	case !ok:
		c.replies.Error(errSyntax)
	case on:
		c.replies.Error(errors.New("CLIENT TRACKING ON is not supported"))
	default:
		c.replies.OK()
	}
}

// checkTrackingOptions reads the options of CLIENT TRACKING, which Redis takes with OFF too.
func checkTrackingOptions(args []Arg) error {
	for i := 0; i < len(args); i++ {
		switch option := upper(string(args[i].Bytes())); {
		case option == "BCAST", option == "OPTIN", option == "OPTOUT", option == "NOLOOP":
		case option == "PREFIX" && i+1 < len(args):
			i++
		case option == "REDIRECT" && i+1 < len(args):
			i++
			if _, ok := parseInt(args[i].Bytes()); !ok {
				return errInteger
			}
		default:
			return errSyntax
		}
	}
	return nil
}

// clientGetRedir answers -1: tracking is off.
func clientGetRedir(c *call) { c.replies.Int(-1) }

func clientPause(c *call) {
	ms, ok := parseInt(c.arg(2))
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
	c.server.pause.set(time.Now().Add(time.Duration(ms)*time.Millisecond), all)
	c.replies.OK()
}

func clientUnpause(c *call) {
	c.server.pause.end()
	c.replies.OK()
}

// clientKill takes an address, as it always did, or filters, all of which must fit.
func clientKill(c *call) {
	if len(c.args) == 3 {
		addr := string(c.arg(2))
		if c.kill(func(other *conn) bool { return other.addr() == addr }, false) == 0 {
			c.replies.Error(errors.New("No such client"))
			return
		}
		c.replies.OK()
		return
	}
	fits, skipMe, err := c.killFilter(c.args[2:])
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.Int(int64(c.kill(fits, skipMe)))
}

func (c *call) killFilter(args []Arg) (fits func(*conn) bool, skipMe bool, err error) {
	if len(args)%2 != 0 {
		return nil, false, errSyntax
	}
	skipMe = true
	var all []func(*conn) bool
	for i := 0; i < len(args); i += 2 {
		value := string(args[i+1].Bytes())
		var fit func(*conn) bool
		switch upper(string(args[i].Bytes())) {
		case "ID":
			id, ok := parseInt(args[i+1].Bytes())
			if !ok || id < 1 {
				return nil, false, errors.New("client-id should be greater than 0")
			}
			fit = func(other *conn) bool { return other.id == id }
		case "ADDR":
			fit = func(other *conn) bool { return other.addr() == value }
		case "LADDR":
			fit = func(other *conn) bool { return other.nc.LocalAddr().String() == value }
		case "MAXAGE":
			age, ok := parseInt(args[i+1].Bytes())
			if !ok || age < 1 {
				return nil, false, errors.New("maxage should be greater than 0")
			}
			fit = func(other *conn) bool { return int64(time.Since(other.since).Seconds()) >= age }
		case "TYPE":
			if fit, err = clientType(value); err != nil {
				return nil, false, err
			}
		case "USER":
			if value != "default" {
				return nil, false, fmt.Errorf("No such user '%.64s'", value)
			}
			fit = func(other *conn) bool { return true }
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
		all = append(all, fit)
	}
	return func(other *conn) bool {
		for _, fit := range all {
			if !fit(other) {
				return false
			}
		}
		return true
	}, skipMe, nil
}

// kill closes the connections that fit and returns how many they are. One's own gets its reply first.
func (c *call) kill(fits func(*conn) bool, skipMe bool) (killed int) {
	for _, other := range c.server.connections() {
		switch {
		case !fits(other) || other == c.conn && skipMe || other.killed.Swap(true):
		case other == c.conn:
			c.quit = true
			killed++
		default:
			other.nc.Close()
			killed++
		}
	}
	return killed
}
