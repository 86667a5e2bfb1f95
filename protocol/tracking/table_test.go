package tracking

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// told returns what a client is told, sorted and each key once: one that it has read again is told again. "*" stands for anything.
func told(table *Table, c *Client) string {
	keys, all := table.Told(c)
	if all {
		if len(keys) > 0 {
			return "* and keys"
		}
		return "*"
	}
	slices.Sort(keys)
	return strings.Join(slices.Compact(keys), " ")
}

func enter(table *Table, c *Client, prefixes ...string) *Client {
	table.Enter(c)
	for _, prefix := range prefixes {
		table.Broadcast(c, prefix)
	}
	return c
}

func TestTable(t *testing.T) {
	table := NewTable(0)
	a, b := enter(table, &Client{By: 1}), enter(table, &Client{By: 2, NoLoop: true})
	all := enter(table, &Client{By: 3, Broadcast: true}, "")
	user := enter(table, &Client{By: 4, Broadcast: true, NoLoop: true, Copies: true}, "user:", "u-")
	want := func(what string, inA, inB, inAll, inUser string) {
		t.Helper()
		for i, c := range []*Client{a, b, all, user} {
			if got, want := told(table, c), []string{inA, inB, inAll, inUser}[i]; got != want {
				t.Errorf("%s: client %d is told %q, want %q", what, c.By, got, want)
			}
		}
		table.check(t)
	}
	read := func(c *Client, keys ...string) {
		for _, key := range keys {
			table.Read(c, []byte(key))
		}
	}

	table.Changed("k", 9, true)
	want("a key that was not read", "", "", "k", "")
	read(a, "k", "k", "user:1")
	read(b, "k")
	table.Changed("k", 9, true)
	table.Changed("k", 9, true)
	want("a key that two have read", "k", "k", "k", "")
	read(a, "k")
	read(b, "k")
	table.Changed("k", 2, true)
	want("b's own change", "k", "", "k", "")
	table.Changed("k", 1, true)
	want("b goes on to track what it has changed", "", "k", "k", "")
	read(a, "k")
	table.Changed("k", 1, true)
	want("an own change without NOLOOP", "k", "", "k", "")
	table.Changed("user:1", 4, true)
	want("an own change of a prefix", "user:1", "", "user:1", "")
	table.Changed("user:2", 9, false)
	want("a change of another node's shard", "", "", "", "user:2")
	table.Changed("user", 9, true)
	want("a key shorter than the prefix", "", "", "user", "")
	if got := table.Sizes(); got != (Sizes{4, 0, 0, 3}) {
		t.Errorf("sizes %+v", got)
	}

	read(a, "k", "l")
	table.Changed("l", 9, true)
	table.ChangedAll()
	table.Changed("k", 9, true)
	want("all", "*", "*", "*", "*")
	read(a, "k")
	table.Leave(a)
	table.Leave(user)
	table.Changed("k", 9, true)
	want("clients that have left", "", "", "k", "")
	if got := table.Sizes(); got != (Sizes{2, 0, 0, 1}) {
		t.Errorf("sizes %+v", got)
	}
}

func TestTouched(t *testing.T) {
	table := NewTable(0)
	a, b := enter(table, &Client{By: 1}), enter(table, &Client{By: 2})
	if table.Fresh() {
		t.Error("there is something new for clients that have read nothing")
	}
	table.Read(a, []byte("k"))
	table.Read(b, []byte("l"))
	table.Changed("k", 0, true)
	if !table.Fresh() {
		t.Error("there is nothing new")
	}
	table.Changed("k", 0, true)
	if got := table.Touched(); !slices.Equal(got, []*Client{a}) {
		t.Errorf("touched %v", got)
	}
	table.Retry(a)
	table.Retry(b)
	if got := table.Touched(); !slices.Equal(got, []*Client{a}) {
		t.Errorf("touched %v", got)
	}
	table.ChangedAll()
	table.Leave(a)
	if got := table.Touched(); !slices.Equal(got, []*Client{b}) {
		t.Errorf("touched %v", got)
	}
}

// A table that is full tells the clients of keys that it gives up.
func TestLimit(t *testing.T) {
	const most = 10
	table := NewTable(most)
	var clients []*Client
	for i := range 6 {
		clients = append(clients, enter(table, &Client{By: int64(i)}))
	}
	lost := map[string]int{}
	collect := func() {
		for _, c := range clients {
			keys, _ := table.Told(c)
			for _, key := range keys {
				lost[key]++
			}
		}
	}
	for i := range 1000 {
		table.Read(clients[0], fmt.Append(nil, i))
		if table.keys[fmt.Sprint(i)] == nil {
			t.Fatal("the key that was read last was given up")
		}
		collect()
		if got := table.Sizes().Keys; got > most || got+len(lost) != i+1 {
			t.Fatalf("after %d keys there are %d, and %d were given up", i+1, got, len(lost))
		}
	}
	for i := range most {
		for _, c := range clients {
			table.Read(c, fmt.Append(nil, "many ", i))
		}
	}
	if got := table.Sizes().Items; got > itemsEach*most {
		t.Errorf("%d items", got)
	}
	for i := range most {
		table.Read(clients[0], fmt.Append(nil, i, strings.Repeat("long", 100)))
	}
	if table.bytes > bytesEach*most {
		t.Errorf("%d bytes", table.bytes)
	}
	table.Read(clients[0], []byte(strings.Repeat("x", 2*bytesEach*most)))
	if got := table.Sizes().Keys; got != 1 {
		t.Errorf("%d keys beside one that is beyond the limit", got)
	}
	table.check(t)
	table.SetMax(1)
	table.check(t)
}

