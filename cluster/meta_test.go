package cluster

import (
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

func fullMeta(change func(*meta)) meta {
	m := meta{
		node: testID(1), store: strings.Repeat("a", 32), cluster: strings.Repeat("b", 32), incarnation: 7, busPort: 17379, expect: 3, format: topology.LatestFormat, name: "x",
	}
	change(&m)
	return m
}

func TestMetaIsDecodedAsItWasEncoded(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*meta){
		"plain":                func(*meta) {},
		"without a name":       func(m *meta) { m.name = "" },
		"with data":            func(m *meta) { m.hasData = true },
		"that stops":           func(m *meta) { m.stopping = true },
		"of an early program":  func(m *meta) { m.format = 0 },
		"of a later program":   func(m *meta) { m.format = topology.LatestFormat + 1 },
		"of the last program":  func(m *meta) { m.format = maxFormat },
		"with all of the bits": func(m *meta) { m.hasData, m.stopping, m.format = true, true, maxFormat },
	} {
		m := fullMeta(change)
		if got, err := decodeMeta(m.encode()); err != nil || got != m {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	m := fullMeta(func(m *meta) { m.format = maxFormat + 1 })
	if got, err := decodeMeta(m.encode()); err != nil || got.format != maxFormat || got.hasData || got.stopping {
		t.Errorf("more than the bits can tell: %+v, %v", got, err)
	}
}

// decodedBefore is what programs did that said nothing of formats, and what they understood.
func decodedBefore(b []byte) (ok, hasData, stopping bool, name string) {
	if len(b) < 66 || b[0] != 1 || len(b) != 66+int(b[65]) || b[65] > 64 {
		return false, false, false, ""
	}
	return true, b[64]&1 != 0, b[64]&2 != 0, string(b[66:])
}

// An earlier program understands the meta of this one, and this one that of an earlier program.
func TestMetaBesideEarlierPrograms(t *testing.T) {
	t.Parallel()
	for _, format := range []int{0, topology.Format1, topology.LatestFormat, 2, maxFormat} {
		for flags := range 4 {
			m := fullMeta(func(m *meta) { m.format, m.hasData, m.stopping = format, flags&1 != 0, flags&2 != 0 })
			b := m.encode()
			if ok, hasData, stopping, name := decodedBefore(b); !ok || hasData != m.hasData || stopping != m.stopping || name != m.name {
				t.Errorf("%+v: an earlier program reads %v %v %v %q", m, ok, hasData, stopping, name)
			}
			b[64] &= 3 // as an earlier program sends it
			if got, err := decodeMeta(b); err != nil || got.format != 0 || got.hasData != m.hasData || got.stopping != m.stopping {
				t.Errorf("of an earlier program: %+v, %v", got, err)
			}
		}
	}
	if topology.LatestFormat > maxFormat {
		t.Errorf("the bits of the meta do not reach up to format %d", topology.LatestFormat)
	}
}

// The controller learns the format of each node, which is the earliest of its live processes.
func TestLivenessHasTheFormatOfEachNode(t *testing.T) {
	t.Parallel()
	m := newMembers("self", 5, testLog(t, "self"))
	see := func(node topology.NodeID, i uint64, format int, alive bool) {
		m.observe(incarnation{meta: meta{node: node, incarnation: i, format: format}, alive: alive})
	}
	check := func(what string, want map[topology.NodeID]int) {
		t.Helper()
		want["self"] = topology.LatestFormat
		all := m.liveness()
		for id, format := range want {
			if all[id].Format != format {
				t.Errorf("%s: %s has format %d, want %d", what, id, all[id].Format, format)
			}
		}
		if len(all) != len(want) {
			t.Errorf("%s: %v", what, all)
		}
	}
	check("alone", map[topology.NodeID]int{})
	see("old", 1, 0, true)
	see("new", 1, 2, true)
	see("gone", 1, 2, true)
	see("gone", 1, 2, false)
	check("a mixed cluster", map[topology.NodeID]int{"old": 1, "new": 2, "gone": 0})
	see("old", 2, 2, true)
	check("the earlier process may still live", map[topology.NodeID]int{"old": 1, "new": 2, "gone": 0})
	see("old", 1, 0, false)
	check("it was replaced", map[topology.NodeID]int{"old": 2, "new": 2, "gone": 0})
	see("new", 2, 1, true)
	see("new", 1, 2, false)
	check("the way back", map[topology.NodeID]int{"old": 2, "new": 1, "gone": 0})
	see("new", 2, 2, true)
	check("an update of what a process says", map[topology.NodeID]int{"old": 2, "new": 2, "gone": 0})
}
