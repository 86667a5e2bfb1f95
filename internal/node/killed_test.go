package node

import "testing"

// The nodes of a cluster are killed one after another. The others serve the arrays of each within seconds, and it gets
// its copies back once it has started again.
func TestKilledNodesAreSucceeded(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	whole(t, all...)
	kept := arrays{}
	for i, m := range all {
		copied(t, all...)
		more := arraysCalled(m.name, 40)
		more.store(t, clusterClient(t, all...))
		for key, npy := range more {
			kept[key] = npy
		}
		var left []*member
		left = append(append(left, all[:i]...), all[i+1:]...)
		m.kill()
		c := clusterClient(t, left...)
		eventually(t, "the others serve all arrays", all, func() string {
			if err := kept.check(t.Context(), c); err != nil {
				return err.Error()
			}
			return ""
		})
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
