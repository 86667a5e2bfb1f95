package cluster

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/hashicorp/raft"
)

// halting is a store whose process ends before its nth write.
type halting struct {
	*raft.InmemStore
	left int
}

var errHalted = errors.New("the process has ended")

func (h *halting) write(do func() error) error {
	if h.left--; h.left < 0 {
		return errHalted
	}
	return do()
}

func (h *halting) StoreLog(l *raft.Log) error {
	return h.write(func() error { return h.InmemStore.StoreLog(l) })
}

func (h *halting) SetUint64(key []byte, n uint64) error {
	return h.write(func() error { return h.InmemStore.SetUint64(key, n) })
}

// Wherever the process ends while the log begins, the next start has the servers in it, once.
func TestALogThatBeganHalf(t *testing.T) {
	t.Parallel()
	config := raftConfig("a/s", Timing{}.withDefaults(), raftLogger(slog.New(slog.NewTextHandler(io.Discard, nil))), nil)
	first := raft.Configuration{Servers: []raft.Server{{ID: "a/s", Address: "a/s"}, {ID: "b/s", Address: "b/s"}}}
	_, transport := raft.NewInmemTransport("a/s")
	for writes := range 4 {
		store := &halting{InmemStore: raft.NewInmemStore(), left: writes}
		snapshots := raft.NewInmemSnapshotStore()
		if err := bootstrapLog(config, store, store, snapshots, transport, first); (err != nil) != (writes < 2) {
			t.Fatalf("the process ends after %d writes: %v", writes, err)
		}
		for range 2 {
			store.left = 100
			if err := bootstrapLog(config, store, store, snapshots, transport, first); err != nil {
				t.Fatalf("%d writes: the next start: %v", writes, err)
			}
		}
		last, _ := store.LastIndex()
		term, _ := store.GetUint64([]byte("CurrentTerm"))
		probe := *config
		found, err := raft.GetConfiguration(&probe, newFSM(nil), store, store, snapshots, transport)
		if err != nil || len(found.Servers) != 2 || last != 1 || term != 1 {
			t.Errorf("%d writes: servers %v, last entry %d, term %d, %v", writes, found.Servers, last, term, err)
		}
	}
}
