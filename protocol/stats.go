package protocol

import (
	"strings"
	"sync/atomic"

	"github.com/ndring/ndring/protocol/tracking"
	"github.com/ndring/ndring/shard"
)

// countError counts an error reply by its prefix. There are few prefixes.
func (s *Server) countError(text string) {
	prefix, _, _ := strings.Cut(text, " ")
	s.counters.errors.Add(1)
	s.statistics.mu.Lock()
	defer s.statistics.mu.Unlock()
	s.statistics.errors[prefix]++
}

// resetStats resets all totals to zero.
func (s *Server) resetStats() {
	c := &s.counters
	for _, counter := range []*atomic.Int64{
		&c.connections, &c.rejected, &c.denied, &c.authFailures, &c.commands, &c.errors, &c.panics, &c.protocolErrors, &c.bytesIn, &c.bytesOut,
		&c.denyOOM, &c.idleTimeouts, &c.uploadStalls, &c.slowUploads, &c.busyUploads, &c.replyStalls, &c.outputLimits, &c.handshakeFailures,
	} {
		counter.Store(0)
	}
	for i := range s.statistics.commands {
		stat := &s.statistics.commands[i]
		for _, counter := range []*atomic.Int64{&stat.calls, &stat.nanoseconds, &stat.rejected, &stat.failed} {
			counter.Store(0)
		}
		for class := range stat.latency {
			stat.latency[class].Store(0)
		}
	}
	for i := range s.statistics.slots {
		slot := &s.statistics.slots[i]
		for _, counter := range []*atomic.Int64{&slot.nanoseconds, &slot.bytesIn, &slot.bytesOut} {
			counter.Store(0)
		}
	}
	s.statistics.mu.Lock()
	clear(s.statistics.errors)
	s.statistics.mu.Unlock()
	s.store.ResetStats()
}

// Stats are the counters of a server. Totals begin at the start or at CONFIG RESETSTAT.
type Stats struct {
	Clients                                         int
	Connections, Rejected, Commands, Errors, Panics int64
	ProtocolErrors, Denied, AuthFailures            int64
	IdleTimeouts, UploadStalls, SlowUploads         int64
	BusyUploads, ReplyStalls, OutputLimits          int64
	DeniedOOM, HandshakeFailures                    int64
	BytesIn, BytesOut                               int64
	UploadBytes                                     int64 // of commands that are being read, now
	ReplyBytes                                      int64 // of replies that wait for clients, now
	ValueBytes                                      int64 // in buffers: stored, being read or being sent, now
	ClientBytes                                     int64 // in buffers: what clients sent, without arrays, now
	UsedMemory, MaxMemory                           int64 // of the process, now
	MaxClients                                      int
	Tracking                                        tracking.Sizes
	Store                                           shard.Stats
}

// Commands returns how many commands were processed.
func (s *Server) Commands() int64 { return s.counters.commands.Load() }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	clients := s.connections.count()
	c := &s.counters
	return Stats{
		ClientBytes: s.clients.Allocated(), UsedMemory: s.store.Memory().Used(), MaxMemory: s.store.Memory().Config().Limit, MaxClients: s.config.Load().MaxClients,
		Clients: clients, Connections: c.connections.Load(), Rejected: c.rejected.Load(),
		Commands: c.commands.Load(), Errors: c.errors.Load(), Panics: c.panics.Load(), ProtocolErrors: c.protocolErrors.Load(),
		Denied: c.denied.Load(), AuthFailures: c.authFailures.Load(),
		IdleTimeouts: c.idleTimeouts.Load(), UploadStalls: c.uploadStalls.Load(), SlowUploads: c.slowUploads.Load(),
		BusyUploads: c.busyUploads.Load(), ReplyStalls: c.replyStalls.Load(), OutputLimits: c.outputLimits.Load(),
		DeniedOOM: c.denyOOM.Load(), HandshakeFailures: c.handshakeFailures.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		UploadBytes: s.budget.Used(), ReplyBytes: s.output.Waiting(), ValueBytes: s.pool.Bytes(), Tracking: s.tracker.sizes(), Store: s.store.Stats(),
	}
}
