package resp

import (
	"io"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/resptest"
	"github.com/ndring/ndring/memory"
)

func BenchmarkReader(b *testing.B) {
	for name, text := range map[string]string{
		"GET":       command("NP.GET", "key:123"),
		"SET1KiB":   command("NP.SET", "key:123", strings.Repeat("x", 1152)),
		"SET256KiB": command("NP.SET", "key:123", strings.Repeat("x", 256<<10)),
	} {
		b.Run(name, func(b *testing.B) {
			limits := testLimits
			limits.MaxBulk, limits.MaxSkip = 1<<20, 1<<20
			r := NewReader(Stream(&resptest.Endless{Command: text}), new(memory.Pool), new(memory.Pool), NewBudget(1<<30), limits, nil, nil)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Next(); err != nil && err != io.EOF {
					b.Fatal(err)
				}
			}
			r.Close()
		})
	}
}
