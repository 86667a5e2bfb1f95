package node

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/shard"
)

// handler serves /healthz (the process lives), /readyz (it serves clients) and /metrics (for Prometheus).
func (n *Node) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{node: n})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !n.ready.Load() {
			http.Error(w, "not ready: the node waits for "+n.Status().Waiting, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

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

// Describe implements prometheus.Collector.
func (*collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range metrics {
		out <- m.desc
	}
	for _, m := range diskMetrics {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	collect(out, metrics, c.node.server.Stats())
	if stats, ok := c.node.store.DiskStats(); ok {
		collect(out, diskMetrics, stats)
	}
}

func collect[T any](out chan<- prometheus.Metric, metrics []metric[T], stats T) {
	for _, m := range metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats))
	}
}
