package protocol

import (
	"fmt"
	"strings"

	"github.com/ndring/ndring/cluster/topology"
)

// clusterState is the cluster as this node sees it, for CLUSTER INFO and INFO.
type clusterState struct {
	*layout
	self   nodeSlots
	status ClusterStatus
	ok     int      // slots with a live primary
	fail   int      // slots with a dead primary
	size   int      // nodes with slots
	down   []string // names of the dead nodes

	waiting int // shards without a primary
	wiped   int // those of them that wait to begin empty
	unclean int // shards with a copy in sync that may lack writes that it acknowledged

	settings int // number of cluster-wide settings
}

func (r *router) clusterState() clusterState {
	state := clusterState{layout: r.layout(), status: r.cluster.Status(), settings: len(r.cluster.ClusterSettings())}
	if i, member := state.index[r.cluster.Self()]; member {
		state.self = state.nodes[i]
	}
	for i := range state.Shards {
		row := &state.Shards[i]
		if wait, waits := row.Wait(); waits {
			state.waiting++
			if wait.Reason == topology.WaitsForEmpty {
				state.wiped++
			}
		}
		if len(row.Unclean) > 0 {
			state.unclean++
		}
	}
	seen := r.members(state.layout)
	for i, node := range state.nodes {
		if node.slots > 0 {
			state.size++
		}
		if seen.of[i].Alive {
			state.ok += node.slots
			continue
		}
		state.fail += node.slots
		name := state.Nodes[i].Name
		if name == "" {
			name = string(state.Nodes[i].ID)
		}
		state.down = append(state.down, oneLine.Replace(name))
	}
	return state
}

// health is "ok" if this node serves and each slot has a live primary.
func (s *clusterState) health() string {
	if s.ok == topology.Slots && s.status.Waiting == "" {
		return "ok"
	}
	return "fail"
}

// extraFields returns the fields that Redis does not have.
func (s *clusterState) extraFields() []infoField {
	return []infoField{
		{"cluster_id", s.Cluster},
		{"cluster_waiting_for", oneLine.Replace(s.status.Waiting)},
		{"cluster_shards", len(s.Shards)},
		{"cluster_my_shards", s.self.shards},
		{"cluster_slots_vacant", s.vacant},
		{"cluster_shards_waiting", s.waiting},
		{"cluster_shards_wiped", s.wiped},
		{"cluster_shards_unclean", s.unclean},
		{"cluster_possible_losses", s.PossibleLosses},
		{"cluster_nodes_down", len(s.down)},
		{"cluster_nodes_down_names", strings.Join(s.down, ",")},
		{"cluster_topology_index", s.Index},
		{"cluster_applied_index", s.status.Applied},
		{"cluster_leader", s.status.Leader},
		{"cluster_term", s.status.Term},
		{"cluster_voters", s.status.Voters},
		{"cluster_quorum", bit(s.status.Quorum)},
		{"cluster_proposals", s.status.Proposals},
		{"cluster_proposals_failed", s.status.Failed},
		{"cluster_settings", s.settings},
		{"cluster_settings_overridden", strings.Join(s.status.SettingsOverridden, ",")},
		{"cluster_settings_refused", oneLine.Replace(strings.Join(s.status.SettingsRefused, ","))},
	}
}

func clusterInfo(c *call, r *router) {
	s := r.clusterState()
	var b strings.Builder
	for _, field := range append([]infoField{
		{"cluster_enabled", 1},
		{"cluster_state", s.health()},
		{"cluster_slots_assigned", topology.Slots - s.vacant},
		{"cluster_slots_ok", s.ok},
		{"cluster_slots_pfail", 0}, // gossip does not report suspicion
		{"cluster_slots_fail", s.fail},
		{"cluster_known_nodes", max(1, len(s.Nodes))},
		{"cluster_size", s.size},
		{"cluster_current_epoch", s.epoch},
		{"cluster_my_epoch", s.self.epoch},
		{"cluster_stats_messages_sent", 0},
		{"cluster_stats_messages_received", 0},
		{"total_cluster_links_buffer_limit_exceeded", 0},
	}, s.extraFields()...) {
		fmt.Fprintf(&b, "%s:%v\r\n", field.name, field.value)
	}
	c.replies.Verbatim(b.String())
}

func infoCluster(_ *call, server *Server, _ Stats) []infoField {
	s := server.router.clusterState()
	return append([]infoField{{"cluster_enabled", 1}, {"cluster_state", s.health()}, {"cluster_known_nodes", max(1, len(s.Nodes))}, {"cluster_size", s.size}}, s.extraFields()...)
}
