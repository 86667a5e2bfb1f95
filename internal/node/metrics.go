package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/shard"
)

// collector turns the server's counts into metrics when they are asked for.
type collector struct{ node *Node }

// metric is a figure of what T counts.
type metric[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(T) float64
}

func newMetric[T any](name, help string, kind prometheus.ValueType, value func(T) float64) metric[T] {
	return metric[T]{prometheus.NewDesc("ndring_"+name, help, nil, nil), kind, value}
}

var metrics = []metric[protocol.Stats]{
	newMetric("keys", "Keys stored.", prometheus.GaugeValue, func(s protocol.Stats) float64 { return float64(s.Store.Keys) }),
	newMetric("value_bytes", "Bytes of values that are stored, arriving or being sent.", prometheus.GaugeValue,
		func(s protocol.Stats) float64 { return float64(s.ValueBytes) }),
	newMetric("upload_bytes", "Bytes of commands that are on their way in.", prometheus.GaugeValue,
		func(s protocol.Stats) float64 { return float64(s.UploadBytes) }),
	newMetric("clients", "Client connections.", prometheus.GaugeValue, func(s protocol.Stats) float64 { return float64(s.Clients) }),
	newMetric("connections_total", "Client connections accepted.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Connections) }),
	newMetric("rejected_connections_total", "Client connections refused because of maxclients.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Rejected) }),
	newMetric("commands_total", "Commands executed.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.Commands) }),
	newMetric("error_replies_total", "Commands answered with an error.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Errors) }),
	newMetric("protocol_errors_total", "Connections closed because their stream was no RESP.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.ProtocolErrors) }),
	newMetric("connection_panics_total", "Connections closed because of a panic.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Panics) }),
	newMetric("received_bytes_total", "Bytes received from clients.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.BytesIn) }),
	newMetric("sent_bytes_total", "Bytes of replies to clients.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.BytesOut) }),
	newMetric("hits_total", "Reads of a key that was there.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.Store.Hits) }),
	newMetric("misses_total", "Reads of a key that was not there.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.Store.Misses) }),
	newMetric("reply_bytes", "Bytes of replies that wait for their clients.", prometheus.GaugeValue, func(s protocol.Stats) float64 { return float64(s.ReplyBytes) }),
	newMetric("idle_timeouts_total", "Idle clients that were closed.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.IdleTimeouts) }),
	newMetric("upload_busy_total", "Commands refused because there was no room for their upload.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.BusyUploads) }),
	newMetric("upload_stalls_total", "Connections closed because they fell silent within a command.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.UploadStalls) }),
	newMetric("upload_too_slow_total", "Uploads closed because others waited for their room.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.SlowUploads) }),
	newMetric("reply_stalls_total", "Clients closed because they took nothing of their replies.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.ReplyStalls) }),
	newMetric("output_limit_disconnections_total", "Clients closed because too many replies waited for them.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.OutputLimits) }),
	newMetric("evicted_total", "Keys that went for want of memory.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Store.Evicted) }),
	newMetric("oom_denied_total", "Writes answered OOM.", prometheus.CounterValue, func(s protocol.Stats) float64 { return float64(s.DeniedOOM) }),
	newMetric("expired_total", "Keys freed because their time had come.", prometheus.CounterValue,
		func(s protocol.Stats) float64 { return float64(s.Store.Expired) }),
}

// diskMetrics are those of a node with a data folder.
var diskMetrics = []metric[shard.DiskStats]{
	newMetric("disk_bytes", "Bytes of all files.", prometheus.GaugeValue, func(s shard.DiskStats) float64 { return float64(s.Bytes) }),
	newMetric("disk_live_bytes", "Bytes that the values take in them.", prometheus.GaugeValue, func(s shard.DiskStats) float64 { return float64(s.Live) }),
	newMetric("disk_unsaved_changes", "Changes since the last snapshots.", prometheus.GaugeValue, func(s shard.DiskStats) float64 { return float64(s.Unsaved) }),
	newMetric("disk_stopped_shards", "Shards to which nothing can be written until a restart.", prometheus.GaugeValue,
		func(s shard.DiskStats) float64 { return float64(s.Stopped) }),
	newMetric("disk_full", "1 while less is free than disk-reserve, so that values cannot be written.", prometheus.GaugeValue,
		func(s shard.DiskStats) float64 {
			if s.Full {
				return 1
			}
			return 0
		}),
	newMetric("disk_written_bytes_total", "Bytes written to files.", prometheus.CounterValue, func(s shard.DiskStats) float64 { return float64(s.Written) }),
	newMetric("disk_write_errors_total", "Writes that the disk has refused.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.WriteErrors) }),
	newMetric("disk_delayed_syncs_total", "Syncs that took more than two seconds.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.DelayedSyncs) }),
	newMetric("disk_throttled_writes_total", "Writes that had to wait for the disk.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.Throttled) }),
	newMetric("disk_shard_snapshots_total", "Snapshots of shards.", prometheus.CounterValue, func(s shard.DiskStats) float64 { return float64(s.Snapshots) }),
	newMetric("disk_shard_snapshot_errors_total", "Snapshots of shards that could not be written.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.SnapshotErrors) }),
	newMetric("disk_damage_found_total", "Places that differ from their CRC32C.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.Damage) }),
	newMetric("disk_damage_repaired_total", "Of them, those that were repaired from memory.", prometheus.CounterValue,
		func(s shard.DiskStats) float64 { return float64(s.Repaired) }),
}

// edgeMetrics are of what surrounds a node.
var edgeMetrics = []metric[*Node]{
	newMetric("log_lost_lines_total", "Lines of the log that were dropped because standard error was not read or could not be written.", prometheus.CounterValue,
		func(n *Node) float64 {
			if n.config.logLost == nil {
				return 0
			}
			return float64(n.config.logLost())
		}),
	newMetric("gossip_refused_total", "Datagrams and streams to the gossip port that no node sends, or that were too many.", prometheus.CounterValue,
		func(n *Node) float64 { return float64(n.cluster.GossipRefused()) }),
}

// clusterMetrics are what this node knows of its cluster.
var clusterMetrics = []metric[clusterFigures]{
	newMetric("cluster_nodes", "Nodes of the cluster.", prometheus.GaugeValue, func(f clusterFigures) float64 { return float64(f.nodes) }),
	newMetric("cluster_nodes_alive", "Of them, those that this node sees alive.", prometheus.GaugeValue, func(f clusterFigures) float64 { return float64(f.alive) }),
	newMetric("cluster_shards", "Shards of the cluster.", prometheus.GaugeValue, func(f clusterFigures) float64 { return float64(f.shards) }),
	newMetric("cluster_shards_served", "Of them, those that this node serves.", prometheus.GaugeValue, func(f clusterFigures) float64 { return float64(f.served) }),
	newMetric("cluster_shards_vacant", "Of them, those that no node serves which this one sees alive.", prometheus.GaugeValue,
		func(f clusterFigures) float64 { return float64(f.vacant) }),
	newMetric("cluster_leader", "1 if this node leads.", prometheus.GaugeValue, func(f clusterFigures) float64 { return f.leads }),
	newMetric("cluster_quorum", "1 if the leader was heard from lately, so that the topology can change.", prometheus.GaugeValue,
		func(f clusterFigures) float64 { return f.quorum }),
	newMetric("cluster_topology_index", "Log entry that made the topology by which this node serves.", prometheus.GaugeValue,
		func(f clusterFigures) float64 { return float64(f.index) }),
}

type clusterFigures struct {
	nodes, alive, shards, served, vacant int
	leads, quorum                        float64
	index                                uint64
}

func (n *Node) clusterFigures() clusterFigures {
	t, status := n.Topology(), n.cluster.Status()
	f := clusterFigures{nodes: len(t.Nodes), shards: len(t.Shards), index: t.Index}
	lives := map[topology.NodeID]bool{}
	for _, row := range t.Nodes {
		if lives[row.ID], _, _ = n.cluster.Sight(row.ID); lives[row.ID] {
			f.alive++
		}
	}
	for _, s := range t.Shards {
		switch {
		case s.Primary == n.id:
			f.served++
		case !lives[s.Primary]:
			f.vacant++
		}
	}
	if status.Leader == n.id {
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
	collect(out, clusterMetrics, c.node.clusterFigures())
	collect(out, edgeMetrics, c.node)
	if stats, ok := c.node.store.DiskStats(); ok {
		collect(out, diskMetrics, stats)
	}
}

func collect[T any](out chan<- prometheus.Metric, metrics []metric[T], stats T) {
	for _, m := range metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats))
	}
}
