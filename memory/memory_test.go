package memory

import (
	"sync"
	"testing"
)

func TestLastReleaseReturnsTheBytes(t *testing.T) {
	var p Pool
	b := p.Copy([]byte("abc"))
	b.Retain()
	b.Release()
	if got := string(b.Bytes()); got != "abc" {
		t.Fatalf("Bytes() = %q while a reference is held", got)
	}
	if p.Bytes() != 3 || p.Buffers() != 1 {
		t.Fatalf("pool counts %d bytes in %d buffers, want 3 in 1", p.Bytes(), p.Buffers())
	}
	b.Release()
	if p.Bytes() != 0 || p.Buffers() != 0 {
		t.Fatalf("pool counts %d bytes in %d buffers after the last release", p.Bytes(), p.Buffers())
	}
}

func TestMisuseAfterTheLastReleasePanics(t *testing.T) {
	for name, misuse := range map[string]func(*Buffer){
		"read":    func(b *Buffer) { b.Bytes() },
		"retain":  func(b *Buffer) { b.Retain() },
		"release": func(b *Buffer) { b.Release() },
	} {
		t.Run(name, func(t *testing.T) {
			var p Pool
			b := p.New(1)
			b.Release()
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			misuse(b)
		})
	}
}

func TestReferencesAreCountedAcrossGoroutines(t *testing.T) {
	var p Pool
	b := p.New(64)
	var wg sync.WaitGroup
	for range 8 {
		b.Retain()
		wg.Go(func() {
			for range 1000 {
				b.Retain()
				b.Release()
			}
			b.Release()
		})
	}
	wg.Wait()
	b.Release()
	if p.Buffers() != 0 {
		t.Fatalf("%d buffers left", p.Buffers())
	}
}
