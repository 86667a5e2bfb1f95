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

// pipes is a bus whose streamLayer are pipes, the far end of each of which the test has.
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

// A node that falls silent ends the streamLayer that it has, and opens none until it speaks again.
func TestASilentNodeHasNoStreams(t *testing.T) {
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
	heard := make(chan error, 1)
	go func() {
		_, err := far.Read(make([]byte, 1))
		heard <- err
	}()
	if err := within(t, heard); !errors.Is(err, io.EOF) {
		t.Errorf("the other end of a stream hears %v", err)
	}
	if _, err := dial(); !errors.Is(err, errMuted) {
		t.Errorf("a silent node opens a stream: %v", err)
	}
	s.mute(false)
	if _, err := dial(); err != nil {
		t.Errorf("it speaks again: %v", err)
	}
}

// hangingLog is a log whose writes hang until the test lets them go on.
type hangingLog struct {
	*raft.InmemStore
	goOn chan struct{}
}

func (h *hangingLog) StoreLogs(entries []*raft.Log) error {
	<-h.goOn
	return h.InmemStore.StoreLogs(entries)
}

// A node whose disk hangs is silent as long as it does.
func TestAHungDiskSilencesTheStreams(t *testing.T) {
	t.Parallel()
	s := newTestStreamLayer(t, &pipes{far: make(chan net.Conn, 10)})
	kept, hanging := memoryStores(), &hangingLog{InmemStore: raft.NewInmemStore(), goOn: make(chan struct{})}
	kept.logs = hanging
	opened := make(chan error, 1)
	var a *consensus
	go func() { // its first write is that of its servers
		var err error
		a, err = openConsensus(s.local, kept, []server{{ID: s.local, Voter: true}}, s, newFSM(func(*topology.Topology) {}), testConfig(t, "a", 0).Timing.withDefaults(), testLog(t, "a"))
		opened <- err
	}()
	eventually(t, "the node is silent", s.isMuted)
	close(hanging.goOn)
	if err := within(t, opened); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node speaks again", func() bool { return !s.isMuted() })
	if err := a.close(); err != nil {
		t.Error(err)
	}
}

// damagedLog is a log that cannot be read.
type damagedLog struct{ raft.LogStore }

func (damagedLog) GetLog(uint64, *raft.Log) error {
	return &damagedError{"raft.db", boltDamage("a page")}
}

// StoreLogs fails for a log that is damaged.
func (damagedLog) StoreLogs([]*raft.Log) error {
	return &damagedError{"raft.db", boltDamage("a page")}
}

// Raft is told of a log that cannot be written, since it answers the proposals under way then. The node is silent.
func TestALogThatCannotBeWrittenAnswersProposals(t *testing.T) {
	t.Parallel()
	told := make(chan bool, 1)
	w := &stallDetectingLog{LogStore: damagedLog{}, limit: stallLimit, mute: func(yes bool) { told <- yes }, log: testLog(t, "a")}
	answered := make(chan error, 1)
	go func() { answered <- w.StoreLog(new(raft.Log)) }()
	if !within(t, told) {
		t.Error("the node speaks")
	}
	var damaged *damagedError
	if err := within(t, answered); !errors.As(err, &damaged) {
		t.Errorf("raft hears %v", err)
	}
}

// What raft cannot read ends nothing: its goroutine waits for the end, and the node is silent.
func TestALogThatCannotBeReadSilencesTheNode(t *testing.T) {
	t.Parallel()
	told, ended, gone := make(chan bool, 1), make(chan struct{}), make(chan bool, 1)
	w := &stallDetectingLog{LogStore: damagedLog{}, limit: stallLimit, closing: ended, mute: func(yes bool) { told <- yes }, log: testLog(t, "a")}
	go func() {
		defer close(gone)
		w.GetLog(1, new(raft.Log))
		gone <- true
	}()
	if !within(t, told) {
		t.Error("the node speaks")
	}
	close(ended)
	if within(t, gone) {
		t.Error("raft was given the error, at which it would end the process")
	}
}
