package protocol

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"time"
	"unsafe"

	"github.com/ndring/ndring/memory"
)

const (
	maxLine     = 64 << 10  // bytes of an inline command
	maxLength   = 32        // bytes of a line that holds a length; an int64 has 20
	smallBulk   = 16 << 10  // bytes; up to here bulks are collected in one scratch, above each has its own buffer
	chunk       = 256 << 10 // bytes that are read and summed at once, while they are in the processor's cache
	scratchStep = 256 << 10 // bytes of scratch taken from the budget at once; the first ones are free
	scratchFree = 64 << 10  // bytes of scratch that are free
	manyArgs    = 1 << 10   // arguments of a command from which on they cost budget themselves
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Arg is one argument of a command.
type Arg struct {
	small []byte         // the bytes, when there is no buffer; valid until the next call of Reader.Next
	large *memory.Buffer // holds the bytes of a large bulk; the Reader has the reference
	crc   uint32         // CRC32C of large
}

// Bytes returns the argument. It is valid until the next call of Reader.Next.
func (a *Arg) Bytes() []byte {
	if a.large != nil {
		return a.large.Bytes()
	}
	return a.small
}

// Take returns the argument in a buffer of its own, to which the caller gets a reference.
func (a *Arg) Take(pool *memory.Pool) *memory.Buffer {
	if a.large != nil {
		return a.large.Retain()
	}
	return pool.Copy(a.small)
}

// CRC returns the argument's CRC32C.
func (a *Arg) CRC() uint32 {
	if a.large != nil {
		return a.crc
	}
	return crc32.Checksum(a.small, castagnoli)
}

// Admit is asked before an argument of n bytes is read, with the arguments before it and their total number. An error refuses the
// command: its bytes are read past, and Next returns the error.
type Admit func(before []Arg, total int, n int64) error

// Room is asked for the memory of a large argument, once the budget has room for it and before it is read. An error refuses the command, as one of
// Admit does.
type Room func(before []Arg, n int64) error

// Reader reads commands from an untrusted stream. It loops rather than recurses, checks each length before it allocates, and holds no
// more than Limits and Budget allow.
type Reader struct {
	src    source
	pool   *memory.Pool // of large arguments
	own    *memory.Pool // of all else
	budget *Budget
	limits Limits
	admit  Admit
	room   Room // may be nil

	ahead      block // what is read: [start:end] of it is not yet used
	start, end int
	wanted     int // bytes that ahead has when it is taken next
	inCommand  bool
	scratch    block  // small bulks of the command
	spans      []span // where in scratch; by argument
	args       []Arg
	held       int64 // bytes taken from the budget
	kept       int64 // bytes of held that went over to commands that were kept
	prepaid    int64 // bytes of scratch that are covered
	argBytes   int64 // bytes of args
}

type span struct{ from, to int }

// refused is an error after which the stream goes on: the whole command has been read past.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// NewReader returns a reader of src, which must be closed. Large arguments lie in pool, and all else that it holds in own. Admit may be nil.
func NewReader(src io.Reader, pool, own *memory.Pool, budget *Budget, limits Limits, admit Admit) *Reader {
	if admit == nil {
		admit = func([]Arg, int, int64) error { return nil }
	}
	lazy, ok := src.(source)
	if !ok {
		lazy = eager{src}
	}
	r := &Reader{src: lazy, pool: pool, own: own, budget: budget, admit: admit, ahead: block{pool: own}, scratch: block{pool: own}}
	r.SetLimits(limits)
	return r
}

// Close gives back all memory but that of kept commands.
func (r *Reader) Close() {
	r.Release()
	r.ahead.drop()
	r.scratch.drop()
	r.start, r.end = 0, 0
}

// SetLimits changes the limits from the next command on.
func (r *Reader) SetLimits(limits Limits) {
	r.limits = limits.whole()
	r.wanted = min(max(r.wanted, r.limits.Buffers.first), r.limits.Buffers.large)
}

// InCommand reports whether a part of a command has been read.
func (r *Reader) InCommand() bool { return r.inCommand }

// Held returns the bytes of the upload budget that the client has: for the command that is being read, and for those that it kept.
func (r *Reader) Held() int64 { return r.held + r.kept }

// sizes returns how many bytes are read and not yet used, how many more there is room for, and how many the arguments have that are read and those that are kept.
func (r *Reader) sizes() (unread, free, args, kept int64) {
	return int64(r.end - r.start), int64(len(r.ahead.b) - r.end), r.argBytes, r.kept
}

// Next returns the next command. Its arguments are valid until the next call. An error that is a `refused` answers one command; any
// other one ends the stream.
func (r *Reader) Next() ([]Arg, error) {
	r.Release()
	for {
		if err := r.need(1); err != nil {
			return nil, err
		}
		r.inCommand = true
		var err error
		if r.ahead.b[r.start] == '*' {
			err = r.multibulk()
		} else {
			err = r.inline()
		}
		r.inCommand = false
		if err != nil {
			return nil, err
		}
		if len(r.args) > 0 { // an empty command is no command
			return r.args, nil
		}
	}
}

// Release lets go of the last command's memory.
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
		case size <= smallBulk:
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
		return refused{refusal}
	}
	for i, s := range r.spans { // only now: scratch moves as it grows
		if r.args[i].large == nil {
			r.args[i].small = r.scratch.b[s.from:s.to:s.to]
		}
	}
	return nil
}

