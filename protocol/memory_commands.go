package protocol

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// memoryUsage answers about how many bytes a key and its value take. SAMPLES is accepted: an array has no parts to sample.
func memoryUsage(c *call) {
	for i := 3; i < len(c.args); i += 2 {
		if c.option(i) != "SAMPLES" || i+1 == len(c.args) {
			c.replies.Error(errSyntax)
			return
		}
		switch n, ok := parseInt(c.arg(i + 1)); {
		case !ok:
			c.replies.Error(errInteger)
			return
		case n < 0:
			c.replies.Error(errSyntax)
			return
		}
	}
	entry := c.shard.Peek(c.arg(2))
	if entry == nil {
		c.replies.Null()
		return
	}
	defer entry.Release()
	c.replies.Int(entry.Footprint(len(c.arg(2))))
}

// memoryFacts is what MEMORY STATS, MEMORY DOCTOR and INFO memory tell, in bytes.
type memoryFacts struct {
	resident uint64 // what the process has from the system
	heap     uint64 // of it, in use by Go objects, values included
	stats    Stats
	m        runtime.MemStats
}

func (c *call) memory() memoryFacts {
	f := memoryFacts{stats: c.server.Stats()}
	runtime.ReadMemStats(&f.m)
	f.resident = f.m.Sys - f.m.HeapReleased
	f.heap = f.m.HeapAlloc
	return f
}

func memoryStats(c *call) {
	f := c.memory()
	keys, values := int64(f.stats.Store.Keys), f.stats.ValueBytes
	perKey := int64(0)
	if keys > 0 {
		perKey = values / keys
	}
	w := &c.replies
	fields := []struct {
		name  string
		value int64
	}{
		{"total.allocated", int64(f.heap)},
		{"clients.normal", f.stats.ReplyBytes + f.stats.UploadBytes},
		{"uploads.bytes", f.stats.UploadBytes},
		{"replies.bytes", f.stats.ReplyBytes},
		{"keys.count", keys},
		{"keys.bytes-per-key", perKey},
		{"dataset.bytes", values},
		{"heap.inuse", int64(f.m.HeapInuse)},
		{"heap.idle", int64(f.m.HeapIdle - f.m.HeapReleased)},
		{"stacks", int64(f.m.StackInuse)},
		{"allocator.resident", int64(f.resident)},
		{"gc.cycles", int64(f.m.NumGC)},
	}
	w.Map(len(fields))
	for _, field := range fields {
		w.Text(field.name)
		w.Int(field.value)
	}
}

// memoryDoctor says in words what looks wrong.
func memoryDoctor(c *call) {
	f := c.memory()
	var findings []string
	if f.stats.ReplyBytes > 256<<20 {
		findings = append(findings, fmt.Sprintf("%s of replies wait for clients that do not read them: CLIENT LIST shows them by omem.", human(uint64(f.stats.ReplyBytes))))
	}
	if limit := c.server.budget.Limit(); f.stats.UploadBytes > limit/2 {
		findings = append(findings, fmt.Sprintf("%s of %s for uploads are taken: many large arrays arrive at once, or slowly.", human(uint64(f.stats.UploadBytes)), human(uint64(limit))))
	}
	if values := uint64(f.stats.ValueBytes); f.resident > 2*values+256<<20 {
		findings = append(findings, fmt.Sprintf("The process has %s from the system for %s of values: MEMORY PURGE gives back what is idle.", human(f.resident), human(values)))
	}
	if findings == nil {
		findings = []string{"Nothing looks wrong with this node's memory."}
	}
	c.replies.Verbatim(strings.Join(findings, "\n") + "\n")
}

// memoryPurge gives back to the system what no value and no client needs.
func memoryPurge(c *call) {
	debug.FreeOSMemory()
	c.replies.OK()
}

var errNoLFU = errors.New("An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime " +
	"LRU and LFU data will take some time to adjust.")

// object makes the handler of a command that answers a fact of a key without using it, or null.
func object(answer func(*call, int64)) func(*call) {
	return func(c *call) {
		entry := c.shard.Peek(c.arg(2))
		if entry == nil {
			c.replies.Null()
			return
		}
		defer entry.Release()
		answer(c, entry.Idle(c.server.store.Now()))
	}
}

var (
	objectEncoding = object(func(c *call, _ int64) { c.replies.Text("npy") })
	objectFreq     = object(func(c *call, _ int64) { c.replies.Error(errNoLFU) })
	objectIdleTime = object(func(c *call, idle int64) { c.replies.Int(idle) })
)
