package resp

import (
	"bytes"
	"strconv"

	"github.com/tidwall/redcon"

	"github.com/ndring/ndring/memory"
)

const crlf = "\r\n"

// ByReference is the size, in bytes, from which a bulk string is sent from where it is stored. Below, a
// copy costs less than a further piece.
const ByReference = 4 << 10

// Writer encodes replies in RESP2 or RESP3. One goroutine uses it.
type Writer struct {
	Out   Chain // what was written and not taken yet
	RESP3 bool

	errorText func(error) string // prefix and text of an error reply
	onError   func(text string)  // is told of each error reply; may be nil
	errors    int64              // error replies since the start
	lastError string             // text of the newest
}

// NewWriter returns a Writer of RESP2. ErrorText makes the text of an error reply, with its prefix;
// onError may be nil.
func NewWriter(errorText func(error) string, onError func(text string)) Writer {
	return Writer{errorText: errorText, onError: onError}
}

// Simple writes a simple string.
func (w *Writer) Simple(s string) { w.Out.tail = redcon.AppendString(w.Out.space(), s) }

// OK writes the simple string OK.
func (w *Writer) OK() { w.Out.tail = redcon.AppendOK(w.Out.space()) }

// Error writes an error reply.
func (w *Writer) Error(err error) { w.ErrorText(w.errorText(err)) }

// ErrorText writes an error reply with a text that begins with its prefix.
func (w *Writer) ErrorText(text string) {
	w.countError(text)
	w.Out.tail = redcon.AppendError(w.Out.space(), text)
}

// countError counts an error reply.
func (w *Writer) countError(text string) {
	w.errors++
	w.lastError = text
	if w.onError != nil {
		w.onError(text)
	}
}

// Errors returns the number of error replies since the start.
func (w *Writer) Errors() int64 { return w.errors }

// SetErrors changes that number: an error inside EXEC does not make EXEC fail.
func (w *Writer) SetErrors(n int64) { w.errors = n }

// LastError returns the text of the newest error reply.
func (w *Writer) LastError() string { return w.lastError }

// Int writes an integer.
func (w *Writer) Int(n int64) { w.Out.tail = redcon.AppendInt(w.Out.space(), n) }

// Bool writes 1 or 0, as Redis answers yes or no.
func (w *Writer) Bool(yes bool) {
	if yes {
		w.Int(1)
	} else {
		w.Int(0)
	}
}

// Double writes a number, given as text: a double in RESP3, a bulk string in RESP2.
func Double(w *Writer, text string) {
	if !w.RESP3 {
		w.Text(text)
		return
	}
	w.Out.tail = append(append(append(w.Out.space(), ','), text...), crlf...)
}

// Bulk writes a bulk string.
func (w *Writer) Bulk(b []byte) { w.Out.tail = redcon.AppendBulk(w.Out.space(), b) }

// Text writes a bulk string.
func (w *Writer) Text(s string) { w.Out.tail = redcon.AppendBulkString(w.Out.space(), s) }

// Verbatim writes a text for people: a verbatim string in RESP3, a bulk string in RESP2.
func (w *Writer) Verbatim(s string) {
	if !w.RESP3 {
		w.Text(s)
		return
	}
	w.Out.tail = appendHead(w.Out.space(), '=', len(s)+len("txt:"))
	w.Out.tail = append(append(append(w.Out.space(), "txt:"...), s...), crlf...)
}

// Buffer writes the content of a buffer as a bulk string. The caller keeps its own reference.
func (w *Writer) Buffer(b *memory.Buffer) { w.buffer(b, b.Retain()) }

// Copy writes a copy, which is in a buffer, as a bulk string. It takes over the reference.
func (w *Writer) Copy(b *memory.Buffer, of *Copied) { w.buffer(b, of) }

func (w *Writer) buffer(b *memory.Buffer, held Ref) {
	if b.Len() < ByReference {
		w.Bulk(b.Bytes())
		held.Release()
		return
	}
	framed := b.Framed()
	bare := len(framed) == b.Len()
	if bare {
		w.Out.tail = appendHead(w.Out.space(), '$', b.Len())
	}
	w.Framed(framed, held)
	if bare {
		w.Out.tail = append(w.Out.space(), crlf...)
	}
}

// Framed writes a bulk string that is stored with its BulkFrame, by reference. It takes over held.
func (w *Writer) Framed(b []byte, held Ref) { w.Out.add(b, held) }

// Encoded writes replies that are encoded already. The bytes must never change.
func (w *Writer) Encoded(b []byte) {
	if len(b) < ByReference {
		w.Out.tail = append(w.Out.space(), b...)
		return
	}
	w.Out.add(b, nil)
}

// Null writes null.
func (w *Writer) Null() {
	if w.RESP3 {
		w.Out.tail = append(w.Out.space(), "_\r\n"...)
		return
	}
	w.Out.tail = redcon.AppendNull(w.Out.space())
}

// NullArray writes null in place of an array.
func (w *Writer) NullArray() {
	if w.RESP3 {
		w.Null()
		return
	}
	w.Out.tail = append(w.Out.space(), "*-1\r\n"...)
}

// Array begins an array of n replies.
func (w *Writer) Array(n int) { w.Out.tail = redcon.AppendArray(w.Out.space(), n) }

// Set begins a set of n replies.
func (w *Writer) Set(n int) {
	if w.RESP3 {
		w.Out.tail = appendHead(w.Out.space(), '~', n)
		return
	}
	w.Array(n)
}

// Map begins a map of n pairs. In RESP2 it is an array in which keys and values alternate.
func (w *Writer) Map(n int) {
	if w.RESP3 {
		w.Out.tail = appendHead(w.Out.space(), '%', n)
		return
	}
	w.Array(2 * n)
}

// Push begins a push of n values: a message that is not a reply. There are none in RESP2.
func (w *Writer) Push(n int) { w.Out.tail = appendHead(w.Out.space(), '>', n) }

// Encode returns what write writes, to be kept. Write must write small replies only, and no errors.
func Encode(resp3 bool, write func(*Writer)) []byte {
	w := Writer{RESP3: resp3}
	write(&w)
	w.Out.cut()
	defer Release(w.Out.pieces)
	return bytes.Clone(w.Out.pieces[0].b)
}

// BulkFrame returns the bytes around a bulk string of n bytes that is to be sent by reference. They are
// empty for one that is copied instead.
func BulkFrame(n int) (before, after []byte) {
	if n < ByReference {
		return nil, nil
	}
	return appendHead(nil, '$', n), []byte(crlf)
}

func appendHead(b []byte, mark byte, n int) []byte {
	return append(strconv.AppendInt(append(b, mark), int64(n), 10), crlf...)
}