// admitBulk checks whether there may be an argument of size bytes, and takes what it needs from the budget.
func (r *Reader) admitBulk(total int, size int64) error {
	if size > r.limits.MaxBulk {
		return fmt.Errorf("%w: an argument of %d bytes, the limit is %d", ErrTooLarge, size, r.limits.MaxBulk)
	}
	for i, s := range r.spans {
		if r.args[i].large == nil {
			r.args[i].small = r.scratch.b[s.from:s.to:s.to]
		}
		if i == 1 { // the name of the command and of its subcommand are enough to decide
			break
		}
	}
	if err := r.admit(r.args, total, size); err != nil {
		return err
	}
	need := size
	if size <= smallBulk {
		if int64(len(r.scratch.b))+size <= r.prepaid {
			return nil
		}
		need = r.limits.Step
		r.prepaid += need
	}
	if err := r.acquire(need, r.limits.Wait); err != nil || size <= smallBulk || r.room == nil {
		return err
	}
	return r.room(r.args, size)
}

// acquire takes bytes from the budget. What the client has kept already counts as its own: it may fill the budget alone, and no more than that.
func (r *Reader) acquire(n int64, patience time.Duration) error {
	if limit := r.budget.Limit(); r.kept > 0 && r.kept+r.held+n > limit {
		return fmt.Errorf("%w: the queued commands have more than %d bytes", ErrTooLarge, limit)
	}
	if !r.budget.Acquire(n, r.held+r.kept, patience) {
		return ErrBusy
	}
	r.held += n
	return nil
}

// Kept is a command that outlives the next call of Reader.Next.
type Kept struct {
	Args  []Arg
	small *memory.Buffer // holds the bytes of the small ones; nil for none
	bytes int64          // of the budget
}

// What a kept command costs beside the bytes of its arguments.
const (
	keptBytes    = 128
	keptArgBytes = int64(unsafe.Sizeof(Arg{}))
)

// Keep makes the last command one that outlives the next call of Next. The caller must Drop it.
func (r *Reader) Keep() (*Kept, error) {
	cost := keptBytes + int64(len(r.args))*keptArgBytes + smallBytes(r.args)
	if err := r.acquire(cost, 0); err != nil {
		return nil, err
	}
	k := &Kept{Args: make([]Arg, len(r.args)), bytes: r.held}
	copy(k.Args, r.args) // with the references
	if n := smallBytes(r.args); n > 0 {
		k.small = r.own.New(int(n))
		b := k.small.Bytes()[:0]
		for i := range k.Args {
			if from := len(b); k.Args[i].large == nil {
				b = append(b, k.Args[i].small...)
				k.Args[i].small = b[from:len(b):len(b)]
			}
		}
	}
	clear(r.args)
	r.kept += r.held
	r.held = 0
	return k, nil
}

// Drop lets go of a kept command's memory.
func (r *Reader) Drop(k *Kept) {
	releaseArgs(k.Args)
	if k.small != nil {
		k.small.Release()
	}
	r.budget.Release(k.bytes)
	r.kept -= k.bytes
}

func releaseArgs(args []Arg) {
	for i := range args {
		if args[i].large != nil {
			args[i].large.Release()
		}
	}
}

// length reads a line that is a mark and a number.
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
	n, ok := parseInt(line[1:])
	if !ok {
		return 0, protocolError("invalid %s", what)
	}
	return n, nil
}

// line reads up to CRLF, which it takes away. The result is valid until the next read.
func (r *Reader) line(limit int, what string) ([]byte, error) {
	for seen := 0; ; {
		if i := bytes.IndexByte(r.ahead.b[r.start+seen:r.end], '\n'); i >= 0 {
			if seen+i >= limit { // whether it came in one piece or in many
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
	r.scratch.room(n)
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
	r.args = append(r.args, Arg{large: buffer}) // from here on Release finds it
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
			if took, err = r.src.Read(b[at:to]); took == 0 && err != nil {
				return unexpected(err)
			}
		}
		crc = crc32.Update(crc, castagnoli, b[at:at+took])
		at += took
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

// unexpected turns an end of the stream within a command into an error.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseInt reads a decimal int64: no plus, no blanks, no leading zeros, as Redis' string2ll.
func parseInt(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 || b[0] == '0' && (len(b) > 1 || negative) {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if negative {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}
