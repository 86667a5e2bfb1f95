package protocol

import (
	"encoding/json"
	"net"
	"strconv"

	"github.com/ndring/ndring/cluster/topology"
)

// toldTopology is the reply of CLUSTER TOPOLOGY: what Redis' commands have no place for, such as names, single shards, voters.
type toldTopology struct {
	Cluster string            `json:"cluster,omitempty"`
	Index   uint64            `json:"index"`
	Term    uint64            `json:"term,omitempty"`
	Self    topology.NodeID   `json:"self"`
	Leader  topology.NodeID   `json:"leader,omitempty"`
	Voters  []topology.NodeID `json:"voters,omitempty"`
	Quorum  bool              `json:"quorum,omitempty"`
	Waiting string            `json:"waiting,omitempty"`
	Nodes   []toldNode        `json:"nodes,omitempty"`
	Shards  []toldShard       `json:"shards,omitempty"`
}

type toldNode struct {
	ID          topology.NodeID `json:"id"`
	Name        string          `json:"name,omitempty"`
	Zone        string          `json:"zone,omitempty"`
	Incarnation uint64          `json:"incarnation,omitempty"`
	Host        string          `json:"host,omitempty"` // neither host nor port: clients of this listener do not reach it
	Port        int             `json:"port,omitempty"`
	Bus         string          `json:"bus,omitempty"`
	Leaving     bool            `json:"leaving,omitempty"`
	Up          bool            `json:"up,omitempty"`
	Loading     bool            `json:"loading,omitempty"`
	Since       int64           `json:"since,omitempty"` // ms
}

type toldShard struct {
	Epoch    uint64            `json:"epoch"`
	Primary  topology.NodeID   `json:"primary,omitempty"`
	InSync   []topology.NodeID `json:"in_sync,omitempty"`
	Assigned []topology.NodeID `json:"assigned,omitempty"`
	Learners []topology.NodeID `json:"learners,omitempty"`
}

func clusterTopology(c *call) {
	s := c.server
	l, status := s.layout(), s.cluster.Status()
	at, seen := c.addresses(l), s.sights(l)
	told := toldTopology{
		Cluster: l.Cluster, Index: l.Index, Term: status.Term, Self: s.cluster.Self(), Leader: status.Leader, Voters: status.VoterIDs,
		Quorum: status.Quorum, Waiting: status.Waiting, Shards: make([]toldShard, len(l.Shards)),
	}
	for i, n := range l.Nodes {
		node := toldNode{
			ID: n.ID, Name: n.Name, Zone: n.Zone, Incarnation: n.Incarnation, Host: at[i].Host, Port: at[i].Port, Leaving: n.State == topology.Leaving,
			Up: seen.of[i].Alive, Loading: seen.of[i].Loading, Since: seen.of[i].unixMilli(),
		}
		if n.BusPort != 0 {
			node.Bus = net.JoinHostPort(n.BusHost, strconv.Itoa(n.BusPort))
		}
		told.Nodes = append(told.Nodes, node)
	}
	for i, row := range l.Shards {
		told.Shards[i] = toldShard{Epoch: row.Epoch, Primary: row.Primary, InSync: row.ISR, Assigned: row.Assigned, Learners: row.Learners}
	}
	text, err := json.Marshal(told)
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.Text(string(text))
}
