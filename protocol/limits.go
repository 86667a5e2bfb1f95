package protocol

import "time"

// Limits bounds what a Reader accepts.
type Limits struct {
	MaxArgs int   // arguments of one command
	MaxBulk int64 // bytes of one argument; a larger one is read past and its command refused, up to MaxSkip
	MaxSkip int64 // bytes of one argument that are read past; a larger one ends the stream
	MaxLine int   // bytes of an inline command; 0 for maxLine
	Free    int64 // bytes of small arguments that cost no budget; 0 for scratchFree
	Step    int64 // bytes of the budget that more of them take at once; 0 for scratchStep
	Buffers readBuffers
	Budget  *Budget       // from the next command on; nil for the one that the Reader has
	Wait    time.Duration // for room in the budget

	BeforeAuth bool // the limits are those of a client without its password, and errors say so
}

// reason says what is wrong with a length, as Redis does.
func (l *Limits) reason() string {
	if l.BeforeAuth {
		return "unauthenticated"
	}
	return "invalid"
}

// whole returns the limits with a value for each.
func (l Limits) whole() Limits {
	if l.MaxLine == 0 {
		l.MaxLine = maxLine
	}
	if l.Free == 0 {
		l.Free = scratchFree
	}
	if l.Step == 0 {
		l.Step = scratchStep
	}
	if l.Buffers == (readBuffers{}) {
		l.Buffers = usualBuffers
	}
	return l
}
