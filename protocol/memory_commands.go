package protocol

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// memoryUsage writes roughly how many bytes a key and its value use. SAMPLES has no effect.
func memoryUsage(c *call, k *keyAccess) {
	for i := 3; i < len(c.args); i += 2 {
		if c.option(i) != "SAMPLES" || i+1 == len(c.args) {
			c.replies.Error(errSyntax)
			return
		}
		switch n, ok := resp.ParseInt(c.arg(i + 1)); {
		case !ok:
			c.replies.Error(errInteger)
			return
		case n < 0:
			c.replies.Error(errSyntax)
			return
		}
	}
	entry := k.shard.Peek(c.arg(2))
	if entry == nil {
		c.replies.Null()
		return
	}
	defer entry.Release()
	c.replies.Int(entry.Footprint())
}

// memoryFacts is what MEMORY STATS, MEMORY DOCTOR and INFO memory show, in bytes.
type memoryFacts struct {
	used     int64 // by values, by commands and replies in transit, and by the program itself
	resident int64 // of the process
	buffers  int64 // part of used: buffers, rounding included
	idle     int64 // kept for further values
	clients  int64 // part of used: what clients sent and are sent, and their buffers
	stats    Stats
	m        runtime.MemStats
}

func (s *Server) memory() memoryFacts {
	f := memoryFacts{stats: s.Stats(), buffers: s.store.Memory().Buffers(), idle: s.pool.Idle() + s.clients.Idle()}
	f.used, f.clients = f.stats.UsedMemory, f.stats.ReplyBytes+f.stats.UploadBytes+f.stats.ClientBytes
	runtime.ReadMemStats(&f.m)
	f.resident, _ = memory.Process()
	if f.resident == 0 {
		f.resident = f.used + f.idle
	}
	return f
}

func memoryStats(c *call, s *Server) {
	f := s.memory()
	keys, values := int64(f.stats.Store.Keys), f.stats.ValueBytes
	perKey := int64(0)
	if keys > 0 {
		perKey = values / keys
	}
	w := c.replies
	fields := []struct {
		name  string
		value int64
	}{
		{"peak.allocated", s.store.Memory().Peak()},
		{"total.allocated", f.used},
		{"clients.normal", f.clients},
		{"uploads.bytes", f.stats.UploadBytes},
		{"replies.bytes", f.stats.ReplyBytes},
		{"keys.count", keys},
		{"keys.bytes-per-key", perKey},
		{"dataset.bytes", values},
		{"buffers.allocated", f.buffers},
		{"buffers.idle", f.idle},
		{"heap.inuse", int64(f.m.HeapInuse)},
		{"heap.idle", int64(f.m.HeapIdle - f.m.HeapReleased)},
		{"stacks", int64(f.m.StackInuse)},
		{"allocator.resident", f.resident},
		{"gc.cycles", int64(f.m.NumGC)},
	}
	w.Map(len(fields))
	for _, field := range fields {
		w.Text(field.name)
		w.Int(field.value)
	}
}

// memoryDoctor describes what looks wrong.
func memoryDoctor(c *call, s *Server) {
	f := s.memory()
	var findings []string
	if f.stats.ReplyBytes > 256<<20 {
		findings = append(findings, fmt.Sprintf("%s of replies wait for clients that do not read them: see omem in CLIENT LIST.", human(uint64(f.stats.ReplyBytes))))
	}
	if limit := s.budget.Limit(); f.stats.UploadBytes > limit/2 {
		findings = append(findings, fmt.Sprintf("%s of %s for uploads are in use: many large arrays arrive at once, or slowly.", human(uint64(f.stats.UploadBytes)), human(uint64(limit))))
	}
	if f.resident > f.used+f.used/4+256<<20 {
		findings = append(findings, fmt.Sprintf("The process holds %s and uses %s: MEMORY PURGE returns idle memory to the system.", human(uint64(f.resident)), human(uint64(f.used))))
	}
	if limit := s.store.Memory().Config().Limit; limit > 0 && f.used > limit {
		findings = append(findings, fmt.Sprintf("%s are used, more than maxmemory (%s).", human(uint64(f.used)), human(uint64(limit))))
	}
	if findings == nil {
		findings = []string{"Nothing looks wrong with this node's memory."}
	}
	c.replies.Verbatim(strings.Join(findings, "\n") + "\n")
}

// memoryPurge returns idle memory to the system.
func memoryPurge(c *call, store *shard.Store) {
	store.Trim(true)
	c.replies.OK()
}

var errNoLFU = errors.New("An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime " +
	"LRU and LFU data will take some time to adjust.")

// object returns the handler of a command that inspects a key without accessing it.
func object(answer func(*call, *keyAccess, *shard.Entry)) onKeys {
	return func(c *call, k *keyAccess) {
		entry := k.shard.Peek(c.arg(2))
		if entry == nil {
			c.replies.Null()
			return
		}
		defer entry.Release()
		answer(c, k, entry)
	}
}

var (
	objectEncoding = object(func(c *call, _ *keyAccess, _ *shard.Entry) { c.replies.Text("npy") })
	objectIdleTime = object(func(c *call, k *keyAccess, e *shard.Entry) { c.replies.Int(e.Idle(k.store.Now())) })
	objectFreq     = object(func(c *call, k *keyAccess, e *shard.Entry) {
		config := k.store.Memory().Config()
		if !config.Policy.LFU() {
			c.replies.Error(errNoLFU)
			return
		}
		c.replies.Int(e.Freq(config, k.store.Now()))
	})
)
