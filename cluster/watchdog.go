package cluster

import (
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// watchdog is raft's log with an eye on its disk. A leader whose write hangs would go on leading: its heartbeats come from another goroutine. So
// the node falls silent until the write is done, and the others elect one whose disk works.
type watchdog struct {
	raft.LogStore
	limit time.Duration
	hangs func(bool)
	log   *slog.Logger
}

const hungDisk = 2 * time.Second

// StoreLog implements raft.LogStore.
func (w *watchdog) StoreLog(entry *raft.Log) error { return w.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (w *watchdog) StoreLogs(entries []*raft.Log) error {
	began := time.Now()
	fired := make(chan struct{})
	timer := time.AfterFunc(w.limit, func() {
		w.log.Error("the disk hangs in a write to the log of the topology: this node falls silent until it is done")
		w.hangs(true)
		close(fired)
	})
	err := w.LogStore.StoreLogs(entries)
	if !timer.Stop() {
		<-fired
		w.log.Warn("the disk works again", "seconds", time.Since(began).Seconds())
		w.hangs(false)
	}
	return err
}
