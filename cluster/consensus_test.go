package cluster

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/hashicorp/raft"
)

// crashingStore fails every write after the first left ones.
type crashingStore struct {
	*raft.InmemStore
	left int
}

var errCrashed = errors.New("crashed")

func (h *crashingStore) write(do func() error) error {
	if h.left--; h.left < 0 {
		return errCrashed
	}
	return do()
}

func (h *crashingStore) StoreLog(l *raft.Log) error {
	return h.write(func() error { return h.InmemStore.StoreLog(l) })
}

func (h *crashingStore) SetUint64(key []byte, n uint64) error {
	return h.write(func() error { return h.InmemStore.SetUint64(key, n) })
}

// A leader that steps down before the others would elect another only interrupts the cluster.
func TestLeaderLeaseIsNotShorterThanAnElection(t *testing.T) {
	t.Parallel()
	config := raftConfig("a/s", Timing{}.withDefaults(), raftLogger(slog.New(slog.NewTextHandler(io.Discard, nil))), nil)
	if err := raft.ValidateConfig(config); err != nil {
		t.Fatal(err)
	}
	if config.LeaderLeaseTimeout < config.HeartbeatTimeout {
		t.Errorf("a lease of %v, and elections after %v", config.LeaderLeaseTimeout, config.HeartbeatTimeout)
	}
}

// Wherever a crash interrupts the bootstrap of the log, the next start has the servers in the log,
// once.
func TestCrashWhileTheLogIsBootstrapped(t *testing.T) {
	t.Parallel()
	config := raftConfig("a/s", Timing{}.withDefaults(), raftLogger(slog.New(slog.NewTextHandler(io.Discard, nil))), nil)
	first := raft.Configuration{Servers: []raft.Server{{ID: "a/s", Address: "a/s"}, {ID: "b/s", Address: "b/s"}}}
	_, transport := raft.NewInmemTransport("a/s")
	for writes := range 4 {
		store := &crashingStore{InmemStore: raft.NewInmemStore(), left: writes}
		snapshots := raft.NewInmemSnapshotStore()
		if err := bootstrapLog(config, store, store, snapshots, transport, first); (err != nil) != (writes < 2) {
			t.Fatalf("crash after %d writes: %v", writes, err)
		}
		for range 2 {
			store.left = 100
			if err := bootstrapLog(config, store, store, snapshots, transport, first); err != nil {
				t.Fatalf("crash after %d writes, next start: %v", writes, err)
			}
		}
		last, _ := store.LastIndex()
		term, _ := store.GetUint64([]byte("CurrentTerm"))
		probe := *config
		found, err := raft.GetConfiguration(&probe, newFSM(nil), store, store, snapshots, transport)
		if err != nil || len(found.Servers) != 2 || last != 1 || term != 1 {
			t.Errorf("crash after %d writes: servers %v, last entry %d, term %d, %v", writes, found.Servers, last, term, err)
		}
	}
}