// What one client is yet to be told is bounded, too.
func TestPendingIsBounded(t *testing.T) {
	for _, test := range []struct {
		key   string // a format
		keys  int
		whole bool
	}{{"%d", maxPending, false}, {"%d", maxPending + 1, true}, {"%01000d", maxPendingBytes / 1000, false}, {"%01000d", maxPendingBytes/1000 + 1, true}} {
		table := NewTable(0)
		read, broad := enter(table, &Client{By: 1}), enter(table, &Client{By: 2, Broadcast: true}, "")
		for i := range test.keys {
			key := fmt.Sprintf(test.key, i)
			table.Read(read, []byte(key))
			for range 3 {
				table.Changed(key, 0, true)
			}
		}
		for _, c := range []*Client{read, broad} {
			keys, all := table.Told(c)
			if all != test.whole || !all && len(keys) != test.keys {
				t.Errorf("%d keys as %q: told of %d keys, all: %v", test.keys, test.key, len(keys), all)
			}
		}
	}
}

// check checks the invariant.
func (t *Table) check(tt *testing.T) {
	tt.Helper()
	items, bytes := 0, 0
	for i, e := range t.order {
		if e.at != i || t.keys[e.key] != e || len(e.clients) == 0 {
			tt.Errorf("entry %d is %+v", i, e)
		}
		bytes += len(e.key)
		items += len(e.clients)
		for _, c := range e.clients {
			if _, found := c.keys[e]; !found {
				tt.Errorf("client %d does not know that it tracks %q", c.By, e.key)
			}
		}
	}
	pairs := 0
	for c := range t.clients {
		pairs += len(c.keys)
	}
	if items != t.items || pairs != items || bytes != t.bytes || len(t.keys) != len(t.order) {
		tt.Errorf("%d items, counted %d, %d with the clients; %d bytes, counted %d; %d keys in order, %d by name", items, t.items, pairs, bytes, t.bytes, len(t.order), len(t.keys))
	}
	lengths := map[int]int{}
	for prefix := range t.prefixes {
		lengths[len(prefix)]++
	}
	for i, p := range t.lengths {
		if p.count == 0 || p.count != lengths[p.length] || i > 0 && p.length <= t.lengths[i-1].length {
			tt.Errorf("lengths %v of prefixes %v", t.lengths, slices.Collect(maps.Keys(t.prefixes)))
		}
	}
	if len(lengths) != len(t.lengths) {
		tt.Errorf("lengths %v of prefixes %v", t.lengths, slices.Collect(maps.Keys(t.prefixes)))
	}
}

// naive is a table without any thought of time or memory.
type naive struct {
	read map[*Client]map[string]bool
	told map[*Client]map[string]bool // "*" for anything
}

func (n *naive) changed(table *Table, key string, by int64, served bool) {
	for c := range table.clients {
		broad := slices.ContainsFunc(c.prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) && (served || c.Copies)
		if (broad || n.read[c][key]) && !(c.NoLoop && c.By == by) {
			n.told[c][key] = true
			delete(n.read[c], key)
		}
	}
}

func (n *naive) changedAll() {
	for c := range n.told {
		n.told[c], n.read[c] = map[string]bool{"*": true}, map[string]bool{}
	}
}

// TestModel compares a table with the naive one over random calls.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	prefixes := []string{"", "a", "ab", "b", "ba", "c"}
	for round := range 200 {
		table := NewTable(0)
		model := naive{map[*Client]map[string]bool{}, map[*Client]map[string]bool{}}
		var clients []*Client
		last := int64(0)
		join := func() {
			last++
			c := &Client{By: last, Broadcast: r.IntN(2) == 0, NoLoop: r.IntN(2) == 0, Copies: r.IntN(2) == 0}
			table.Enter(c)
			if c.Broadcast {
				for range r.IntN(3) + 1 {
					table.Broadcast(c, prefixes[r.IntN(len(prefixes))])
				}
			}
			model.read[c], model.told[c] = map[string]bool{}, map[string]bool{}
			clients = append(clients, c)
		}
		key := func() string {
			b := make([]byte, r.IntN(3)+1)
			for i := range b {
				b[i] = "abc"[r.IntN(3)]
			}
			return string(b)
		}
		join()
		for step := range 300 {
			c := clients[r.IntN(len(clients))]
			switch n := r.IntN(100); {
			case n < 40 && !c.Broadcast:
				k := key()
				table.Read(c, []byte(k))
				model.read[c][k] = true
			case n < 70:
				k, by, served := key(), clients[r.IntN(len(clients))].By*r.Int64N(2), r.IntN(3) > 0
				table.Changed(k, by, served)
				model.changed(table, k, by, served)
			case n < 90:
				got := told(table, c)
				want := strings.Join(slices.Sorted(maps.Keys(model.told[c])), " ")
				if strings.HasPrefix(want, "*") {
					want = "*"
				}
				if clear(model.told[c]); got != want {
					t.Fatalf("seed %d, round %d, step %d: client %+v is told %q, want %q", seed, round, step, c, got, want)
				}
			case n < 94:
				join()
			case n < 97 && len(clients) > 1:
				table.Leave(c)
				clients = slices.DeleteFunc(clients, func(other *Client) bool { return other == c })
				delete(model.read, c)
				delete(model.told, c)
			case n == 99:
				table.ChangedAll()
				model.changedAll()
			}
			if step%20 == 0 {
				table.check(t)
			}
		}
		for _, c := range clients {
			table.Leave(c)
		}
		if got := table.Sizes(); got != (Sizes{}) || table.bytes != 0 || len(table.lengths) != 0 {
			t.Fatalf("seed %d: %+v is left without clients", seed, got)
		}
	}
}
