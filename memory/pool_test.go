package memory

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
)

// stamp fills a buffer with bytes that depend on its owner.
func stamp(b []byte, owner uint64) {
	for i := range b {
		b[i] = byte(owner>>(i%8*8)) ^ byte(i)
	}
}

func intact(b []byte, owner uint64) bool {
	for i, c := range b {
		if c != byte(owner>>(i%8*8))^byte(i) {
			return false
		}
	}
	return true
}

func randomSize(r *rand.Rand) int {
	switch r.IntN(100) {
	case 0:
		return r.IntN(3 << 20)
	case 1, 2, 3, 4, 5:
		return r.IntN(200 << 10)
	case 6:
		return 0
	}
	return r.IntN(4 << 10)
}

// Buffers keep their bytes while several goroutines allocate and release all sizes in any order and
// memory is returned to the system.
func TestBuffersKeepTheirBytes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	steps := 3000
	if OnGoHeap { // the race detector checks every access
		steps = 800
	}
	var p Pool
	var group sync.WaitGroup
	for worker := range uint64(4) {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, worker))
			type held struct {
				*Buffer
				owner uint64
			}
			var mine []held
			drop := func(i int) {
				h := mine[i]
				if !intact(h.Framed(), h.owner) {
					t.Errorf("a buffer of %d bytes has other bytes", h.Len())
				}
				h.Release()
				mine[i] = mine[len(mine)-1]
				mine = mine[:len(mine)-1]
			}
			for step := range steps {
				if len(mine) > 0 && (r.IntN(2) == 0 || len(mine) > 100) {
					drop(r.IntN(len(mine)))
					continue
				}
				h := held{p.NewFramed(r.IntN(30), randomSize(r), r.IntN(3)), r.Uint64()}
				stamp(h.Framed(), h.owner)
				mine = append(mine, h)
				if step%500 == 0 {
					p.Trim(step%1000 == 0)
				}
			}
			for len(mine) > 0 {
				drop(len(mine) - 1)
			}
		})
	}
	group.Wait()
	if p.Buffers() != 0 || p.Bytes() != 0 || p.Allocated() != 0 {
		t.Errorf("%d buffers, %d bytes, %d allocated are left", p.Buffers(), p.Bytes(), p.Allocated())
	}
	p.Trim(true)
	if p.Idle() != 0 {
		t.Errorf("%d bytes are idle after everything was returned to the system", p.Idle())
	}
}

func TestFrames(t *testing.T) {
	var p Pool
	for _, n := range []int{0, 1, 100, 5000, 2 << 20} {
		b := p.NewFramed(5, n, 2)
		copy(b.Framed(), "abcde")
		copy(b.Framed()[5+n:], "yz")
		if len(b.Bytes()) != n || b.Len() != n || len(b.Framed()) != n+7 || cap(b.Bytes()) != n {
			t.Errorf("%d bytes: %d content, %d framed", n, len(b.Bytes()), len(b.Framed()))
		}
		clear(b.Bytes())
		if f := b.Framed(); string(f[:5]) != "abcde" || string(f[5+n:]) != "yz" {
			t.Errorf("%d bytes: the frame is %q %q", n, f[:5], f[5+n:])
		}
		if b.Addr().Buffer() != b || b.Addr()>>48 != 0 {
			t.Errorf("the address %x is of another buffer", b.Addr())
		}
		b.Release()
	}
	for _, bad := range [][3]int{{-1, 0, 0}, {256, 0, 0}, {0, -1, 0}, {0, 0, 256}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v: no panic", bad)
				}
			}()
			p.NewFramed(bad[0], bad[1], bad[2])
		}()
	}
}

// The callback of the last release may still read the bytes.
func TestReleaseThen(t *testing.T) {
	var p Pool
	b := p.New(8)
	binary.LittleEndian.PutUint64(b.Bytes(), 42)
	called := 0
	last := func(b *Buffer) {
		if called++; binary.LittleEndian.Uint64(b.Bytes()) != 42 {
			t.Error("the bytes are gone")
		}
	}
	b.Retain()
	if !b.Shared() {
		t.Error("not Shared with two references")
	}
	b.ReleaseThen(last)
	if called != 0 || b.Shared() {
		t.Error("last was called before the last release")
	}
	b.ReleaseThen(last)
	if called != 1 || p.Buffers() != 0 {
		t.Errorf("called %d times, %d buffers are left", called, p.Buffers())
	}
}

func BenchmarkNewRelease(b *testing.B) {
	for name, size := range map[string]int{"1KiB": 1 << 10, "256KiB": 256 << 10, "64MiB": 64 << 20} {
		b.Run(name, func(b *testing.B) {
			var p Pool
			for b.Loop() {
				p.New(size).Release()
			}
		})
	}
}
