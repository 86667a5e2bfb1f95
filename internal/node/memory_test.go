package node

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
	"github.com/ndring/ndring/internal/slowtest"
)

// used_memory matches the resident memory of the process within a tenth: after a fill, after overwrites of other
// sizes, after most keys are deleted.
func TestUsedMemoryMatchesTheProcess(t *testing.T) {
	slowtest.Skip(t)
	p := startBuilt(t)
	conn, err := net.Dial("tcp", p.resp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, w := bufio.NewReader(conn), bufio.NewWriter(conn)
	const batch = 50
	do := func(n int, command func(i int) string) {
		t.Helper()
		for i := 0; i < n; i += batch {
			for j := i; j < min(i+batch, n); j++ {
				w.WriteString(command(j)) // an error shows at Flush
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			for range min(batch, n-i) {
				if got, err := resptest.Render(r); err != nil || strings.HasPrefix(got, "-") {
					t.Fatalf("%s, %v", got, err)
				}
			}
		}
	}
	within := func(when string) {
		t.Helper()
		var used, rss int64
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			w.WriteString(resptest.Command("INFO", "memory"))
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			text, err := resptest.Render(r)
			if err != nil {
				t.Fatal(err)
			}
			used, rss = infoNumber(t, text, "used_memory"), residentOf(t, p)
			if rss*9 < used*10 && rss*11 > used*10 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: used_memory is %d, the process has %d", when, used, rss)
			}
		}
	}
	file := func(n int) string {
		header := fmt.Sprintf("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", n)
		return "\x93NUMPY\x01\x00" + string([]byte{byte(len(header) + 1), 0}) + header + "\n" + strings.Repeat("\x07", n)
	}
	small, larger, large := file(1<<10), file(3<<10), file(256<<10)
	n := 100_000
	key := func(i int) string { return fmt.Sprint("key:", i) }
	do(n, func(i int) string { return resptest.Command("NP.SET", key(i), small) })
	within("a fill")
	do(200, func(i int) string { return resptest.Command("NP.SET", fmt.Sprint("large:", i), large) })
	within("large ones")
	do(n/2, func(i int) string { return resptest.Command("NP.SET", key(rand.IntN(n)), larger) })
	within("overwrites with another size")
	do(n, func(i int) string {
		if i%5 == 0 {
			return resptest.Command("PING")
		}
		return resptest.Command("NP.DEL", key(i))
	})
	do(200, func(i int) string { return resptest.Command("NP.DEL", fmt.Sprint("large:", i)) })
	within("most is deleted")
}

func infoNumber(t *testing.T, text, name string) int64 {
	t.Helper()
	_, rest, _ := strings.Cut(text, "\n"+name+":")
	value, _, _ := strings.Cut(rest, "\r")
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		t.Fatalf("%s in %.300q: %v", name, text, err)
	}
	return n
}

func residentOf(t *testing.T, p *process) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
