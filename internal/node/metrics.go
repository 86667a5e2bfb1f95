package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/shard"
)

// collector computes the metrics at each scrape.
type collector struct{ node *Node }

// metric is one metric and how to read it from a T.
type metric[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(T) float64
}

func newMetric[T any](name, help string, kind prometheus.ValueType, value func(T) float64) metric[T] {
	return metric[T]{prometheus.NewDesc("ndring_"+name, help, nil, nil), kind, value}
}

var metrics = []metric[protocol.Stats]{
	newMetric("keys", "Keys that this node serves, including expired ones that are not freed yet.", prometheus.GaugeValue, func(s protocol.Stats) float64 { return float64(s.Store.Keys) }),
	newMetric("value_bytes", "Bytes of array values in memory: stored, arriving from clients or being sent to them.", prometheus.GaugeValue,
		func(s protocol.Stats) float64 { return float64(s.ValueBytes) }),
	newMetric("upload_bytes", "Bytes reserved for commands that clients are sending, limited by max-upload-bytes.", prometheus.GaugeValue,
		func(s protocol.Stats) float64 { return float64(s.UploadBytes) }),
	newMetric("used_memory_bytes", "Bytes of memory that the node uses: values, indexes, commands and replies under way, and the program itself. It is what maxmemory limits.",
		prometheus.GaugeValue, func(s protocol.Stats) float64 { return float64(s.UsedMemory) }),
	newMetric("maxmemory_bytes", "Bytes of memory that the node may use before it evicts keys or refuses writes, 0 for no limit.", prometheus.GaugeValue,
		func(s protocol.Stats) float64 { return float64(s.MaxMemory) }),
	newMetric("client_buffer_bytes", "Bytes of memory for commands that clients have sent and the node has not executed yet, without arrays.", prometheus.GaugeValue,
		func(s protocol.Stats) float64 { return float64(s.ClientBytes) }),
	newMetric("max_clients", "Client connections that may be open at once (maxclients).", prometheus.GaugeValue,
		func(s protocol.Stats) float64 { return float64(s.MaxClients) }),
	newMetric("clients", "Client connections that are open.", prometheus.GaugeValue, func(s protocol.Stats) float64 { return float64(s.Clients) }),
	newMetric("connections_total", "Client connections accepted since the node started.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Connections) }),
	newMetric("rejected_connections_total", "Client connections refused because maxclients was reached or no file descriptor was left.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Rejected) }),
	newMetric("tls_handshake_failures_total", "Client connections closed because their TLS handshake failed.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.HandshakeFailures) }),
	newMetric("commands_total", "Commands received from clients, including refused ones.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.Commands) }),
	newMetric("error_replies_total", "Error replies sent to clients.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Errors) }),
	newMetric("protocol_errors_total", "Client connections closed because what they sent was not valid RESP.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.ProtocolErrors) }),
	newMetric("connection_panics_total", "Client connections closed because a command panicked, which is a bug of ndring.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Panics) }),
	newMetric("received_bytes_total", "Bytes received from clients.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.BytesIn) }),
	newMetric("sent_bytes_total", "Bytes of replies sent to clients.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.BytesOut) }),
	newMetric("hits_total", "Reads of a key that existed.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.Store.Hits) }),
	newMetric("misses_total", "Reads of a key that did not exist or had expired.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.Store.Misses) }),
	newMetric("reply_bytes", "Bytes of replies that wait for clients to read them.", prometheus.GaugeValue, func(s protocol.Stats) float64 { return float64(s.ReplyBytes) }),
	newMetric("idle_timeouts_total", "Client connections closed because they sent no command for the time that the timeout setting allows.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.IdleTimeouts) }),
	newMetric("upload_busy_total", "Commands answered BUSY because max-upload-bytes was used up by other uploads.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.BusyUploads) }),
	newMetric("upload_stalls_total", "Client connections closed because they sent nothing for upload-stall in the middle of a command.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.UploadStalls) }),
	newMetric("upload_too_slow_total", "Client connections closed because they sent a command slower than min-upload-rate while others waited for upload memory.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.SlowUploads) }),
	newMetric("reply_stalls_total", "Client connections closed because they read none of their replies for reply-stall.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.ReplyStalls) }),
	newMetric("output_limit_disconnections_total", "Client connections closed because their unread replies exceeded client-output-buffer-limit.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.OutputLimits) }),
	newMetric("evicted_total", "Keys evicted to keep memory within maxmemory.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Store.Evicted) }),
	newMetric("oom_denied_total", "Writes answered OOM because memory had reached maxmemory and nothing could be evicted.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.DeniedOOM) }),
	newMetric("tracking_clients", "Client connections that track keys (CLIENT TRACKING).", prometheus.GaugeValue, func(s protocol.Stats) float64 { return float64(s.Tracking.Clients) }),
	newMetric("tracking_keys", "Keys that clients have read and are to be told of when they change, limited by tracking-table-max-keys.", prometheus.GaugeValue,
		func(s protocol.Stats) float64 { return float64(s.Tracking.Keys) }),
	newMetric("tracking_items", "Pairs of such a key and a client.", prometheus.GaugeValue, func(s protocol.Stats) float64 { return float64(s.Tracking.Items) }),
	newMetric("tracking_prefixes", "Prefixes of keys whose changes are broadcast to clients (CLIENT TRACKING BCAST).", prometheus.GaugeValue,
		func(s protocol.Stats) float64 { return float64(s.Tracking.Prefixes) }),
	newMetric("expired_total", "Keys removed because their time to live had passed.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Store.Expired) }),
}

// diskMetrics are the metrics of a node with a data folder.
var diskMetrics = []metric[shard.DiskStats]{
	newMetric("disk_bytes", "Bytes of all files of shards in the data folder.", prometheus.GaugeValue, func(s shard.DiskStats) float64 { return float64(s.Bytes) }),
	newMetric("disk_live_bytes", "Bytes that current values take in the files of the data folder.", prometheus.GaugeValue, func(s shard.DiskStats) float64 { return float64(s.Live) }),
	newMetric("disk_unsaved_changes", "Changes of keys since the last snapshots of their shards.", prometheus.GaugeValue, func(s shard.DiskStats) float64 { return float64(s.Unsaved) }),
	newMetric("disk_stopped_shards", "Shards that are read-only until the node restarts, because a write to their log failed.", prometheus.GaugeValue,
		func(s shard.DiskStats) float64 { return float64(s.Stopped) }),
	newMetric("disk_full", "1 while writes of values are refused because the disk has less free space than disk-reserve or than deletes need, else 0.", prometheus.GaugeValue,
		func(s shard.DiskStats) float64 {
			if s.Full {
				return 1
			}
			return 0
		}),
	newMetric("disk_written_bytes_total", "Bytes written to files of the data folder.", prometheus.CounterValue, func(s shard.DiskStats) float64 { return float64(s.Written) }),
	newMetric("disk_write_errors_total", "Writes to files of the data folder that failed.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.WriteErrors) }),
	newMetric("disk_delayed_syncs_total", "Syncs of the data folder to the disk that took more than two seconds.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.DelayedSyncs) }),
	newMetric("disk_throttled_writes_total", "Writes of clients that waited for the disk to catch up.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.Throttled) }),
	newMetric("disk_shard_snapshots_total", "Snapshots of shards written to the data folder.", prometheus.CounterValue, func(s shard.DiskStats) float64 { return float64(s.Snapshots) }),
	newMetric("disk_shard_snapshot_errors_total", "Snapshots of shards that could not be written to the data folder.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.SnapshotErrors) }),
	newMetric("disk_damage_found_total", "Places in the data folder whose bytes do not match their CRC32C.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.Damage) }),
	newMetric("disk_damage_repaired_total", "Places in the data folder whose bytes did not match their CRC32C and were rewritten from memory.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.Repaired) }),
}

// copyMetrics are about the copies of shards.
var copyMetrics = []metric[protocol.ReplicationStats]{
	newMetric("replication_shards_primary", "Shards of which this node is the primary.", prometheus.GaugeValue, func(s protocol.ReplicationStats) float64 { return float64(s.Primary) }),
	newMetric("replication_shards_replica", "Shards of which this node has a copy that another node serves.", prometheus.GaugeValue, func(s protocol.ReplicationStats) float64 { return float64(s.Replica) }),
	newMetric("replication_shards_degraded", "Shards of this node with only one clean in-sync copy, although more are assigned.", prometheus.GaugeValue,
		func(s protocol.ReplicationStats) float64 { return float64(s.Degraded) }),
	newMetric("replication_shards_down", "Shards of which this node has a copy and that have no live primary.", prometheus.GaugeValue, func(s protocol.ReplicationStats) float64 { return float64(s.Down) }),
	newMetric("replication_learners", "Copies of the shards of this node that are still catching up.", prometheus.GaugeValue, func(s protocol.ReplicationStats) float64 { return float64(s.Learners) }),
	newMetric("replication_isr_shrinks_total", "Copies that left the ISR of a shard while this node was its primary.", prometheus.CounterValue,
		func(s protocol.ReplicationStats) float64 { return float64(s.Shrinks) }),
	newMetric("replication_isr_expands_total", "Copies that joined the ISR of a shard while this node was its primary.", prometheus.CounterValue,
		func(s protocol.ReplicationStats) float64 { return float64(s.Expands) }),
	newMetric("replication_failovers_total", "Shards that this node took over because their primary was lost.", prometheus.CounterValue,
		func(s protocol.ReplicationStats) float64 { return float64(s.Failovers) }),
	newMetric("replication_uncertain_writes_total", "Replies that said UNCERTAIN, since a write was not known to be committed in time.", prometheus.CounterValue,
		func(s protocol.ReplicationStats) float64 { return float64(s.UncertainWrites) }),
	newMetric("replication_received_bytes_total", "Bytes received from other nodes for copies of shards.", prometheus.CounterValue, func(s protocol.ReplicationStats) float64 { return float64(s.BytesIn) }),
	newMetric("replication_sent_bytes_total", "Bytes sent to other nodes for copies of shards.", prometheus.CounterValue, func(s protocol.ReplicationStats) float64 { return float64(s.BytesOut) }),
	newMetric("replication_moved_bytes_total", "Bytes sent to copies of shards that catch up and are not in sync yet.", prometheus.CounterValue, func(s protocol.ReplicationStats) float64 { return float64(s.MovedBytes) }),
	newMetric("replication_digest_mismatches_total", "Times that a copy on this node differed from that of its primary.", prometheus.CounterValue,
		func(s protocol.ReplicationStats) float64 { return float64(s.DigestMismatches) }),
	newMetric("replication_lag_bytes", "Bytes on the way to other nodes that these have not acknowledged.", prometheus.GaugeValue, func(s protocol.ReplicationStats) float64 { return float64(s.LagBytes) }),
}

// edgeMetrics are about log and gossip.
var edgeMetrics = []metric[*Node]{
	newMetric("log_lost_lines_total", "Lines of the log that were dropped because standard error was not read or could not be written.", prometheus.CounterValue,
		func(n *Node) float64 {
			if n.config.logLost == nil {
				return 0
			}
			return float64(n.config.logLost())
		}),
	newMetric("gossip_refused_total", "Datagrams and streams to the gossip port that were refused: no node sends them, or they exceeded a limit.", prometheus.CounterValue,
		func(n *Node) float64 { return float64(n.cluster.GossipRefused()) }),
}

// clusterMetrics are what this node knows about its cluster.
var clusterMetrics = []metric[clusterFigures]{
	newMetric("cluster_nodes", "Nodes that belong to the cluster, including dead ones.", prometheus.GaugeValue, func(f clusterFigures) float64 { return float64(f.nodes) }),
	newMetric("cluster_nodes_alive", "Nodes of the cluster that this node sees alive, including itself.", prometheus.GaugeValue, func(f clusterFigures) float64 { return float64(f.alive) }),
	newMetric("cluster_shards", "Shards that the cluster divides its keys into.", prometheus.GaugeValue, func(f clusterFigures) float64 { return float64(f.shards) }),
	newMetric("cluster_shards_served", "Shards of the cluster that this node serves.", prometheus.GaugeValue, func(f clusterFigures) float64 { return float64(f.served) }),
	newMetric("cluster_shards_vacant", "Shards of the cluster whose primary is missing or not seen alive by this node.", prometheus.GaugeValue,
		func(f clusterFigures) float64 { return float64(f.vacant) }),
	newMetric("cluster_shards_wiped", "Shards of the cluster that have lost their last copy and wait to begin empty.", prometheus.GaugeValue,
		func(f clusterFigures) float64 { return float64(f.wiped) }),
	newMetric("cluster_shards_unclean", "Shards of the cluster with an in-sync copy that may lack writes that it acknowledged.", prometheus.GaugeValue,
		func(f clusterFigures) float64 { return float64(f.unclean) }),
	newMetric("cluster_possible_losses_total", "Decisions by which a shard of the cluster may have lost acknowledged writes.", prometheus.CounterValue,
		func(f clusterFigures) float64 { return float64(f.losses) }),
	newMetric("cluster_leader", "1 if this node is the raft leader of the cluster, else 0.", prometheus.GaugeValue, func(f clusterFigures) float64 { return f.leads }),
	newMetric("cluster_quorum", "1 if this node has recently heard from the raft leader, so that the topology can change, else 0.", prometheus.GaugeValue,
		func(f clusterFigures) float64 { return f.quorum }),
	newMetric("cluster_topology_index", "Index of the raft log entry with the topology that this node serves by.", prometheus.GaugeValue,
		func(f clusterFigures) float64 { return float64(f.index) }),
}

type clusterFigures struct {
	nodes, alive, shards, served, vacant int
	wiped, unclean                       int
	leads, quorum                        float64
	index, losses                        uint64
}

func (c *clientCluster) figures() clusterFigures {
	t, status := c.Topology(), c.cluster.Status()
	f := clusterFigures{nodes: len(t.Nodes), shards: len(t.Shards), index: t.Index, losses: t.PossibleLosses}
	alive := map[topology.NodeID]bool{}
	for _, row := range t.Nodes {
		if alive[row.ID], _, _ = c.cluster.Liveness(row.ID); alive[row.ID] {
			f.alive++
		}
	}
	for _, s := range t.Shards {
		switch {
		case s.Primary == c.self:
			f.served++
		case !alive[s.Primary]:
			f.vacant++
		}
		if wait, waits := s.Wait(); waits && wait.Reason == topology.WaitsForEmpty {
			f.wiped++
		}
		if len(s.Unclean) > 0 {
			f.unclean++
		}
	}
	if status.Leader == c.self {
		f.leads = 1
	}
	if status.Quorum {
		f.quorum = 1
	}
	return f
}

// Describe implements prometheus.Collector.
func (*collector) Describe(out chan<- *prometheus.Desc) {
	describe(out, metrics)
	describe(out, diskMetrics)
	describe(out, clusterMetrics)
	describe(out, copyMetrics)
	describe(out, edgeMetrics)
}

func describe[T any](out chan<- *prometheus.Desc, metrics []metric[T]) {
	for _, m := range metrics {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	collect(out, metrics, c.node.server.Stats())
	collect(out, clusterMetrics, c.node.view.figures())
	collect(out, copyMetrics, c.node.server.ReplicationStats())
	collect(out, edgeMetrics, c.node)
	if stats, ok := c.node.store.Disk().Stats(); ok {
		collect(out, diskMetrics, stats)
	}
}

func collect[T any](out chan<- prometheus.Metric, metrics []metric[T], stats T) {
	for _, m := range metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats))
	}
}
