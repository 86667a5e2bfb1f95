package node

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/ndring/ndring/internal/datafolder"
)

// The nodes of a cluster are killed one after another. The others serve the arrays of each within seconds, and it gets
// its copies back once it has started again.
func TestKilledNodesAreSucceeded(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	whole(t, all...)
	kept := arrays{}
	for i, m := range all {
		haveCopies(t, all...)
		more := arraysCalled(m.name, 40)
		more.store(t, clusterClient(t, all...))
		maps.Copy(kept, more)
		left := slices.Delete(slices.Clone(all), i, i+1)
		m.kill()
		eventually(t, "the others serve all slots", all, func() string {
			for _, other := range left {
				if why := lacks(other.says("CLUSTER", "INFO"), "cluster_state:ok", "cluster_slots_ok:16384"); why != "" {
					return other.name + ": " + why
				}
				for id, shard := range other.told().Shards {
					if shard.Primary == datafolder.NodeID(m.name) {
						return fmt.Sprintf("%s: shard %d is the dead node's", other.name, id)
					}
				}
			}
			return ""
		})
		kept.readable(t, left...)
		serves(t, left...)
		m.start("--join", seedsOf(all...))
		whole(t, all...)
		kept.readable(t, all...)
	}
}

// A node without --replicas 2 in its cluster keeps the only copy: its arrays are back when it is.
func TestOneCopyWaitsForItsNode(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	for _, m := range all {
		m.start("--join", seedsOf(all...), "--bootstrap-expect", "3", "--replicas", "1")
	}
	whole(t, all...)
	kept := someArrays(60)
	kept.store(t, clusterClient(t, all...))
	here := kept.ofSlots(t, all[0])
	all[0].kill()
	for key := range here {
		eventually(t, key+" has no node", all, func() string { return lacks(all[1].says("NP.GET", key), "CLUSTERDOWN ") })
		break
	}
	all[0].start("--join", seedsOf(all...))
	whole(t, all...)
	kept.readable(t, all...)
}
