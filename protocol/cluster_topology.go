package protocol

import "github.com/ndring/ndring/cluster/view"

// clusterTopology answers CLUSTER TOPOLOGY: names, single shards and voters, for which Redis'
// commands have no place.
func clusterTopology(c *call, r *router) {
	l, status := r.layout(), r.cluster.Status()
	addresses, seen := r.addresses(c.from, l), r.members(l)
	v := view.Of(l.Topology)
	v.Self, v.Term, v.Leader, v.Voters, v.Quorum, v.Waiting = r.cluster.Self(), status.Term, status.Leader, status.VoterIDs, status.Quorum, status.Waiting
	for i := range v.Nodes {
		n := &v.Nodes[i]
		n.Host, n.Port = addresses[i].Host, addresses[i].Port
		n.Up, n.Loading, n.Since = seen.of[i].Alive, seen.of[i].Loading, seen.of[i].unixMilli()
	}
	text, err := v.Encode()
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.Text(string(text))
}
