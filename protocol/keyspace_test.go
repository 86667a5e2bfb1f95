package protocol

import (
	"fmt"
	"strings"
	"testing"
)

func TestKeyspaceCommands(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.talk([]exchange{
		{"RANDOMKEY", `$nil`},
		{"SCAN 0", `["0" []]`},
		{"NP.SET foo $A", `+OK`},
		{"RANDOMKEY", `"foo"`},
		{"TOUCH foo", `:1`},
		{"TOUCH none", `:0`},
		{"SCAN 0", `["0" ["foo"]]`},
		{"NP.SCAN 0 MATCH f?o COUNT 5 TYPE ndarray", `["0" ["foo"]]`},
		{"SCAN 0 MATCH g*", `["0" []]`},
		{"SCAN 0 TYPE string", `["0" []]`},
		{"SCAN x", `-ERR invalid cursor`},
		{"SCAN -1", `-ERR invalid cursor`},
		{"SCAN 18446744073709551615", `["0" []]`},
		{"SCAN 0 COUNT 0", `-ERR syntax error`},
		{"SCAN 0 COUNT x", `-ERR value is not an integer or out of range`},
		{"SCAN 0 MATCH", `-ERR syntax error`},
		{"SCAN 0 WHAT 1", `-ERR syntax error`},
		{"CLUSTER COUNTKEYSINSLOT 12182", `:1`},
		{"CLUSTER COUNTKEYSINSLOT 1", `:0`},
		{"CLUSTER COUNTKEYSINSLOT 16384", `-ERR Invalid slot`},
		{"CLUSTER COUNTKEYSINSLOT x", `-ERR value is not an integer or out of range`},
		{"CLUSTER GETKEYSINSLOT 12182 10", `["foo"]`},
		{"CLUSTER GETKEYSINSLOT 12182 0", `[]`},
		{"CLUSTER GETKEYSINSLOT 12182 -1", `-ERR Invalid slot or number of keys`},
		{"ROLE", `["master" :0 []]`},
		{"WAIT 0 0", `:0`},
		{"WAIT 1 -1", `-ERR timeout is negative`},
		{"WAIT x 0", `-ERR value is not an integer or out of range`},
		{"READONLY", `+OK`}, {"READWRITE", `+OK`}, {"ASKING", `+OK`},
	})
	if got := c.do("TIME"); !strings.HasPrefix(got, `["1`) || strings.Count(got, `"`) != 4 {
		t.Errorf("TIME: %s", got)
	}
}

func TestScanThroughACursor(t *testing.T) {
	t.Parallel()
	c := start(t, Config{}).dial(t)
	want := map[string]bool{}
	for i := range 1000 {
		key := fmt.Sprint("key:", i)
		want[key] = true
		c.want("+OK", "NP.SET", key, arrayB)
	}
	for cursor, calls := "0", 0; ; calls++ {
		reply := strings.Fields(strings.NewReplacer("[", " ", "]", " ", `"`, "").Replace(c.do("SCAN", cursor, "MATCH", "key:*", "COUNT", "50")))
		for _, key := range reply[1:] {
			if !want[key] {
				t.Fatalf("%s was returned twice, or does not exist", key)
			}
			delete(want, key)
		}
		if cursor = reply[0]; cursor == "0" {
			if len(want) > 0 || calls < 10 {
				t.Errorf("%d keys were not returned in %d calls", len(want), calls)
			}
			return
		}
	}
}
