package protocol

import (
	"bytes"
	"strconv"
	"sync"

	"github.com/tidwall/redcon"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/shard"
)

// Replies encodes the answers to a connection's commands, in RESP2 or RESP3, and keeps them until they are sent.
// Small ones are copied together; a large bulk stays where it is stored, by reference.
type Replies struct {
	resp3     bool
	pieces    []piece
	tail      []byte            // small replies after the last piece
	own       *tailBuffer       // in which tail lies; nil if there is no tail
	bytes     int64             // of pieces and tail
	errors    int64             // error replies since the start
	lastError string            // the text of the newest
	count     func(text string) // is told of each error reply; may be nil
}

// piece is a run of bytes on its way out; held, if set, keeps them.
type piece struct {
	b    []byte
	held shard.Ref
}

const crlf = "\r\n"

// byReference is the size from which a bulk is sent from where it is stored: below, a copy costs less than a further piece to send.
const byReference = 4 << 10 // bytes

// Simple writes a simple string.
func (w *Replies) Simple(s string) { w.tail = redcon.AppendString(w.room(), s) }

// OK writes the simple string OK.
func (w *Replies) OK() { w.tail = redcon.AppendOK(w.room()) }

// Error writes an error reply.
func (w *Replies) Error(err error) { w.ErrorText(wireError(err)) }

// ErrorText writes an error reply that begins with its prefix.
func (w *Replies) ErrorText(text string) {
	w.errors++
	w.lastError = text
	if w.count != nil {
		w.count(text)
	}
	w.tail = redcon.AppendError(w.room(), text)
}

// Int writes an integer.
func (w *Replies) Int(n int64) { w.tail = redcon.AppendInt(w.room(), n) }

// Bool writes 1 or 0, which is how Redis answers yes or no.
func (w *Replies) Bool(yes bool) {
	if yes {
		w.Int(1)
	} else {
		w.Int(0)
	}
}

// Bulk writes a bulk string.
func (w *Replies) Bulk(b []byte) { w.tail = redcon.AppendBulk(w.room(), b) }

// Text writes a bulk string.
func (w *Replies) Text(s string) { w.tail = redcon.AppendBulkString(w.room(), s) }

// Verbatim writes a text for people: a verbatim string in RESP3.
func (w *Replies) Verbatim(s string) {
	if !w.resp3 {
		w.Text(s)
		return
	}
	w.tail = appendHead(w.room(), '=', len(s)+len("txt:"))
	w.tail = append(append(append(w.room(), "txt:"...), s...), "\r\n"...)
}

// Buffer writes the content of a buffer as a bulk string. The caller keeps its own reference.
func (w *Replies) Buffer(b *memory.Buffer) {
	if b.Len() < byReference {
		w.Bulk(b.Bytes())
		return
	}
	framed := b.Framed()
	bare := len(framed) == b.Len()
	if bare {
		w.tail = appendHead(w.room(), '$', b.Len())
	}
	w.lend(framed, b.Retain())
	if bare {
		w.tail = append(w.room(), crlf...)
	}
}

// NPY writes the .npy file of an entry as a bulk string. The caller keeps its own reference.
func (w *Replies) NPY(e *shard.Entry) {
	if e.NPYBytes() < byReference {
		w.Bulk(e.NPY())
		return
	}
	w.lend(e.RetainFramed())
}

func (w *Replies) lend(b []byte, held shard.Ref) {
	w.cut()
	w.pieces = append(w.pieces, piece{b, held})
	w.bytes += int64(len(b))
}

// Encoded writes replies that are encoded already, and do not change any more.
func (w *Replies) Encoded(b []byte) {
	if len(b) < byReference {
		w.tail = append(w.room(), b...)
		return
	}
	w.lend(b, nil)
}

// encode returns what write writes, to be kept. It must write small replies alone.
func encode(resp3 bool, write func(*Replies)) []byte {
	w := Replies{resp3: resp3}
	write(&w)
	w.cut()
	defer releasePieces(w.pieces)
	return bytes.Clone(w.pieces[0].b)
}

// BulkFrame returns what stands around a bulk string of n bytes that NPY is to send by reference.
func BulkFrame(n int) (before, after []byte) {
	if n < byReference {
		return nil, nil
	}
	return appendHead(nil, '$', n), []byte(crlf)
}

// Null writes null.
func (w *Replies) Null() {
	if w.resp3 {
		w.tail = append(w.room(), "_\r\n"...)
		return
	}
	w.tail = redcon.AppendNull(w.room())
}

// NullArray writes null where an array was asked for.
func (w *Replies) NullArray() {
	if w.resp3 {
		w.Null()
		return
	}
	w.tail = append(w.room(), "*-1\r\n"...)
}

// Array begins an array of n replies.
func (w *Replies) Array(n int) { w.tail = redcon.AppendArray(w.room(), n) }

// Set begins a set of n replies.
func (w *Replies) Set(n int) {
	if w.resp3 {
		w.tail = appendHead(w.room(), '~', n)
		return
	}
	w.Array(n)
}

// Map begins a map of n keys and values: in RESP2 an array of them in turn.
func (w *Replies) Map(n int) {
	if w.resp3 {
		w.tail = appendHead(w.room(), '%', n)
		return
	}
	w.Array(2 * n)
}

func appendHead(b []byte, mark byte, n int) []byte {
	return append(strconv.AppendInt(append(b, mark), int64(n), 10), "\r\n"...)
}

// Len returns the bytes that wait here.
func (w *Replies) Len() int64 { return w.bytes + int64(len(w.tail)) }

// room returns the tail, to append to.
func (w *Replies) room() []byte {
	if w.own == nil {
		w.own = tails.Get().(*tailBuffer)
		w.tail = w.own.b[:0]
	}
	return w.tail
}

// append writes what other Replies have encoded, and takes the references over.
func (w *Replies) append(pieces []piece) {
	w.cut()
	for _, p := range pieces {
		w.pieces = append(w.pieces, p)
		w.bytes += int64(len(p.b))
	}
}

// cut makes the tail a piece.
func (w *Replies) cut() {
	if len(w.tail) > 0 {
		w.own.b = w.tail
		w.pieces = append(w.pieces, piece{w.tail, w.own})
		w.bytes += int64(len(w.tail))
		w.tail, w.own = nil, nil
	}
}

// drop takes back what was written after there were so many pieces and no tail.
func (w *Replies) drop(pieces int) {
	w.cut()
	for _, p := range w.pieces[pieces:] {
		w.bytes -= int64(len(p.b))
	}
	releasePieces(w.pieces[pieces:])
	clear(w.pieces[pieces:])
	w.pieces = w.pieces[:pieces]
}

// take hands over all that waits. What it returns is valid until the next reply is written.
func (w *Replies) take() []piece {
	w.cut()
	taken := w.pieces
	w.pieces, w.bytes = w.pieces[:0], 0
	if cap(taken) > maxVector {
		w.pieces = nil
	}
	return taken
}

// tailBuffer is memory for small replies, which goes from one connection to the next.
type tailBuffer struct{ b []byte }

var tails = sync.Pool{New: func() any { return new(tailBuffer) }}

// maxTail is the largest tail that is kept for others.
const maxTail = 2 * flushAt

// Release gives the memory back: it is sent.
func (t *tailBuffer) Release() {
	if cap(t.b) <= maxTail {
		tails.Put(t)
	}
}

func releasePieces(pieces []piece) {
	for _, p := range pieces {
		if p.held != nil {
			p.held.Release()
		}
	}
}
