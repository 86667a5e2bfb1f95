package resp

import (
	"bytes"
	"fmt"
	"io"
	"time"
	"unsafe"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/internal/fair"
	"github.com/ndring/ndring/memory"
)

// SmallBulk is the largest bulk, in bytes, that is collected with others in one scratch block. A larger
// one gets a buffer of its own.
const SmallBulk = 16 << 10

const (
	maxLine     = 64 << 10  // bytes of an inline command
	maxLength   = 32        // bytes of a line that holds a length; an int64 has 20
	chunk       = 256 << 10 // bytes read and summed at once, while they are in the processor's cache
	scratchStep = 256 << 10 // bytes of scratch acquired from the budget at once
	scratchFree = 64 << 10  // bytes of scratch that cost no budget
	manyArgs    = 1 << 10   // a command with more arguments pays budget for the arguments themselves
)

// Admit decides whether an argument of n bytes is read, given the arguments before it and their total
// number. An error refuses the command: its bytes are skipped, and Next returns the error in a Refusal.
type Admit func(before []Arg, total int, n int64) error

// Reserve frees n bytes of memory for a large argument, after the budget granted them and before they
// are read. An error refuses the command, like one of Admit.
type Reserve func(before []Arg, n int64) error

// Reader reads commands from an untrusted stream. It loops instead of recursing, checks each length
// before it allocates, and holds no more than Limits and Budget allow.
type Reader struct {
	src     Source
	pool    *memory.Pool // of large arguments
	own     *memory.Pool // of all other memory
	budget  *Budget
	limits  Limits
	admit   Admit
	reserve Reserve // may be nil

	// Invariant: 0 <= start <= end <= len(ahead.b); ahead.b[start:end] is received and not yet parsed.
	ahead      block
	start, end int
	aheadSize  int // bytes to allocate for ahead the next time
	inCommand  bool

	scratch block  // the small bulks of the command
	spans   []span // where they are in scratch, by argument
	args    []Arg

	// Invariant: held + kept is what this reader has acquired from budget.
	held     int64 // for the command that is being read
	kept     int64 // for commands that were kept
	prepaid  int64 // bytes of scratch that are free or paid
	argBytes int64 // bytes of args
}

type span struct{ from, to int }

// NewReader returns a reader of src. Large arguments are stored in pool, everything else in own. Admit
// and reserve may be nil. The caller must Close the reader.
func NewReader(src Source, pool, own *memory.Pool, budget *Budget, limits Limits, admit Admit, reserve Reserve) *Reader {
	if admit == nil {
		admit = func([]Arg, int, int64) error { return nil }
	}
	r := &Reader{
		src: src, pool: pool, own: own, budget: budget, admit: admit, reserve: reserve,
		ahead: block{pool: own}, scratch: block{pool: own},
	}
	r.SetLimits(limits)
	return r
}

// Close releases all memory except that of kept commands.
func (r *Reader) Close() {
	r.Release()
	r.ahead.drop()
	r.scratch.drop()
	r.start, r.end = 0, 0
}

// SetLimits changes the limits, starting with the next command.
func (r *Reader) SetLimits(limits Limits) {
	r.limits = limits.withDefaults()
	r.aheadSize = min(max(r.aheadSize, r.limits.Buffers.First), r.limits.Buffers.Large)
}

// InCommand reports whether a part of a command has been read.
func (r *Reader) InCommand() bool { return r.inCommand }

// Held returns the bytes acquired from the upload budget, for the command that is being read and for kept ones.
func (r *Reader) Held() int64 { return r.held + r.kept }

// Sizes returns the bytes that are received and not yet parsed, the bytes that still fit into the read
// buffer, and the bytes of the arguments that are read and of those that are kept.
func (r *Reader) Sizes() (unread, free, args, kept int64) {
	return int64(r.end - r.start), int64(len(r.ahead.b) - r.end), r.argBytes, r.kept
}

