package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ndring/ndring/internal/outcome"
)

// These errors say whether a request had an effect. Every error of Call that is not a *RemoteError wraps
// one of them; every error of Dial wraps ErrUnreachable.
var (
	// ErrUnreachable is returned when a request was not sent, or refused unread: it had no effect.
	ErrUnreachable = errors.New("unreachable")
	// ErrUncertain is returned when a request was sent and no reply arrived: whether it had an effect is unknown.
	ErrUncertain = outcome.ErrUncertain
)

// These errors say why a handshake failed. A *HandshakeError wraps one of them, and ErrUnreachable.
var (
	ErrVersion      = errors.New("no common protocol version")
	ErrOtherCluster = errors.New("different cluster")
	ErrOtherNode    = errors.New("wrong node")
	ErrOtherStore   = errors.New("wrong store")
	// ErrNotReady is returned when the connection is for members and one of the nodes belongs to no
	// cluster, or when the peer has no handler for its kind yet.
	ErrNotReady = errors.New("not ready")
	ErrBusy     = errors.New("too many connections")
	// ErrSelf is returned when a process has dialled itself.
	ErrSelf        = errors.New("this is the node itself")
	ErrCertificate = errors.New("the certificate does not belong to this node of this cluster")
	// ErrMixed is returned when one side speaks TLS and the other does not.
	ErrMixed = errors.New("only one side speaks TLS")
	// ErrRemoved is returned for a node that was removed from the cluster.
	ErrRemoved = errors.New("the node was removed from the cluster")
	// ErrRefused is returned for a refusal whose code this version does not know.
	ErrRefused = errors.New("refused")
	// ErrNoBus is returned when the other end does not speak this protocol.
	ErrNoBus = errors.New("not a bus port, or a damaged handshake")
)

// These errors say what is wrong with a frame. They end the connection.
var (
	// ErrFrame is returned for a damaged frame.
	ErrFrame = errors.New("damaged frame")
	// ErrTooLarge is returned for a frame above the limit, on the sending and on the reading side.
	ErrTooLarge = errors.New("frame over the limit")
)

// refusals are the codes of REFUSE. A code never changes its meaning.
var refusals = []struct {
	code   uint8
	reason error
}{
	{1, ErrVersion}, {2, ErrOtherCluster}, {3, ErrOtherNode}, {4, ErrOtherStore}, {5, ErrNotReady}, {6, ErrBusy}, {7, ErrSelf}, {8, ErrCertificate},
	{9, ErrMixed}, {10, ErrRemoved},
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

// splitReason returns the sentinel of a refusal, and the rest of its text.
func splitReason(err error) (detail string, reason error) {
	if code := codeOf(err); code != 0 {
		reason = reasonOf(code)
	} else {
		reason = ErrNotReady // the Bus is closing
	}
	detail = strings.TrimPrefix(err.Error(), reason.Error())
	return strings.TrimPrefix(detail, ": "), reason
}

// HandshakeError says why two nodes cannot connect, with everything an operator needs to find the mistake.
type HandshakeError struct {
	Reason  error // one of the sentinels
	Address string
	Inbound bool     // the peer dialled
	ByPeer  bool     // the peer refused; otherwise this side did
	Local   Identity // as this side sent or would have sent it
	Remote  Identity // as the peer sent it; zero if it sent none
	Wanted  Target   // what the dialling side asked for
	Detail  string
}

func (e *HandshakeError) Error() string {
	direction, who := "to", "this node"
	if e.Inbound {
		direction = "from"
	}
	if e.ByPeer {
		who = "the peer"
	}
	text := fmt.Sprintf("bus: connection %s %s: %s refused: %v", direction, e.Address, who, e.Reason)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	text += fmt.Sprintf(" (this is %v; the peer is %v", e.Local, e.Remote)
	if e.Wanted.Node != "" || !e.Wanted.Store.IsZero() {
		text += fmt.Sprintf("; wanted node %s store %s", orNone(string(e.Wanted.Node)), orNone(e.Wanted.Store.String()))
	}
	return text + ")"
}

// Unwrap returns the sentinel and ErrUnreachable.
func (e *HandshakeError) Unwrap() []error { return []error{e.Reason, ErrUnreachable} }

// Code tells programs why a remote request failed.
type Code uint16

// The codes of the bus. The meaning of codes from CodeUser on is up to callers and handlers.
const (
	CodeFailed   Code = 1 // the handler returned an error without a code
	CodeNoMethod Code = 2 // the peer has no handler for the method: no effect
	CodePanic    Code = 3
	CodeExpired  Code = 4 // the deadline of the call has passed, or its caller gave up
	codeStale    Code = 5 // the node has changed its identity since the handshake: connect again. Callers never see this code
	CodeUser     Code = 256
)

// RemoteError is the error with which a remote handler answered. A handler that returns one chooses its code.
type RemoteError struct {
	Code Code
	Text string
}

func (e *RemoteError) Error() string { return e.Text }
