package protocol

import (
	"fmt"
	"strconv"

	"github.com/ndring/ndring/cluster/topology"
)

// infoReplication begins with Redis' fields in Redis' order. Offsets count records, of all shards that the node leads.
func infoReplication(c *call, server *Server, _ Stats) []infoField {
	s, cluster := server.router.replication(c.from), server.router.clusterState()
	var fields []infoField
	if s.master {
		fields = append(fields, infoField{"role", "master"}, infoField{"connected_slaves", len(s.slaves)})
		for i := range s.slaves {
			one := &s.slaves[i]
			fields = append(fields, infoField{"slave" + strconv.Itoa(i), fmt.Sprintf("ip=%s,port=%d,state=%s,offset=%d,lag=%d",
				one.at.Host, one.at.Port, one.state(), s.offset-min(s.offset, one.missing), int64(one.peer.Silent.Seconds()))})
		}
		fields = append(fields, infoField{"master_repl_offset", s.offset})
	} else {
		fields = append(fields, s.slaveFields()...)
	}
	return append(fields, []infoField{
		{"shards_served", cluster.self.shards},
		{"shards_least_copies", cluster.self.copies},
		{"shards_primary", s.primary},
		{"shards_replica", s.replica},
		{"shards_degraded", s.degraded},
		{"shards_down", s.down},
		{"learners", s.learners},
		{"isr_shrinks", s.counts.Shrinks},
		{"isr_expands", s.counts.Expands},
		{"failovers", s.counts.Failovers},
		{"possible_losses", cluster.PossibleLosses},
		{"uncertain_writes", server.uncertainWrites()},
		{"repl_bytes_in", s.counts.BytesIn},
		{"repl_bytes_out", s.counts.BytesOut},
		{"repl_moved_bytes", s.counts.MovedBytes},
		{"repl_lag_bytes", s.lag()},
		{"digest_mismatches", server.store.CopyStats().DigestMismatches},
		{"durability", s.durability()},
	}...)
}

// slaveFields are what Redis shows of a replica. The master is the node that leads most of the shards of this one.
func (s *replicaState) slaveFields() []infoField {
	host, port, link := "", 0, "down"
	if s.leader != nil {
		host, port = s.leader.Host, s.leader.Port
	}
	if s.down == 0 {
		link = "up"
	}
	return []infoField{
		{"role", "slave"},
		{"master_host", host},
		{"master_port", port},
		{"master_link_status", link},
		{"master_last_io_seconds_ago", 0},
		{"master_sync_in_progress", 0},
		{"slave_repl_offset", s.offset},
		{"slave_read_only", 1},
		{"connected_slaves", 0},
		{"master_repl_offset", s.offset},
	}
}

// uncertainWrites returns how many replies were UNCERTAIN.
func (s *Server) uncertainWrites() int64 {
	s.statistics.mu.Lock()
	defer s.statistics.mu.Unlock()
	return s.statistics.errors["UNCERTAIN"]
}

// role writes Redis' reply, by which a node with any primary is a master.
func role(c *call, r *router) {
	s := r.replication(c.from)
	if s.master {
		c.replies.Array(3)
		c.replies.Text("master")
		c.replies.Int(int64(s.offset))
		c.replies.Array(len(s.slaves))
		for i := range s.slaves {
			one := &s.slaves[i]
			c.replies.Array(3)
			c.replies.Text(one.at.Host)
			c.replies.Text(strconv.Itoa(one.at.Port))
			c.replies.Text(strconv.FormatUint(s.offset-min(s.offset, one.missing), 10))
		}
		return
	}
	at, state := topology.Address{}, "connect"
	if s.leader != nil {
		at, state = *s.leader, "connected"
	}
	c.replies.Array(5)
	c.replies.Text("slave")
	c.replies.Text(at.Host)
	c.replies.Int(int64(at.Port))
	c.replies.Text(state)
	c.replies.Int(int64(s.offset))
}