// Next returns the next command. Its arguments are valid until the next call. A Refusal is the answer to
// one command; any other error ends the stream.
func (r *Reader) Next() ([]Arg, error) {
	r.Release()
	for {
		if err := r.need(1); err != nil {
			return nil, err
		}
		r.inCommand = true
		var err error
		switch r.ahead.b[r.start] {
		case '*':
			err = r.multibulk()
		case handshakeRecord:
			err = r.beginning()
		default:
			err = r.inline()
		}
		r.inCommand = false
		if err != nil {
			return nil, err
		}
		if len(r.args) > 0 { // Redis skips an empty command, too
			return r.args, nil
		}
	}
}

// The first two bytes of a client that speaks TLS.
const (
	handshakeRecord = 0x16
	majorVersion    = 0x03
)

// beginning reads a line that begins like TLS.
func (r *Reader) beginning() error {
	if err := r.need(2); err != nil {
		return err
	}
	if r.ahead.b[r.start+1] == majorVersion {
		return ErrSpeaksTLS
	}
	return r.inline()
}

// Release releases the last command's memory.
func (r *Reader) Release() {
	releaseArgs(r.args)
	clear(r.args)
	r.args, r.spans = r.args[:0], r.spans[:0]
	if r.scratch.b = r.scratch.b[:0]; cap(r.scratch.b) > scratchFree {
		r.scratch.drop()
	}
	if cap(r.args) > manyArgs {
		r.args, r.spans = nil, nil
	}
	r.budget.Release(r.held)
	r.held, r.prepaid, r.argBytes = 0, r.limits.Free, 0
	if r.limits.Budget != nil {
		r.budget = r.limits.Budget
	}
}

func (r *Reader) multibulk() error {
	n, err := r.length('*', "multibulk length")
	if err != nil {
		return err
	}
	if n > int64(r.limits.MaxArgs) {
		return protocolError("%s multibulk length: %d arguments, the limit is %d", r.limits.reason(), n, r.limits.MaxArgs)
	}
	var refusal error
	if n > manyArgs {
		refusal = r.acquire(n*int64(unsafe.Sizeof(Arg{})+unsafe.Sizeof(span{})), r.limits.Wait)
	}
	for i := range n {
		size, err := r.length('$', "bulk length")
		if err != nil {
			return err
		}
		switch {
		case size < 0:
			return protocolError("invalid bulk length")
		case size > r.limits.MaxSkip:
			return protocolError("%s bulk length: %d bytes, the limit is %d", r.limits.reason(), size, r.limits.MaxSkip)
		}
		if refusal == nil {
			if refusal = r.admitBulk(int(n), size); refusal != nil {
				r.Release()
			}
		}
		switch {
		case refusal != nil:
			err = r.skip(size)
		case size <= SmallBulk:
			err = r.small(int(size))
		default:
			err = r.large(int(size))
		}
		if err != nil {
			return fmt.Errorf("argument %d: %w", i, err)
		}
		if err := r.crlf(); err != nil {
			return err
		}
	}
	if refusal != nil {
		return Refusal{refusal}
	}
	for i, s := range r.spans { // only now, since scratch moves when it grows
		if r.args[i].large == nil {
			r.args[i].small = r.scratch.b[s.from:s.to:s.to]
		}
	}
	return nil
}

// admitBulk checks whether an argument of size bytes is allowed, and acquires its bytes from the budget.
func (r *Reader) admitBulk(total int, size int64) error {
	if size > r.limits.MaxBulk {
		return fmt.Errorf("%w: an argument of %d bytes, the limit is %d", ErrTooLarge, size, r.limits.MaxBulk)
	}
	for i, s := range r.spans {
		if r.args[i].large == nil {
			r.args[i].small = r.scratch.b[s.from:s.to:s.to]
		}
		if i == 1 { // the names of the command and of its subcommand are enough to decide
			break
		}
	}
	if err := r.admit(r.args, total, size); err != nil {
		return err
	}
	need := size
	if size <= SmallBulk {
		if int64(len(r.scratch.b))+size <= r.prepaid {
			return nil
		}
		need = r.limits.Step
		r.prepaid += need
	}
	if err := r.acquire(need, r.limits.Wait); err != nil || size <= SmallBulk || r.reserve == nil {
		return err
	}
	return r.reserve(r.args, size)
}

