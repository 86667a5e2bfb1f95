package protocol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ndring/ndring/protocol/command"
)

func TestEveryRowIsSound(t *testing.T) {
	for _, row := range commands.Commands() {
		name := row.Name
		if row.Keys.Step > 0 && row.Keys.First >= max(row.Arity, -row.Arity) {
			t.Errorf("%s: the arity %d allows no key at %d", name, row.Arity, row.Keys.First)
		}
		if row.Flags&command.Write != 0 && row.Flags&command.ReadOnly != 0 {
			t.Errorf("%s is both a read and a write", name)
		}
	}
	for _, bad := range []*command.Spec{
		{Name: "x"},
		{Name: "Upper", Arity: 1, Group: "g", Since: "1", Summary: "s", Handler: plain(ping)},
		{Name: "nohandler", Arity: 1, Group: "g", Since: "1", Summary: "s"},
		{Name: "oddhandler", Arity: 1, Group: "g", Since: "1", Summary: "s", Handler: ping},     // a bare function does not declare what it may touch
		{Name: "keyless", Arity: 1, Group: "g", Since: "1", Summary: "s", Handler: onKeys(del)}, // no shard is held for it
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("the table accepts the row %+v", bad)
				}
			}()
			newTable([]*command.Spec{bad})
		}()
	}
}

func TestCommandReply(t *testing.T) {
	t.Parallel()
	c := start(t, Config{}).dial(t)
	c.talk([]exchange{
		{"COMMAND COUNT", fmt.Sprintf(":%d", commands.Len())},
		{"COMMAND INFO np.mset NOSUCH", `[["np.mset" :-3 [+write +denyoom] :1 :-1 :2 [+@write +@slow +@array] [] [["flags" [+OW +update] "begin_search" ["type" "index" "spec" ["index" :1]] ` +
			`"find_keys" ["type" "range" "spec" ["lastkey" :-1 "keystep" :2 "limit" :0]]]] []] $nil]`},
	})
	c.send(encode("COMMAND"))
	header, err := c.r.ReadString('\n')
	if err != nil || header != fmt.Sprintf("*%d\r\n", commands.Len()) {
		t.Fatalf("COMMAND: %q, %v", header, err)
	}
	for range commands.Len() {
		row := c.reply()
		name, _, _ := strings.Cut(strings.TrimPrefix(row, `["`), `"`)
		if commands.Find([]byte(name)) == nil {
			t.Errorf("COMMAND lists %q", name)
		}
	}
	if docs := c.do("COMMAND", "DOCS", "cluster|slots", "np.get"); !strings.HasPrefix(docs, `["cluster|slots" ["summary" `) || !strings.Contains(docs, `"np.get" [`) {
		t.Errorf("COMMAND DOCS: %q", docs)
	}
	c.do("HELLO", "3")
	if docs := c.do("COMMAND", "DOCS"); !strings.Contains(docs, `"np.set" {"summary" `) {
		t.Errorf("COMMAND DOCS: %.300q", docs)
	}
	if docs := c.do("COMMAND", "DOCS", "dbsize"); !strings.Contains(docs, `"tips" ["request_policy:all_shards" "response_policy:agg_sum"]`) {
		t.Errorf("COMMAND DOCS dbsize: %q", docs)
	}
	// Subcommands are an array, no subcommands an empty set, as in Redis.
	if info := c.do("COMMAND", "INFO", "memory", "memory|usage"); !strings.Contains(info, ` ~[] ~[] [["memory|usage" `) || !strings.HasSuffix(info, ` ~[]]]`) {
		t.Errorf("COMMAND INFO of a container: %q", info)
	}
	c.want(`[["a" ~[+OW +update]] ["b" ~[+OW +update]]]`, "COMMAND", "GETKEYSANDFLAGS", "NP.MSET", "a", "x", "b", "y")
	c.want(`-ERR The command has no key arguments`, "COMMAND", "GETKEYSANDFLAGS", "ping", "x")
}

func TestCommandListAndKeys(t *testing.T) {
	t.Parallel()
	c := start(t, Config{}).dial(t)
	c.talk([]exchange{
		{"COMMAND GETKEYS NP.MSET a x b y", `["a" "b"]`},
		{"COMMAND GETKEYS del a b", `["a" "b"]`},
		{"COMMAND GETKEYS ping x", `-ERR The command has no key arguments`},
		{"COMMAND GETKEYS nosuch x", `-ERR Invalid command specified`},
		{"COMMAND GETKEYS ttl a b", `-ERR Invalid number of arguments specified for command`},
		{"COMMAND LIST FILTERBY PATTERN np.m*", `["np.meta" "np.mget" "np.mset"]`},
		{"COMMAND LIST FILTERBY PATTERN cluster|k*", `["cluster|keyslot"]`},
		{"COMMAND LIST FILTERBY MODULE x", `[]`},
		{"COMMAND LIST FILTERBY WHAT x", `-ERR syntax error`},
		{"COMMAND LIST FILTERBY", `-ERR syntax error`},
	})
	if got := c.do("COMMAND", "LIST", "FILTERBY", "ACLCAT", "read"); !strings.Contains(got, `"np.get"`) || strings.Contains(got, `"np.set"`) {
		t.Errorf("readers: %s", got)
	}
	if got := c.do("COMMAND", "LIST"); !strings.Contains(got, `"client" "client|id"`) {
		t.Errorf("all: %s", got)
	}
}
