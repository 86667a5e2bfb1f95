package protocol

import (
	"errors"
	"strings"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/internal/outcome"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

var (
	// ErrOOM is returned when there is no memory for what a command would store. The text is Redis'.
	ErrOOM = errors.New("command not allowed when used memory > 'maxmemory'.")
	// ErrCrossSlot is returned when the keys of one command are of different slots.
	ErrCrossSlot = errors.New("Keys in request don't hash to the same slot")
	// ErrNoOwner is returned when no node serves a slot that this client could reach, with the reason.
	ErrNoOwner = errors.New("hash slot not served")
	// ErrUncertain is returned when a change may or may not have taken effect, or may still do so.
	ErrUncertain = outcome.ErrUncertain

	// ErrTryAgain is returned when this node ought to serve a shard and still does not after gateWait.
	ErrTryAgain = errors.New("the shard is being handed over, try again")
	// ErrLoading is returned for a command whose shard is still read from disk. The text is Redis'.
	ErrLoading = errors.New("ndring is loading the dataset in memory")
	// errStarting is returned by a node that has just been started and is not part of its cluster yet.
	errStarting = errors.New("this node is starting, it serves in a moment")

	errSyntax  = errors.New("syntax error")
	errInteger = errors.New("value is not an integer or out of range")
)

// prefixes maps the sentinels of all packages to what stands first in the error reply, on which clients act. All others get "ERR".
var prefixes = []struct {
	sentinel error
	prefix   string
}{
	{array.ErrTooLarge, "TOOLARGE"}, // before ErrInvalid, which it may wrap
	{array.ErrInvalid, "BADNPY"},
	{shard.ErrCorrupt, "CORRUPT"},
	{resp.ErrTooLarge, "TOOLARGE"},
	{resp.ErrBusy, "BUSY"},
	{errExecRejected, "EXECABORT"}, // before what it wraps
	{ErrOOM, "OOM"},
	{ErrCrossSlot, "CROSSSLOT"},
	{ErrNoOwner, "CLUSTERDOWN"},
	{ErrTryAgain, "TRYAGAIN"},
	{ErrExecAbort, "EXECABORT"},
	{ErrLoading, "LOADING"},
	{errStarting, "LOADING"},
	{ErrUncertain, "UNCERTAIN"}, // before ErrDisk, which it may come with
	{shard.ErrDiskFull, "DISKFULL"},
	{shard.ErrDiskExhausted, "DISKFULL"},
	{shard.ErrDiskBusy, "BUSY"},
	{shard.ErrDisk, "MISCONF"}, // as Redis says it of its log
	{ErrNoAuth, "NOAUTH"},
	{errHelloAuth, "NOAUTH"},
	{errWrongPass, "WRONGPASS"},
}

// wireError returns the text of an error reply: a prefix, and one line.
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
