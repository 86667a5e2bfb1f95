package shard

import (
	"fmt"
	"testing"
)

// BenchmarkWrite overwrites small values of a lone shard without a log: the cheapest write, of which the digest takes the
// largest part.
func BenchmarkWrite(b *testing.B) {
	f := newFixture(b)
	names := make([][]byte, 10_000)
	for i := range names {
		names[i] = fmt.Appendf(nil, "some/key-%d", i)
	}
	v := f.value("some bytes of a value")
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, _, err := f.Shard.Set(Write{Key: names[i%len(names)], Value: v}); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkDigest is what a digest adds to a write that replaces a value.
func BenchmarkDigest(b *testing.B) {
	f := newFixture(b)
	f.set("some/key-1234", "some bytes")
	x := &f.index
	e := x.get([]byte("some/key-1234"))
	for b.Loop() {
		x.addDigest(e, e)
	}
}
