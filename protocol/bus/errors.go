package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ndring/ndring/internal/outcome"
)

// Whether a request had an effect. Each error of Call that is no *RemoteError wraps one of these two, and each of Dial the first.
var (
	// ErrUnreachable is returned when a request was not sent, or refused unread: it had no effect.
	ErrUnreachable = errors.New("not reached")
	// ErrUncertain is returned when a request was sent and no reply came: whether it had an effect is unknown.
	ErrUncertain = outcome.ErrUncertain
)

// Why a handshake failed. The error is a *HandshakeError, which wraps ErrUnreachable, too.
var (
	ErrVersion      = errors.New("no common version of the protocol")
	ErrOtherCluster = errors.New("of another cluster")
	ErrOtherNode    = errors.New("another node")
	ErrOtherStore   = errors.New("another store")
	// ErrNotReady is returned when one of the two is in no cluster and the connection is for members, or when nobody at the other end handles its kind (yet).
	ErrNotReady = errors.New("not ready")
	ErrBusy     = errors.New("too many connections")
	// ErrSelf is returned when the address led to the process that dialled it.
	ErrSelf        = errors.New("that is this node itself")
	ErrCertificate = errors.New("the certificate is another node's or cluster's")
	// ErrRefused is returned for a reason that this version does not know.
	ErrRefused = errors.New("refused")
	// ErrNoBus is returned when the other end does not speak this protocol at all.
	ErrNoBus = errors.New("not a bus port, or a damaged handshake")
)

// What is wrong with a frame. It ends the connection.
var (
	// ErrFrame is returned for a frame that is damaged.
	ErrFrame = errors.New("damaged frame")
	// ErrTooLarge is returned for a frame longer than the limit, by who would send it and by who would read it.
	ErrTooLarge = errors.New("frame over the limit")
)

// refusals are the codes of REFUSE. They never change their meaning.
var refusals = []struct {
	code   uint8
	reason error
}{
	{1, ErrVersion}, {2, ErrOtherCluster}, {3, ErrOtherNode}, {4, ErrOtherStore}, {5, ErrNotReady}, {6, ErrBusy}, {7, ErrSelf}, {8, ErrCertificate},
}

func codeOf(reason error) uint8 {
	for _, r := range refusals {
		if errors.Is(reason, r.reason) {
			return r.code
		}
	}
	return 0
}

func reasonOf(code uint8) error {
	for _, r := range refusals {
		if r.code == code {
			return r.reason
		}
	}
	return fmt.Errorf("%w: code %d", ErrRefused, code)
}

// split returns what an error says beyond its sentinel, and that.
func split(err error) (detail string, reason error) {
	if code := codeOf(err); code != 0 {
		reason = reasonOf(code)
	} else {
		reason = ErrNotReady // it closes
	}
	detail = strings.TrimPrefix(err.Error(), reason.Error())
	return strings.TrimPrefix(detail, ": "), reason
}

// HandshakeError tells why two nodes have no connection, with all that an operator needs to find the mistake.
type HandshakeError struct {
	Reason  error // one of the sentinels
	Address string
	Inbound bool     // the peer dialled
	ByPeer  bool     // the peer refused; else this side did
	Local   Identity // what this side said, or would have said
	Remote  Identity // what the peer said, as far as it came to that
	Wanted  Target   // whom the dialling side wanted
	Detail  string
}

func (e *HandshakeError) Error() string {
	what := "dialled " + e.Address
	if e.Inbound {
		what = e.Address + " dialled us"
	}
	who := "we refused"
	if e.ByPeer {
		who = "it refused"
	}
	text := fmt.Sprintf("bus: %s, %s: %v", what, who, e.Reason)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	text += fmt.Sprintf(" (we are %v; it is %v", e.Local, e.Remote)
	if e.Wanted.Node != "" || !e.Wanted.Store.IsZero() {
		text += fmt.Sprintf("; wanted node %s store %s", orNone(string(e.Wanted.Node)), orNone(e.Wanted.Store.String()))
	}
	return text + ")"
}

// Unwrap returns the sentinel, and ErrUnreachable.
func (e *HandshakeError) Unwrap() []error { return []error{e.Reason, ErrUnreachable} }

// Code says to a program what went wrong in a remote handler.
type Code uint16

// The codes of the bus itself. Those from CodeUser on mean what handlers agree on.
const (
	CodeFailed   Code = 1 // the handler returned an error that has no code
	CodeNoMethod Code = 2 // nobody handles that there: no effect
	CodePanic    Code = 3
	CodeExpired  Code = 4 // the caller's time was over, or it gave up
	codeStale    Code = 5 // the node has another identity than it had in the handshake: connect again. Callers never see it
	CodeUser     Code = 256
)

// RemoteError is what a remote handler answered instead of a reply. A handler that returns one chooses its code.
type RemoteError struct {
	Code Code
	Text string
}

func (e *RemoteError) Error() string { return e.Text }
