package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// pipes is a bus whose streams are pipes. The test has the far ends.
type pipes struct {
	Bus
	far chan net.Conn
}

func (p *pipes) Dial(context.Context, Target) (net.Conn, error) {
	near, far := net.Pipe()
	p.far <- far
	return near, nil
}

func newTestStreamLayer(t *testing.T, bus Bus) *streamLayer {
	s := newStreamLayer(bus, serverID(testConfig(t, "a", 0).Self.ID, testConfig(t, "a", 0).Self.Store),
		func(topology.NodeID) (string, bool) { return "there", true }, func(chan<- struct{}) func() { return func() {} })
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *streamLayer) isMuted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.muted
}

// Muting a node closes its streams, and it opens none until it is unmuted.
func TestMutedNodeHasNoStreams(t *testing.T) {
	t.Parallel()
	bus := &pipes{far: make(chan net.Conn, 10)}
	s, other := newTestStreamLayer(t, bus), testConfig(t, "b", 0).Self
	dial := func() (net.Conn, error) {
		conn, _, err := s.dialOnce(t.Context(), other.ID, other.Store, rpcTimeout)
		return conn, err
	}
	if _, err := dial(); err != nil {
		t.Fatal(err)
	}
	far := within(t, bus.far)
	s.mute(true)
	received := make(chan error, 1)
	go func() {
		_, err := far.Read(make([]byte, 1))
		received <- err
	}()
	if err := within(t, received); !errors.Is(err, io.EOF) {
		t.Errorf("the other end of a stream gets %v", err)
	}
	if _, err := dial(); !errors.Is(err, errMuted) {
		t.Errorf("a muted node opens a stream: %v", err)
	}
	s.mute(false)
	if _, err := dial(); err != nil {
		t.Errorf("unmuted: %v", err)
	}
}

// hangingLog is a log whose writes hang until goOn is closed.
type hangingLog struct {
	*raft.InmemStore
	goOn chan struct{}
}

func (h *hangingLog) StoreLogs(entries []*raft.Log) error {
	<-h.goOn
	return h.InmemStore.StoreLogs(entries)
}

// A node is muted while its disk hangs.
func TestHungDiskMutesTheStreams(t *testing.T) {
	t.Parallel()
	s := newTestStreamLayer(t, &pipes{far: make(chan net.Conn, 10)})
	kept, hanging := memoryStores(nil), &hangingLog{InmemStore: raft.NewInmemStore(), goOn: make(chan struct{})}
	kept.logs = hanging
	opened := make(chan error, 1)
	var a *consensus
	go func() { // its first write is the bootstrap of the log
		var err error
		a, err = openConsensus(s.local, kept, []server{{ID: s.local, Voter: true}}, s, newFSM(func(*topology.Topology) {}), testConfig(t, "a", 0).Timing.withDefaults(), testLog(t, "a"))
		opened <- err
	}()
	eventually(t, "the node is muted", s.isMuted)
	close(hanging.goOn)
	if err := within(t, opened); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is unmuted", func() bool { return !s.isMuted() })
	if err := a.close(); err != nil {
		t.Error(err)
	}
}

// damagedLog is a log that can be neither read nor written.
type damagedLog struct{ raft.LogStore }

func (damagedLog) GetLog(uint64, *raft.Log) error {
	return &damagedError{"raft.db", boltDamage("a page")}
}

func (damagedLog) StoreLogs([]*raft.Log) error {
	return &damagedError{"raft.db", boltDamage("a page")}
}

// Raft gets the error of a failed write, since it then answers the pending proposals. The node is
// muted.
func TestDamagedLogFailsProposals(t *testing.T) {
	t.Parallel()
	muted := make(chan bool, 1)
	w := &stallDetectingLog{LogStore: damagedLog{}, limit: stallLimit, mute: func(yes bool) { muted <- yes }, log: testLog(t, "a")}
	answered := make(chan error, 1)
	go func() { answered <- w.StoreLog(new(raft.Log)) }()
	if !within(t, muted) {
		t.Error("the node is not muted")
	}
	var damaged *damagedError
	if err := within(t, answered); !errors.As(err, &damaged) {
		t.Errorf("raft gets %v", err)
	}
}

// An unreadable entry does not end the process: raft's goroutine waits until the node closes, and
// the node is muted.
func TestUnreadableLogMutesTheNode(t *testing.T) {
	t.Parallel()
	muted, ended, gone := make(chan bool, 1), make(chan struct{}), make(chan bool, 1)
	w := &stallDetectingLog{LogStore: damagedLog{}, limit: stallLimit, closing: ended, mute: func(yes bool) { muted <- yes }, log: testLog(t, "a")}
	go func() {
		defer close(gone)
		w.GetLog(1, new(raft.Log))
		gone <- true
	}()
	if !within(t, muted) {
		t.Error("the node is not muted")
	}
	close(ended)
	if within(t, gone) {
		t.Error("raft got the error, which would end the process")
	}
}
