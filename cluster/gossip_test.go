package cluster

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"

	"github.com/ndring/ndring/cluster/topology"
)

// A member whose name is that of another node than its meta is not believed: with many metas it would become many nodes, which
// nothing removes.
func TestMemberNamesFitTheirMeta(t *testing.T) {
	t.Parallel()
	config := testConfig(t, "self", 0)
	log := slog.New(slog.DiscardHandler)
	config.Log = log
	g := newGossip(&config, newMembers(config.Self.ID, 1, log))
	m := meta{node: topology.NodeID(strings.Repeat("ab", 20)), store: strings.Repeat("cd", 16), incarnation: 7, name: "n"}
	for name, fits := range map[string]bool{
		memberName(m.node, 7, 0): true, memberName(m.node, 7, 12): true, memberName(m.node, 8, 0): false, memberName(config.Self.ID, 7, 0): false, "": false, "x": false,
		memberName(m.node, 7, 0) + "/x": false, memberName(m.node, 7, 1) + "/1": false,
	} {
		err := g.NotifyAlive(&memberlist.Node{Name: name, Meta: m.encode()})
		if fits != (err == nil) || err != nil && !errors.Is(err, errMemberName) {
			t.Errorf("%q: %v", name, err)
		}
		if merge := g.NotifyMerge([]*memberlist.Node{{Name: name, Meta: m.encode()}}); fits != (merge == nil) {
			t.Errorf("%q in a merge: %v", name, merge)
		}
	}
}
