package shard

import (
	"fmt"
	"testing"

	"github.com/ndring/ndring/memory"
)

// What somebody reads is not moved: the block that is read and its copy would both own the parts.
// Who reads it, and who stores it, let it go in either order.
func TestCompactLeavesReadersTheirs(t *testing.T) {
	c := newCache(t, NoEviction, 0)
	const n, kept = 6000, 3 // every third entry stays, and every second of these is read
	for i := range n {
		key := fmt.Sprint("k", i)
		part := []Part{{"mask", c.pool.Copy([]byte(key))}}
		c.of(key).Set(Write{Key: []byte(key), Value: Value{NPY: make([]byte, 1000), Parts: part}})
	}
	var read []*Entry
	for i := range n {
		key := fmt.Sprint("k", i)
		switch {
		case i%kept != 0:
			c.of(key).Delete(keys(key))
		case i%2 == 0:
			read = append(read, c.of(key).Get([]byte(key), true))
		}
	}
	for range 10 {
		c.Trim(false)
	}
	if sparse := c.pool.Evacuating(); !sparse && !memory.OnGoHeap {
		t.Error("nothing is to be moved: the test shows nothing")
	}
	part := func(e *Entry) string { return string(e.Parts()[0].Data.Bytes()) }
	for i, e := range read {
		if got := part(e); got != string(e.Key()) {
			t.Fatalf("%s reads %q", e.Key(), got)
		}
		if i%2 == 0 {
			c.of(string(e.Key())).Delete([][]byte{e.Key()})
		}
		e.Release()
	}
	for i := 0; i < n; i += kept {
		key := fmt.Sprint("k", i)
		if e := c.of(key).Get([]byte(key), true); e != nil {
			if got := part(e); got != key {
				t.Fatalf("%s has become %q", key, got)
			}
			e.Release()
		}
	}
}
