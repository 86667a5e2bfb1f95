package protocol

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// infoSections are the sections of INFO, in order. Fields that Redis has, too, have its names and meanings.
var infoSections = []struct {
	name   string
	fields func(*call, *Server, Stats) []infoField
}{
	{"Server", infoServer},
	{"Clients", infoClients},
	{"Memory", infoMemory},
	{"Persistence", infoPersistence},
	{"Stats", infoStats},
	{"Replication", infoReplication},
	{"CPU", infoCPU},
	{"Commandstats", infoCommandStats},
	{"Errorstats", infoErrorStats},
	{"Latencystats", infoLatencyStats},
	{"Cluster", infoCluster},
	{"Keyspace", infoKeyspace},
	{"Keysizes", infoKeySizes},
}

// onRequest are the sections that INFO shows only when they are named.
var onRequest = map[string]bool{"commandstats": true, "latencystats": true, "keysizes": true}

func info(c *call, s *Server) {
	var wanted []string
	for i := 1; i < len(c.args); i++ {
		wanted = append(wanted, strings.ToLower(string(c.arg(i))))
	}
	has := func(name string) bool { return slices.Contains(wanted, name) }
	all, usual := has("all") || has("everything"), len(wanted) == 0 || has("default")
	stats := s.Stats()
	var b strings.Builder
	for _, section := range infoSections {
		if name := strings.ToLower(section.name); !all && !has(name) && (!usual || onRequest[name]) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", section.name)
		for _, field := range section.fields(c, s, stats) {
			fmt.Fprintf(&b, "%s:%v\r\n", field.name, field.value)
		}
	}
	c.replies.Verbatim(b.String())
}

func infoServer(c *call, server *Server, _ Stats) []infoField {
	up := time.Since(server.started)
	return []infoField{
		{"redis_version", redisVersion},
		{"redis_mode", "cluster"},
		{"ndring_version", server.config.Load().Version},
		{"os", runtime.GOOS + " " + runtime.GOARCH},
		{"arch_bits", 64},
		{"go_version", runtime.Version()},
		{"process_id", os.Getpid()},
		{"run_id", server.router.cluster.Self()},
		{"tcp_port", c.from.localPort()},
		{"server_time_usec", time.Now().UnixMicro()},
		{"uptime_in_seconds", int64(up.Seconds())},
		{"uptime_in_days", int64(up.Hours() / 24)},
	}
}

func infoClients(c *call, server *Server, s Stats) []infoField {
	return []infoField{
		{"connected_clients", s.Clients},
		{"cluster_connections", len(server.router.cluster.Links())},
		{"maxclients", server.config.Load().MaxClients},
		{"client_recent_max_output_buffer", server.connections.largestOutput()},
		{"blocked_clients", server.pause.waiting.Load()},
		{"tracking_clients", s.Tracking.Clients},
	}
}

func infoMemory(c *call, server *Server, s Stats) []infoField {
	f := server.memory()
	fragmentation := float64(f.resident) / float64(max(f.used, 1))
	config, peak := server.store.Memory().Config(), server.store.Memory().Peak()
	return []infoField{
		{"used_memory", f.used},
		{"used_memory_human", human(uint64(f.used))},
		{"used_memory_rss", f.resident},
		{"used_memory_rss_human", human(uint64(f.resident))},
		{"used_memory_peak", peak},
		{"used_memory_peak_human", human(uint64(peak))},
		{"used_memory_overhead", f.used - s.ValueBytes},
		{"used_memory_dataset", s.ValueBytes},
		{"mem_clients_normal", f.clients},
		{"upload_bytes", s.UploadBytes},
		{"upload_bytes_limit", server.config.Load().MaxUploadBytes},
		{"reply_bytes", s.ReplyBytes},
		{"reply_bytes_limit", server.config.Load().MaxOutputBytes},
		{"mem_fragmentation_ratio", fmt.Sprintf("%.2f", fragmentation)},
		{"mem_fragmentation_bytes", f.resident - f.used},
		{"mem_buffers_idle", f.idle},
		{"total_system_memory", server.config.Load().SystemMemory},
		{"total_system_memory_human", human(uint64(server.config.Load().SystemMemory))},
		{"maxmemory", config.Limit},
		{"maxmemory_human", human(uint64(config.Limit))},
		{"maxmemory_policy", config.Policy},
		{"mem_allocator", "ndring"},
	}
}

func infoStats(_ *call, _ *Server, s Stats) []infoField {
	return []infoField{
		{"total_connections_received", s.Connections},
		{"total_commands_processed", s.Commands},
		{"total_net_input_bytes", s.BytesIn},
		{"total_net_output_bytes", s.BytesOut},
		{"rejected_connections", s.Rejected},
		{"expired_keys", s.Store.Expired},
		{"evicted_keys", s.Store.Evicted},
		{"keyspace_hits", s.Store.Hits},
		{"keyspace_misses", s.Store.Misses},
		{"tracking_total_keys", s.Tracking.Keys},
		{"tracking_total_items", s.Tracking.Items},
		{"tracking_total_prefixes", s.Tracking.Prefixes},
		{"total_error_replies", s.Errors},
		{"protocol_errors", s.ProtocolErrors},
		{"acl_access_denied_auth", s.AuthFailures},
		{"client_output_buffer_limit_disconnections", s.OutputLimits},
		{"protected_mode_denied", s.Denied},
		{"tls_handshake_failures", s.HandshakeFailures},
		{"idle_timeouts", s.IdleTimeouts},
		{"oom_denied", s.DeniedOOM},
		{"upload_busy", s.BusyUploads},
		{"upload_stalls", s.UploadStalls},
		{"upload_too_slow", s.SlowUploads},
		{"reply_stalls", s.ReplyStalls},
		{"connection_panics", s.Panics},
	}
}

func infoCPU(*call, *Server, Stats) []infoField {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return nil
	}
	seconds := func(t unix.Timeval) string { return fmt.Sprintf("%d.%06d", t.Sec, t.Usec) }
	return []infoField{{"used_cpu_sys", seconds(usage.Stime)}, {"used_cpu_user", seconds(usage.Utime)}}
}

func infoKeyspace(_ *call, _ *Server, s Stats) []infoField {
	if s.Store.Keys == 0 {
		return nil
	}
	return []infoField{{"db0", fmt.Sprintf("keys=%d,expires=%d,avg_ttl=%d", s.Store.Keys, s.Store.KeysWithTTL, s.Store.AverageTTL)}}
}