// acquire acquires bytes from the budget. Kept commands count: a client may fill the budget alone, but
// not exceed it.
func (r *Reader) acquire(n int64, wait time.Duration) error {
	if limit := r.budget.Limit(); r.kept > 0 && r.kept+r.held+n > limit {
		return fmt.Errorf("%w: the queued commands have more than %d bytes", ErrTooLarge, limit)
	}
	if !r.budget.Acquire(n, r.held+r.kept, wait) {
		return ErrBusy
	}
	r.held += n
	return nil
}

// length reads a line that consists of a mark and a number.
func (r *Reader) length(mark byte, what string) (int64, error) {
	line, err := r.line(maxLength, what)
	if err != nil {
		return 0, err
	}
	if len(line) == 0 || line[0] != mark {
		got := "an empty line"
		if len(line) > 0 {
			got = fmt.Sprintf("'%c'", line[0])
		}
		return 0, protocolError("expected '%c', got %s", mark, got)
	}
	n, ok := ParseInt(line[1:])
	if !ok {
		return 0, protocolError("invalid %s", what)
	}
	return n, nil
}

// line reads a line and returns it without its CRLF. The result is valid until the next read.
func (r *Reader) line(limit int, what string) ([]byte, error) {
	for seen := 0; ; {
		if i := bytes.IndexByte(r.ahead.b[r.start+seen:r.end], '\n'); i >= 0 {
			if seen+i >= limit { // the same limit whether the line arrives in one piece or in many
				return nil, tooLong(what)
			}
			line := r.ahead.b[r.start : r.start+seen+i]
			r.start += seen + i + 1
			if n := len(line); n > 0 && line[n-1] == '\r' {
				return line[:n-1], nil
			}
			if what == "" { // telnet may send a bare LF
				return line, nil
			}
			return nil, protocolError("%s: missing CR before LF", what)
		}
		seen = r.end - r.start
		if seen >= limit {
			return nil, tooLong(what)
		}
		if err := r.need(seen + 1); err != nil {
			return nil, err
		}
	}
}

func tooLong(what string) error {
	if what == "" {
		return protocolError("too big inline request")
	}
	return protocolError("invalid %s", what)
}

func (r *Reader) small(n int) error {
	from := len(r.scratch.b)
	r.scratch.reserve(n)
	for left := n; left > 0; {
		if err := r.need(1); err != nil {
			return err
		}
		take := min(left, r.end-r.start)
		r.scratch.b = append(r.scratch.b, r.ahead.b[r.start:r.start+take]...)
		r.start += take
		r.argBytes += int64(take)
		left -= take
	}
	r.spans = append(r.spans, span{from, len(r.scratch.b)})
	r.args = append(r.args, Arg{})
	return nil
}

func (r *Reader) large(n int) error {
	var space [24]byte
	before := appendHead(space[:0], '$', n)
	buffer := r.pool.NewFramed(len(before), n, len(crlf))
	r.spans = append(r.spans, span{})
	r.args = append(r.args, Arg{large: buffer}) // from here on Release releases it
	r.argBytes += int64(n)
	b := buffer.Bytes()
	copy(buffer.Framed(), before)
	copy(buffer.Framed()[len(before)+n:], crlf)
	var crc uint32
	for at := 0; at < n; {
		to := min(at+chunk, n)
		took := copy(b[at:to], r.ahead.b[r.start:r.end])
		r.start += took
		if took == 0 {
			var err error
			if took, err = r.src.Receive(Destination{direct: b[at:to]}); took == 0 && err != nil {
				return unexpected(err)
			}
		}
		crc = crc32c.Update(crc, b[at:at+took])
		at += took
		fair.Yield(took)
	}
	r.args[len(r.args)-1].crc = crc
	return nil
}

func (r *Reader) skip(n int64) error {
	for n > 0 {
		if err := r.need(1); err != nil {
			return err
		}
		take := min(n, int64(r.end-r.start))
		r.start += int(take)
		n -= take
	}
	return nil
}

func (r *Reader) crlf() error {
	if err := r.need(2); err != nil {
		return err
	}
	if r.ahead.b[r.start] != '\r' || r.ahead.b[r.start+1] != '\n' {
		return protocolError("expected CRLF after a bulk string")
	}
	r.start += 2
	return nil
}

// unexpected turns EOF within a command into ErrUnexpectedEOF.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
