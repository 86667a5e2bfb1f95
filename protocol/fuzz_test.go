package protocol

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/shard"
)

// FuzzCommands sends a command of the table with any arguments: each gets one reply, and none panics. It reaches the parsers of all
// options.
func FuzzCommands(f *testing.F) {
	rows := slices.DeleteFunc(slices.Clone(commands.All()), func(row *command.Spec) bool { // those that wait or end things, and containers
		return row.Handler == nil || slices.Contains([]string{"shutdown", "wait", "client|pause", "client|reply", "quit", "client|kill", "exec"}, row.Full)
	})
	at := func(name string) uint16 {
		return uint16(slices.IndexFunc(rows, func(row *command.Spec) bool { return row.Full == name }))
	}
	array := npy("|u1", "(2, 3)", "abcdef")
	for _, s := range []string{
		"np.set k $A", "np.set k $A EX 10 NX WITHVERSION", `np.set k $A ATTRS {"a":1} PART m bytes CRC32C 1 WC ALL REQID x`, "np.get k WITHATTRS IFNEWER 1-2", "np.mset {a} $A {a}b $A", "np.slice k 0:1,::-1",
		"np.take k 0 1,0,-1", "scan 0 MATCH * COUNT 3", "hello 3 AUTH default x SETNAME y", "config|set maxclients 5", "client|list ID 1 2", "client|tracking ON BCAST PREFIX a PREFIX b",
		"cluster|slot-stats ORDERBY key-count LIMIT 3", "cluster|move SHARD 1 TO x PLAN", "command|getkeys NP.MSET a b c d", "latency|histogram a b", "slowlog|get 3", "object|freq k", "expire k 10 NX", "memory|usage k SAMPLES 3",
	} {
		words := strings.Fields(s)
		f.Add(at(words[0]), []byte(strings.ReplaceAll(strings.Join(words[1:], "\x1f"), "$A", array)))
	}
	s := startOn(f, Config{SlowlogSlowerThan: 1}, 16, func(*shard.Store) {})
	f.Fuzz(func(t *testing.T, row uint16, text []byte) {
		args := strings.Split(rows[int(row)%len(rows)].Full, "|")
		if len(text) > 0 {
			for _, arg := range bytes.Split(text, []byte{0x1f}) {
				args = append(args, string(arg))
			}
		}
		near, far := net.Pipe()
		defer near.Close()
		s.acceptConn(far, Listener{Name: "default"})
		near.SetDeadline(time.Now().Add(time.Minute)) // against a hang
		go io.WriteString(near, resptest.Command(args...)+resptest.Command("RESET")+resptest.Command("ECHO", "the end"))
		r := bufio.NewReader(near)
		for end := ""; end != `"the end"`; {
			var err error
			if end, err = resptest.Render(r); err != nil {
				t.Fatalf("%q: %v", args, err)
			}
		}
		if n := s.Stats().Panics; n > 0 {
			t.Fatalf("%q has panicked", args)
		}
	})
}
