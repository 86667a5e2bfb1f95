package shard

import (
	"fmt"
	"testing"

	"github.com/ndring/ndring/memory"
)

// An entry that a reader holds is not moved: the block and its copy would both own the parts. The
// reader and the index release it in either order.
func TestDefragmentLeavesHeldEntries(t *testing.T) {
	c := newCache(t, NoEviction, 0)
	const n, kept = 6000, 3 // every third entry stays, and a reader holds every second of these
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
		t.Error("no slab is being evacuated: the test shows nothing")
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
				t.Fatalf("%s has the part %q", key, got)
			}
			e.Release()
		}
	}
}
