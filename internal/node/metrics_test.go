package node

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/shard"
)

// numberFields sets each field of v to a different value, and returns the values by name: Store.Hits for a field of a
// field.
func numberFields(v reflect.Value, prefix string, values map[string]float64) {
	for i := range v.NumField() {
		field, name := v.Field(i), prefix+v.Type().Field(i).Name
		if !field.CanSet() { // a field of a time
			continue
		}
		switch field.Kind() {
		case reflect.Struct:
			numberFields(field, name+".", values)
		case reflect.Int, reflect.Int64:
			n := int64(1000 + 7*len(values))
			field.SetInt(n)
			values[name] = float64(n)
		}
	}
}

// sample returns a T whose fields differ, and their values.
func sample[T any]() (stats T, values map[string]float64) {
	values = map[string]float64{}
	numberFields(reflect.ValueOf(&stats).Elem(), "", values)
	return stats, values
}

// Each metric shows the count that its name says; all counts differ.
func TestMetricsShowWhatTheySay(t *testing.T) {
	stats, values := sample[protocol.Stats]()
	sameFigures(t, metrics, stats, values, map[string]string{
		"keys": "Store.Keys", "value_bytes": "ValueBytes", "upload_bytes": "UploadBytes", "used_memory_bytes": "UsedMemory", "maxmemory_bytes": "MaxMemory",
		"client_buffer_bytes": "ClientBytes", "max_clients": "MaxClients", "clients": "Clients", "connections_total": "Connections",
		"rejected_connections_total": "Rejected", "tls_handshake_failures_total": "HandshakeFailures", "commands_total": "Commands", "error_replies_total": "Errors", "protocol_errors_total": "ProtocolErrors",
		"connection_panics_total": "Panics", "received_bytes_total": "BytesIn", "sent_bytes_total": "BytesOut", "hits_total": "Store.Hits",
		"misses_total": "Store.Misses", "reply_bytes": "ReplyBytes", "idle_timeouts_total": "IdleTimeouts", "upload_busy_total": "BusyUploads",
		"upload_stalls_total": "UploadStalls", "upload_too_slow_total": "SlowUploads", "reply_stalls_total": "ReplyStalls",
		"output_limit_disconnections_total": "OutputLimits", "evicted_total": "Store.Evicted", "oom_denied_total": "DeniedOOM", "expired_total": "Store.Expired",
		"tracking_clients": "Tracking.Clients", "tracking_keys": "Tracking.Keys", "tracking_items": "Tracking.Items", "tracking_prefixes": "Tracking.Prefixes",
	})
	disk, values := sample[shard.DiskStats]()
	disk.Full = true
	values["Full"] = 1
	sameFigures(t, diskMetrics, disk, values, map[string]string{
		"disk_bytes": "Bytes", "disk_live_bytes": "Live", "disk_unsaved_changes": "Unsaved", "disk_stopped_shards": "Stopped", "disk_full": "Full",
		"disk_written_bytes_total": "Written", "disk_write_errors_total": "WriteErrors", "disk_delayed_syncs_total": "DelayedSyncs",
		"disk_throttled_writes_total": "Throttled", "disk_shard_snapshots_total": "Snapshots", "disk_shard_snapshot_errors_total": "SnapshotErrors",
		"disk_damage_found_total": "Damage", "disk_damage_repaired_total": "Repaired",
	})
	copies, values := sample[protocol.ReplicationStats]()
	sameFigures(t, copyMetrics, copies, values, map[string]string{
		"replication_shards_primary": "Primary", "replication_shards_replica": "Replica", "replication_shards_degraded": "Degraded", "replication_shards_down": "Down",
		"replication_learners": "Learners", "replication_isr_shrinks_total": "Shrinks", "replication_isr_expands_total": "Expands", "replication_failovers_total": "Failovers",
		"replication_uncertain_writes_total": "UncertainWrites", "replication_received_bytes_total": "BytesIn", "replication_sent_bytes_total": "BytesOut", "replication_moved_bytes_total": "MovedBytes", "replication_lag_bytes": "LagBytes",
		"replication_digest_mismatches_total": "DigestMismatches",
	})
	figures := clusterFigures{nodes: 1, alive: 2, shards: 3, served: 4, vacant: 5, leads: 6, quorum: 7, index: 8, wiped: 9, unclean: 10, losses: 11}
	sameFigures(t, clusterMetrics, figures, map[string]float64{"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9, "10": 10, "11": 11}, map[string]string{
		"cluster_nodes": "1", "cluster_nodes_alive": "2", "cluster_shards": "3", "cluster_shards_served": "4", "cluster_shards_vacant": "5",
		"cluster_leader": "6", "cluster_quorum": "7", "cluster_topology_index": "8", "cluster_shards_wiped": "9",
		"cluster_shards_unclean": "10", "cluster_possible_losses_total": "11",
	})
}

var described = regexp.MustCompile(`fqName: "ndring_(\w+)", help: "([^"]*)"`)

func sameFigures[T any](t *testing.T, all []metric[T], stats T, values map[string]float64, fields map[string]string) {
	t.Helper()
	for _, m := range all {
		desc := described.FindStringSubmatch(m.desc.String())
		if desc == nil {
			t.Fatalf("a metric of another form: %s", m.desc)
		}
		name, help := desc[1], desc[2]
		field, known := fields[name]
		delete(fields, name)
		if want, ok := values[field]; !known || !ok || m.value(stats) != want {
			t.Errorf("%s is %v, want %s, which is %v", name, m.value(stats), field, want)
		}
		if !standsAlone(help) {
			t.Errorf("the help of %s does not make sense by itself: %q", name, help)
		}
	}
	for name := range fields {
		t.Errorf("there is no metric %s", name)
	}
}

// standsAlone reports whether a help text makes sense without its neighbours.
func standsAlone(help string) bool {
	leans := regexp.MustCompile(`^(Of|Those|They|It)\b|\bin (them|it)\b|\bof them\b|^[a-z]`)
	return len(strings.Fields(help)) >= 4 && strings.HasSuffix(help, ".") && !leans.MatchString(help)
}

func TestStandsAlone(t *testing.T) {
	for help, want := range map[string]bool{
		"Of them, those that this node serves.": false, "Bytes that the values take in them.": false, "Keys stored.": false, "Shards of the cluster that this node serves.": true,
	} {
		if standsAlone(help) != want {
			t.Errorf("%q: %v", help, !want)
		}
	}
}
