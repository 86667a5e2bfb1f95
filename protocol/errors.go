package protocol

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/outcome"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

var (
	// ErrOOM is returned when there is no memory for what a command stores. The text is Redis'.
	ErrOOM = errors.New("command not allowed when used memory > 'maxmemory'.")
	// ErrCrossSlot is returned when the keys of a command are in different slots.
	ErrCrossSlot = errors.New("Keys in request don't hash to the same slot")
	// ErrNoOwner is returned, with the reason, when no node that the client can reach serves a slot.
	ErrNoOwner = errors.New("hash slot not served")
	// ErrUncertain is returned when a change may or may not have taken effect, or may still do so.
	ErrUncertain = outcome.ErrUncertain

	// ErrTryAgain is returned when this node should serve a shard and still does not after gateWait.
	ErrTryAgain = errors.New("the shard is being handed over, try again")
	// ErrLoading is returned while a command's shard is being read from disk. The text is Redis'.
	ErrLoading = errors.New("ndring is loading the dataset in memory")
	// errStarting is returned by a node that has just started and does not serve yet.
	errStarting = errors.New("this node is starting, it serves in a moment")

	// ErrNoAuth is returned for a command before AUTH, if there is a password.
	ErrNoAuth = errors.New("Authentication required.")

	errWrongPass  = errors.New("invalid username-password pair or user is disabled.")
	errNoPassword = errors.New("AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	errHelloAuth  = errors.New("HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used " +
		"to authenticate the client and select the RESP protocol version at the same time")

	// ErrExecAbort is returned by EXEC when a command was refused instead of queued.
	ErrExecAbort = errors.New("Transaction discarded because of previous errors.")

	errExecRejected   = errors.New("Transaction discarded because of")
	errNoMulti        = errors.New("Command not allowed inside a transaction")
	errNestedMulti    = errors.New("MULTI calls can not be nested")
	errWatchInMulti   = errors.New("WATCH inside MULTI is not allowed")
	errExecAlone      = errors.New("EXEC without MULTI")
	errDiscardAlone   = errors.New("DISCARD without MULTI")
	errTooManyQueued  = errors.New("too many commands in one transaction")
	errTooManyWatched = errors.New("the watched keys have too many bytes")

	errSyntax  = errors.New("syntax error")
	errInteger = errors.New("value is not an integer or out of range")
)

// prefixes maps the sentinels of all packages to the prefix of the error reply, on which clients act. All
// other errors get "ERR".
var prefixes = []struct {
	sentinel error
	prefix   string
}{
	{array.ErrTooLarge, "TOOLARGE"}, // before ErrInvalid, which it may wrap
	{array.ErrInvalid, "BADNPY"},
	{shard.ErrCorrupt, "CORRUPT"},
	{resp.ErrTooLarge, "TOOLARGE"},
	{resp.ErrBusy, "BUSY"},
	{resp.ErrCopies, "BUSY"},
	{errExecRejected, "EXECABORT"}, // before what it wraps
	{ErrOOM, "OOM"},
	{shard.ErrMemoryFull, "OOM"},
	{ErrCrossSlot, "CROSSSLOT"},
	{ErrNoOwner, "CLUSTERDOWN"},
	{ErrTryAgain, "TRYAGAIN"},
	{shard.ErrTryAgain, "TRYAGAIN"},
	{shard.ErrNoReplicas, "NOREPLICAS"},
	{ErrExecAbort, "EXECABORT"},
	{ErrLoading, "LOADING"},
	{errStarting, "LOADING"},
	{ErrUncertain, "UNCERTAIN"}, // before ErrDisk, which it may come with
	{shard.ErrDiskFull, "DISKFULL"},
	{shard.ErrDiskExhausted, "DISKFULL"},
	{shard.ErrDiskBusy, "BUSY"},
	{shard.ErrBusy, "BUSY"},
	{shard.ErrDisk, "MISCONF"}, // as Redis does for its log
	{ErrNoAuth, "NOAUTH"},
	{errNoPermission, "NOPERM"},
	{errHelloAuth, "NOAUTH"},
	{errWrongPass, "WRONGPASS"},
	{array.ErrBounds, "BOUNDS"},
}

// wireError returns the text of an error reply: a prefix and one line.
func wireError(err error) string {
	prefix := "ERR"
	if r := (redirect{}); errors.As(err, &r) {
		prefix = "MOVED"
	}
	for _, p := range prefixes {
		if errors.Is(err, p.sentinel) {
			prefix = p.prefix
			break
		}
	}
	return prefix + " " + oneLine.Replace(err.Error())
}

var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// redirect is the error MOVED.
type redirect struct {
	slot int
	to   topology.Address
}

// Error writes an IPv6 address without brackets, as Redis does: clients look for the last colon.
func (r redirect) Error() string {
	return fmt.Sprintf("%d %s:%d", r.slot, r.to.Host, r.to.Port)
}

// slotDown is the reason why no node that the client can reach serves a slot.
type slotDown string

func (s slotDown) Error() string { return string(s) }

func (slotDown) Unwrap() error { return ErrNoOwner }
