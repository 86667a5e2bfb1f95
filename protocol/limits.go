package protocol

import (
	"time"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/protocol/resp"
)

const (
	maxArgs      = 64 << 10              // arguments of one command
	maxKey       = 64<<10 - 1            // bytes
	maxHeader    = 1<<20 + 16            // bytes of a .npy file before its data: the limit of package array, plus magic, version and length
	maxPlainArg  = 64 << 10              // bytes of an argument of a command that accepts no arrays
	maxIndexText = 32 * array.MaxIndices // bytes of the indices of NP.TAKE
	lingerTime   = time.Second           // for which the stream is drained after a protocol error, so that the client sees the error
	lingerBytes  = 64 << 20              // that are drained
	stopGrace    = 5 * time.Second       // for running commands when the server closes
)

// Before AUTH a client is a stranger: it gets room for its password and little else. The limits of
// arguments are Redis'. All strangers share a budget of their own, and short arguments cost nothing: no
// number of strangers takes memory from values or room from uploads.
const (
	maxArgsBeforeAuth = 10
	maxBulkBeforeAuth = 16 << 10 // bytes
	maxLineBeforeAuth = 1 << 10  // bytes
	freeBeforeAuth    = 1 << 10  // bytes of arguments that cost no budget
	strangersBudget   = 16 << 20 // bytes
	strangerOutput    = 1 << 10  // bytes of replies that may wait
)

// minSkip is the least number of bytes that are skipped, so that the sender of too large an array gets
// TOOLARGE and not a protocol error.
const minSkip = 512 << 20

// outputLimits returns how many bytes of replies may wait.
func (c *Config) outputLimits() resp.OutputLimits {
	return resp.OutputLimits{
		Client: c.MaxReplyBytes, All: c.MaxOutputBytes, Hard: c.OutputHard, Soft: c.OutputSoft, SoftTime: c.OutputSoftTime, Stall: c.ReplyStall,
	}
}

// limits returns what a client may send.
func (c *Config) limits(authenticated bool) resp.Limits {
	largest := c.MaxArrayBytes + maxHeader
	limits := resp.Limits{MaxArgs: maxArgs, MaxBulk: largest, MaxSkip: max(4*largest, minSkip), Wait: c.UploadWait}
	if !authenticated {
		limits.MaxArgs, limits.MaxBulk, limits.MaxSkip = maxArgsBeforeAuth, maxBulkBeforeAuth, maxBulkBeforeAuth
		limits.BeforeAuth = true
		limits.MaxLine, limits.Free, limits.Step, limits.Buffers, limits.Wait = maxLineBeforeAuth, freeBeforeAuth, maxBulkBeforeAuth, resp.BufferSizes{First: 1 << 10, Large: 1 << 10}, 0
	}
	return limits
}
