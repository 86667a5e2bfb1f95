package protocol

import (
	"fmt"
	"testing"

	"github.com/ndring/ndring/protocol/tracking"
	"github.com/ndring/ndring/shard"
)

// Each field shows its own counter: all values differ.
func TestInfoFieldsShowTheirCounts(t *testing.T) {
	t.Parallel()
	s := Stats{
		Connections: 1, Rejected: 2, Commands: 3, Errors: 4, Panics: 5, ProtocolErrors: 6, Denied: 7, AuthFailures: 8, IdleTimeouts: 9, UploadStalls: 10, SlowUploads: 11,
		BusyUploads: 12, ReplyStalls: 13, OutputLimits: 14, DeniedOOM: 15, BytesIn: 16, BytesOut: 17, HandshakeFailures: 18,
		Tracking: tracking.Sizes{Clients: 24, Keys: 25, Items: 26, Prefixes: 27},
		Store:    shard.Stats{Hits: 20, Misses: 21, Expired: 22, Evicted: 23},
	}
	want := map[string]string{
		"total_connections_received": "1", "rejected_connections": "2", "total_commands_processed": "3", "total_error_replies": "4", "connection_panics": "5",
		"protocol_errors": "6", "protected_mode_denied": "7", "acl_access_denied_auth": "8", "idle_timeouts": "9", "upload_stalls": "10", "upload_too_slow": "11",
		"upload_busy": "12", "reply_stalls": "13", "client_output_buffer_limit_disconnections": "14", "oom_denied": "15", "total_net_input_bytes": "16",
		"total_net_output_bytes": "17", "keyspace_hits": "20", "keyspace_misses": "21", "expired_keys": "22", "evicted_keys": "23",
		"tls_handshake_failures": "18", "tracking_total_keys": "25", "tracking_total_items": "26", "tracking_total_prefixes": "27",
	}
	fields := infoStats(nil, nil, s)
	for _, f := range fields {
		if got := fmt.Sprint(f.value); got != want[f.name] {
			t.Errorf("%s is %s, want %q", f.name, got, want[f.name])
		}
	}
	if len(fields) != len(want) {
		t.Errorf("got %d fields, want %d", len(fields), len(want))
	}
}
