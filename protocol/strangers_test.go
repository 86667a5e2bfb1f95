package protocol

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/protocol/resp"
)

// strangers makes n clients without a password send a pipeline each, and read no reply.
func strangers(t *testing.T, s *testServer, n int, pipeline string) []*client {
	all := make([]*client, n)
	for i := range all {
		all[i] = s.dial(t)
		go io.WriteString(all[i], pipeline) // fails when the connection ends
	}
	eventually(t, "all clients are connected", func() bool { return s.Stats().Clients == n })
	return all
}

// Whatever clients send before AUTH, each has a buffer of 1 KiB, whether it reads the replies or not; longer
// arguments share one budget.
func TestStrangersHoldLittle(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxBulkBeforeAuth)
	for name, pipeline := range map[string]string{
		"pings":        strings.Repeat(encode("PING"), 4681),
		"empty lines":  strings.Repeat("\r\n", 32<<10),
		"lines":        strings.Repeat("PING\r\n", 10<<10),
		"short":        strings.Repeat(encode("AUTH", strings.Repeat("x", 1000)), 64),
		"long, begun":  encode("AUTH", long)[:1000],
		"long":         strings.Repeat(encode("AUTH", long), 4),
		"nothing":      "",
		"a header":     "*2\r\n$4\r\nAUTH\r\n$16384\r\n",
		"many headers": strings.Repeat("*0\r\n", 16<<10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{Password: "secret", ReplyStall: time.Hour})
			const n = 20
			most := int64(n*2*(1<<10+64)) + n*(maxBulkBeforeAuth+1<<10)
			if !strings.Contains(name, "long") && name != "a header" {
				most = n * 2 * (1<<10 + 64)
			}
			all := strangers(t, s, n, pipeline)
			for range 20 {
				if got := s.clients.Allocated(); got > most {
					t.Fatalf("%d bytes are held for %d clients, at most %d may", got, n, most)
				}
				time.Sleep(time.Millisecond) // between two samples; waits for no condition
			}
			for _, c := range all {
				c.Close()
			}
			eventually(t, "everything is released", func() bool {
				return s.clients.Buffers() == 0 && s.strangers.Used() == 0 && s.output.Waiting() == 0
			})
		})
	}
}

// Replies that a stranger does not read wait in its socket only, and so does what it sends.
func TestStrangersRepliesDoNotWait(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Password: "secret", ReplyStall: time.Hour})
	strangers(t, s, 1, strings.Repeat("PING\r\n", 2<<20))
	const most = 2*strangerOutput + 128 // what waits when a reply is added, that reply, and one for each
	eventually(t, "replies wait", func() bool { return s.output.Waiting() > 0 })
	for range 100 {
		if got := s.output.Waiting(); got > most {
			t.Fatalf("%d bytes of replies wait", got)
		}
		time.Sleep(time.Millisecond) // between two samples; waits for no condition
	}
}

// Strangers take no room from the uploads of authenticated clients, nor all the room from each other.
func TestStrangersHaveABudgetOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Password: "secret", MaxUploadBytes: 1 << 20})
	begun := encode("AUTH", strings.Repeat("x", maxBulkBeforeAuth))[:1000]
	strangers(t, s, 100, begun)
	eventually(t, "the strangers hold all that they may", func() bool { return s.strangers.Used() == 100*maxBulkBeforeAuth })
	if n := s.budget.Used(); n != 0 {
		t.Errorf("strangers hold %d bytes of the upload budget", n)
	}
	s.strangers.SetLimit(100 * maxBulkBeforeAuth)
	c := s.dial(t)
	c.want("-BUSY too many uploads at once, try again", "AUTH", strings.Repeat("y", maxBulkBeforeAuth))
	c.want("+OK", "AUTH", "secret")
	c.want("+OK", "NP.SET", "k", bytesNPY(900_000, ""))
}

// An authenticated client gets larger buffers for its pipelines, and keeps none of them while it is idle.
func TestIdleClientsHoldLittle(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Password: "secret"})
	const n = 20
	for i := range n {
		c := s.dial(t)
		c.want("+OK", "AUTH", "secret")
		const commands = 200
		c.send(strings.Repeat(encode("NP.SET", fmt.Sprint("k", i), bytesNPY(1000, "")), commands))
		for range commands {
			if got := c.reply(); got != "+OK" {
				t.Fatal(got)
			}
		}
	}
	eventually(t, "the buffers shrink", func() bool { return s.clients.Allocated() <= int64(n*(2*resp.DefaultBuffers.First+256)) })
	if n := s.budget.Used(); n != 0 {
		t.Errorf("%d bytes of the upload budget are held", n)
	}
}
