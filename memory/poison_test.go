//go:build poison && !goheap && !race

package memory

import "testing"

func TestPoison(t *testing.T) {
	var p Pool
	defer p.New(100).Release() // keeps the slab in use
	b := p.New(100)
	stale := b.Bytes()
	clear(stale)
	b.Release()
	for _, c := range stale {
		if c != poisonByte {
			t.Fatal("a read after the release sees the old bytes")
		}
	}
	stale[50] = 1
	defer func() {
		if recover() == nil {
			t.Error("a write after the release is not detected")
		}
	}()
	p.New(100)
}
