package resp

import "time"

// Limits bounds what a Reader accepts.
type Limits struct {
	MaxArgs int   // arguments of one command
	MaxBulk int64 // bytes of one argument; a larger one is skipped and its command refused, up to MaxSkip
	MaxSkip int64 // bytes of one argument that are skipped; a larger one ends the stream
	MaxLine int   // bytes of an inline command; default 64 KiB
	Free    int64 // bytes of small arguments that cost no budget; default 64 KiB
	Step    int64 // bytes that further small arguments acquire from the budget at once; default 256 KiB
	Buffers BufferSizes
	Budget  *Budget       // starting with the next command; default the reader's current budget
	Wait    time.Duration // for room in the budget

	BeforeAuth bool // the client has not authenticated; errors say so
}

// BufferSizes are the sizes, in bytes, of the buffer into which a connection is read.
type BufferSizes struct {
	First int // allocated when bytes arrive, and kept while the client is idle
	Large int // the maximum, for pipelines of small commands
}

// DefaultBuffers are the BufferSizes of Limits that name none.
var DefaultBuffers = BufferSizes{4 << 10, 64 << 10}

// reason says what is wrong with a length, in Redis' words.
func (l *Limits) reason() string {
	if l.BeforeAuth {
		return "unauthenticated"
	}
	return "invalid"
}

func (l Limits) withDefaults() Limits {
	if l.MaxLine == 0 {
		l.MaxLine = maxLine
	}
	if l.Free == 0 {
		l.Free = scratchFree
	}
	if l.Step == 0 {
		l.Step = scratchStep
	}
	if l.Buffers == (BufferSizes{}) {
		l.Buffers = DefaultBuffers
	}
	return l
}
