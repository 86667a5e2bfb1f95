package resp

import (
	"unsafe"

	"github.com/ndring/ndring/memory"
)

// Kept is a command that outlives the next call of Reader.Next.
type Kept struct {
	Args  []Arg
	small *memory.Buffer // holds the bytes of the small arguments; nil for none
	bytes int64          // of the budget
}

// What a kept command costs in addition to the bytes of its arguments.
const (
	keptBytes    = 128
	keptArgBytes = int64(unsafe.Sizeof(Arg{}))
)

// Keep makes the last command outlive the next call of Next. The caller must Drop it.
func (r *Reader) Keep() (*Kept, error) {
	cost := keptBytes + int64(len(r.args))*keptArgBytes + SmallBytes(r.args)
	if err := r.acquire(cost, 0); err != nil {
		return nil, err
	}
	k := &Kept{Args: make([]Arg, len(r.args)), bytes: r.held}
	copy(k.Args, r.args) // with the references
	if n := SmallBytes(r.args); n > 0 {
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

// Drop releases a kept command's memory.
func (r *Reader) Drop(k *Kept) {
	releaseArgs(k.Args)
	if k.small != nil {
		k.small.Release()
	}
	r.budget.Release(k.bytes)
	r.kept -= k.bytes
}
