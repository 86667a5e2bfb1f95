package command

import (
	"slices"
	"testing"

	"github.com/ndring/ndring/protocol/resp"
)

func testTable() *Table {
	row := func(name string, keys Keys, sub ...*Spec) *Spec {
		s := &Spec{Name: name, Arity: -1, Group: "g", Since: "1", Summary: "s", Keys: keys, KeyUse: KeysSeen, Sub: sub, Handler: name}
		if len(sub) > 0 {
			s.Handler = nil
		}
		return s
	}
	return NewTable([]*Spec{row("touch", AllKeys), row("memory", Keys{}, row("usage", SecondKey)), row("mset", OddKeys)},
		func(container *Spec) Handler { return "help of " + container.Name })
}

func args(words ...string) (all []resp.Arg) {
	for _, word := range words {
		all = append(all, resp.NewArg([]byte(word)))
	}
	return all
}

func TestLookUp(t *testing.T) {
	table := testTable()
	for _, test := range []struct {
		words       []string
		full, error string
		handler     any
	}{
		{[]string{"TOUCH", "a"}, "touch", "", "touch"},
		{[]string{"Memory", "USAGE", "a"}, "memory|usage", "", "usage"},
		{[]string{"memory", "help"}, "memory|help", "", "help of memory"},
		{[]string{"memory"}, "", "wrong number of arguments for 'memory' command", nil},
		{[]string{"memory", "nosuch"}, "", "unknown subcommand 'nosuch'. Try MEMORY HELP.", nil},
		{[]string{"get", "k"}, "", "unknown command 'get', with args beginning with: 'k' (ndring has NP.GET: see docs/commands.md)", nil},
	} {
		row, err := table.LookUp(args(test.words...))
		switch {
		case test.error != "":
			if err == nil || err.Error() != test.error {
				t.Errorf("%q: got error %v, want %s", test.words, err, test.error)
			}
		case err != nil || row.Full != test.full || row.Handler != test.handler:
			t.Errorf("%q: got %+v, %v", test.words, row, err)
		}
	}
	if row := table.FindFull([]byte("memory|usage")); row == nil || row.Full != "memory|usage" {
		t.Errorf("FindFull: %+v", row)
	}
}

// Statistics are indexed by Spec.Index, so each row has one of its own below Rows.
func TestIndexes(t *testing.T) {
	table := testTable()
	var seen []int
	for _, row := range table.All() {
		seen = append(seen, row.Index)
	}
	slices.Sort(seen)
	if want := []int{0, 1, 2, 3, 4}; !slices.Equal(seen, want) || table.Rows() != len(want) || table.Len() != 3 {
		t.Errorf("indexes %v of %d rows", seen, table.Rows())
	}
}

func TestAppendKeys(t *testing.T) {
	table := testTable()
	for _, test := range []struct{ words, keys []string }{
		{[]string{"touch", "a", "b"}, []string{"a", "b"}},
		{[]string{"mset", "a", "1", "b", "2"}, []string{"a", "b"}},
		{[]string{"mset", "a", "1", "b"}, []string{"a", "b"}},
		{[]string{"memory", "usage", "a", "b"}, []string{"a"}},
		{[]string{"memory", "usage"}, nil},
		{[]string{"memory", "help"}, nil},
	} {
		row, err := table.LookUp(args(test.words...))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, key := range row.AppendKeys(nil, args(test.words...)) {
			got = append(got, string(key))
		}
		if !slices.Equal(got, test.keys) {
			t.Errorf("%q: keys %q, want %q", test.words, got, test.keys)
		}
	}
}
