package protocol

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/protocol/tracking"
)

// tracked is the part of a connection that CLIENT TRACKING uses. The connection's goroutine owns what posting does not guard.
type tracked struct {
	client        *tracking.Client // nil while tracking is off
	optIn, optOut bool
	caching       bool // CLIENT CACHING is about the next command, or the next transaction

	posting sync.Mutex // held while the client is told of changes; comes before tracker.mu
	resting bool       // guarded by posting: the connection waits and has no reply to send
}

// wanted reports whether the keys of a command are to be tracked.
func (t *tracked) wanted() bool { return !t.optIn && !t.optOut || t.optIn == t.caching }

func (t *tracked) setResting(yes bool) {
	t.posting.Lock()
	defer t.posting.Unlock()
	t.resting = yes
}

// end ends CLIENT CACHING with the command that it was about.
func (t *tracked) end(c *conn) {
	if row := c.request.row; t.caching && !c.tx.open && (row == nil || !isClient(row)) {
		t.caching = false
	}
}

func isClient(row *command.Spec) bool { return strings.HasPrefix(row.Full, "client|") }

// trackingOptions are the options of CLIENT TRACKING.
type trackingOptions struct {
	broadcast, optIn, optOut, noLoop bool
	prefixes                         []string
}

// Bounds of the prefixes of one connection.
const (
	maxPrefixes    = 128
	maxPrefixBytes = 16 << 10 // together
)

// Errors of CLIENT TRACKING and CACHING. All but the first three are Redis'.
var (
	errTrackingRESP3 = errors.New("CLIENT TRACKING ON needs RESP3: ndring has no Pub/Sub to tell RESP2 clients of changes. Send HELLO 3 first.")
	errRedirect      = errors.New("REDIRECT is not supported: ndring has no Pub/Sub. In RESP3 a connection is told of changes itself.")
	errPrefixes      = fmt.Errorf("too many prefixes, the limit for each connection is %d, of %d bytes together", maxPrefixes, maxPrefixBytes)

	errPrefixAlone   = errors.New("PREFIX option requires BCAST mode to be enabled")
	errSwitchBCAST   = errors.New("You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.")
	errOptBCAST      = errors.New("OPTIN and OPTOUT are not compatible with BCAST")
	errOptInAndOut   = errors.New("You can't specify both OPTIN mode and OPTOUT mode")
	errSwitchOpt     = errors.New("You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.")
	errCachingOff    = errors.New("CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
	errCachingOptIn  = errors.New("CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
	errCachingOptOut = errors.New("CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
)

func clientTracking(c *call, x *conn) {
	options, err := parseTracking(c.args[3:])
	on, ok := onOff(c.option(2))
	switch {
	case err != nil:
	case !ok:
		err = errSyntax
	case on:
		err = options.check(x)
	}
	if err != nil {
		c.replies.Error(err)
		return
	}
	if on {
		x.server.tracker.start(x, options)
	} else {
		x.server.tracker.stop(x)
	}
	c.replies.OK()
}

func parseTracking(args []resp.Arg) (o trackingOptions, err error) {
	for i := 0; i < len(args); i++ {
		switch option := upper(string(args[i].Bytes())); {
		case option == "BCAST":
			o.broadcast = true
		case option == "OPTIN":
			o.optIn = true
		case option == "OPTOUT":
			o.optOut = true
		case option == "NOLOOP":
			o.noLoop = true
		case option == "PREFIX" && i+1 < len(args):
			i++
			if o.prefixes = append(o.prefixes, string(args[i].Bytes())); len(o.prefixes) > maxPrefixes {
				return o, errPrefixes
			}
		case option == "REDIRECT" && i+1 < len(args):
			i++
			if _, ok := resp.ParseInt(args[i].Bytes()); !ok {
				return o, errInteger
			}
			return o, errRedirect
		default:
			return o, errSyntax
		}
	}
	return o, nil
}

// check reports whether the options fit together, and with how the connection tracks keys already. Without a PREFIX, BCAST gets the
// empty one.
func (o *trackingOptions) check(x *conn) error {
	now := x.track.client
	switch {
	case !x.replies.RESP3:
		return errTrackingRESP3
	case !o.broadcast && len(o.prefixes) > 0:
		return errPrefixAlone
	case now != nil && now.Broadcast != o.broadcast:
		return errSwitchBCAST
	case o.broadcast && (o.optIn || o.optOut):
		return errOptBCAST
	case o.optIn && o.optOut:
		return errOptInAndOut
	case now != nil && (o.optIn && x.track.optOut || o.optOut && x.track.optIn):
		return errSwitchOpt
	case !o.broadcast:
		return nil
	}
	var have []string
	if now != nil {
		have = now.Prefixes()
	}
	if err := checkPrefixes(have, o.prefixes); err != nil {
		return err
	}
	if len(o.prefixes) == 0 {
		o.prefixes = []string{""}
	}
	return nil
}

// checkPrefixes reports whether prefixes overlap with each other, or with those that the connection has.
func checkPrefixes(have, more []string) error {
	bytes := 0
	for _, prefix := range slices.Concat(have, more) {
		bytes += len(prefix)
	}
	if len(have)+len(more) > maxPrefixes || bytes > maxPrefixBytes {
		return errPrefixes
	}
	overlap := func(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }
	for i, prefix := range more {
		for _, other := range have {
			if overlap(prefix, other) {
				return fmt.Errorf("Prefix '%s' overlaps with an existing prefix '%s'. Prefixes for a single client must not overlap.", prefix, other)
			}
		}
		for _, other := range more[i+1:] {
			if overlap(prefix, other) {
				return fmt.Errorf("Prefix '%s' overlaps with another provided prefix '%s'. Prefixes for a single client must not overlap.", prefix, other)
			}
		}
	}
	return nil
}

func clientCaching(c *call, x *conn) {
	t := &x.track
	var err error
	switch option := c.option(2); {
	case t.client == nil:
		err = errCachingOff
	case option == "YES" && !t.optIn:
		err = errCachingOptIn
	case option == "NO" && !t.optOut:
		err = errCachingOptOut
	case option != "YES" && option != "NO":
		err = errSyntax
	}
	if err != nil {
		c.replies.Error(err)
		return
	}
	t.caching = true
	c.replies.OK()
}

func clientTrackingInfo(c *call, x *conn) {
	t := &x.track
	flags, prefixes := []string{"off"}, []string(nil)
	if t.client != nil {
		flags, prefixes = []string{"on"}, t.client.Prefixes()
		for _, flag := range []struct {
			name string
			set  bool
		}{
			{"bcast", t.client.Broadcast},
			{"optin", t.optIn}, {"caching-yes", t.optIn && t.caching},
			{"optout", t.optOut}, {"caching-no", t.optOut && t.caching},
			{"noloop", t.client.NoLoop},
		} {
			if flag.set {
				flags = append(flags, flag.name)
			}
		}
	}
	c.replies.Map(3)
	c.replies.Text("flags")
	c.replies.Set(len(flags))
	for _, flag := range flags {
		c.replies.Text(flag)
	}
	c.replies.Text("redirect")
	clientGetRedir(c, x)
	c.replies.Text("prefixes")
	c.texts(prefixes)
}

// clientGetRedir writes 0 while the connection is told of changes itself, and -1 while tracking is off.
func clientGetRedir(c *call, x *conn) { c.replies.Int(int64(x.identity.Load().redirect())) }

// redirect returns the id of the connection that is told of changes instead of this one: 0 for none, -1 while tracking is off.
func (i *identity) redirect() int {
	if i.tracking {
		return 0
	}
	return -1
}
