package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Histories lets many writers work on few keys, records what each operation was answered and when, and checks that
// the cluster behaves like one node that executes one operation after another (linearizability). Run, FinalReads and
// Check follow each other; Run may run again before the others.
//
// Its writers repeat nothing whose outcome is unknown, except under the same REQID within requestTime.
//
// Deadlines are either short or never come. A key with a short one may expire from the earliest moment at which it can
// on, has to be gone after the latest, and in between a reply decides (see keyState).
type Histories struct {
	Addrs  []string // of nodes, of which some may be dead
	Dial   Dial     // connects to nodes; a net.Dialer by default
	Seed   uint64   // of what the writers do
	Prefix string   // of all keys; by default made from Seed. Two loads on one cluster need two

	Writers int           // 16 by default
	Pause   time.Duration // of a writer after each operation; 0: none
	Groups  int           // groups of keys in use at a time; by default half of Writers

	Operations int // of a group, 400 by default; then it retires
	Unknown    int // writes to a group whose outcome is unknown, 3 by default; then it retires

	Timeout      time.Duration // for a reply, 3 s by default; then the outcome is unknown
	Slack        time.Duration // by which the clocks of nodes may differ, 250 ms by default
	CheckTimeout time.Duration // for one group, 20 s by default; then it is reported as undecided
	Folder       string        // gets a page with a picture of each violation; "" for none

	// EachNode adds a reader for each of Addrs that asks this node alone, whoever serves the keys. The others follow the node that
	// served last, so without it they may never ask a deposed primary that still answers.
	EachNode bool

	ReadOnly atomic.Bool // the writers only read

	begun time.Time
	once  sync.Once
	value atomic.Uint64 // the last value that a write was given

	mu       sync.Mutex // guards all below
	all      []*group
	current  []*group // one for each of Groups
	finished []*group // retired, and not checked yet
	report   Report
}

// Dial opens a connection, as net.Dialer's DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// ErrViolation is returned by Run when a check has found a violation. Check reports it.
var ErrViolation = errors.New("a history is not linearizable")

func byDefault[T int | time.Duration](n *T, value T) {
	if *n <= 0 {
		*n = value
	}
}

// begin sets what is not set.
func (h *Histories) begin() {
	h.once.Do(func() {
		h.begun = time.Now()
		byDefault(&h.Writers, 16)
		byDefault(&h.Groups, (h.Writers+1)/2)
		byDefault(&h.Operations, 400)
		byDefault(&h.Unknown, 3)
		byDefault(&h.Timeout, 3*time.Second)
		byDefault(&h.Slack, 250*time.Millisecond)
		byDefault(&h.CheckTimeout, 20*time.Second)
		if h.Dial == nil {
			h.Dial = new(net.Dialer).DialContext
		}
		if h.Prefix == "" {
			h.Prefix = fmt.Sprintf("h%x", h.Seed)
		}
		h.report = Report{Seed: h.Seed, Counts: map[string]Counts{}}
		h.current = make([]*group, h.Groups)
	})
}

func (h *Histories) now() int64 { return int64(time.Since(h.begun)) }

func (h *Histories) model() model { return model{int64(h.Slack)} }

func (h *Histories) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(h.Seed, stream)) }

func (h *Histories) client(r *rand.Rand) *client {
	return newClient(h.Addrs, h.Dial, h.Timeout, r, h.strange)
}

// checkers is the number of goroutines that check finished groups while the load runs.
const checkers = 2

// Run reads and writes until the context ends, and checks finished groups meanwhile. It returns nil then, or
// ErrViolation as soon as a check has found one.
func (h *Histories) Run(ctx context.Context) error {
	if len(h.Addrs) == 0 {
		return errors.New("no address of a node")
	}
	h.begin()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var working sync.WaitGroup
	for id := range h.Writers {
		working.Go(func() { h.write(ctx, id) })
	}
	for id := range checkers {
		working.Go(func() {
			if h.checkFinished(ctx, h.random(uint64(h.Writers+id))) {
				stop()
			}
		})
	}
	if h.EachNode {
		for i := range h.Addrs {
			working.Go(func() { h.readAt(ctx, i) })
		}
	}
	working.Wait()
	if h.violated() {
		return fmt.Errorf("%w (seed %d)", ErrViolation, h.Seed)
	}
	return nil
}

// write is one writer.
func (h *Histories) write(ctx context.Context, id int) {
	r := h.random(uint64(id))
	c := h.client(r)
	defer c.close()
	defer context.AfterFunc(ctx, c.abort)()
	w := &writer{h: h, id: id, random: r, client: c}
	for ctx.Err() == nil {
		g := h.enter(r)
		if g == nil { // all are busy
			time.Sleep(100 * time.Microsecond)
			continue
		}
		err := w.work(ctx, g)
		if g.leave(h.Operations, h.Unknown) {
			h.finish(g)
		}
		time.Sleep(h.Pause)
		if err != nil {
			time.Sleep(time.Duration(5+r.IntN(10)) * time.Millisecond)
		}
	}
}

// readPause is the time between two reads of a reader that asks one node alone. Most nodes only redirect it.
const readPause = 4 * time.Millisecond

// readers is the client number of the first reader that asks one node alone. Writers have smaller numbers.
const readers = 1000

// readAt reads single keys at one node until the context ends. It keeps what the node answers, and forgets redirects and refusals.
func (h *Histories) readAt(ctx context.Context, node int) {
	r := h.random(readers + uint64(node))
	c := h.client(r)
	defer c.close()
	defer context.AfterFunc(ctx, c.abort)()
	w := &writer{h: h, id: readers + node, random: r, client: c}
	for ; ctx.Err() == nil; time.Sleep(readPause) {
		g := h.enter(r)
		if g == nil {
			continue
		}
		o := &operation{client: w.id, node: h.Addrs[node], commands: []command{{kind: get, key: uint8(r.IntN(keysPerGroup))}}, call: h.now()}
		answers, err := c.round(ctx, o.node, appendCommand(nil, o.commands[0].args(g, "")...), 1)
		if err == nil {
			err = c.failure(answers[0])
		}
		if err == nil {
			w.record(g, o, answers, nil)
		} else {
			g.uncount()
		}
		if g.leave(h.Operations, h.Unknown) {
			h.finish(g)
		}
	}
}

// enter returns a group in which the caller may begin an operation, or nil.
func (h *Histories) enter(r *rand.Rand) *group {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := r.IntN(len(h.current))
	for n := range h.current {
		g := &h.current[(first+n)%len(h.current)]
		if *g == nil {
			*g = h.newGroup(r)
		}
		ok, retired := (*g).enter()
		if retired {
			*g = h.newGroup(r)
			ok, _ = (*g).enter()
		}
		if ok {
			return *g
		}
	}
	return nil
}

// newGroup makes a group. The caller holds mu.
func (h *Histories) newGroup(r *rand.Rand) *group {
	g := &group{tag: fmt.Sprintf("%s-%d", h.Prefix, len(h.all)), expiring: r.IntN(3) == 0}
	h.all = append(h.all, g)
	return g
}

// finish hands a group to the checkers.
func (h *Histories) finish(g *group) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.finished = append(h.finished, g)
}

// nextFinished returns a group to check, or nil.
func (h *Histories) nextFinished() *group {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.finished) == 0 {
		return nil
	}
	g := h.finished[0]
	h.finished = h.finished[1:]
	return g
}

// checkFinished reads and checks finished groups until the context ends, and forgets the histories that are right. It
// returns true if it has found a violation.
func (h *Histories) checkFinished(ctx context.Context, r *rand.Rand) (violated bool) {
	c := h.client(r)
	defer c.close()
	defer context.AfterFunc(ctx, c.abort)()
	w := &writer{h: h, id: h.Writers, random: r, client: c}
	for ctx.Err() == nil {
		g := h.nextFinished()
		if g == nil {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		read := w.read(ctx, g, true, closingRead())
		if read == nil {
			h.finish(g) // later
			time.Sleep(2 * time.Millisecond)
			continue
		}
		if h.check(g) {
			g.settle(h.model(), read)
		} else if h.violated() {
			return true
		}
	}
	return false
}

// FinalReads reads all keys that were ever used, once all short deadlines have passed, so that it finds keys that should be
// gone. It returns an error if the context ends before all have answered.
func (h *Histories) FinalReads(ctx context.Context) error {
	h.begin()
	select {
	case <-time.After(time.Duration(longestOfMS*millisecond) + 2*h.Slack):
	case <-ctx.Done():
	}
	h.mu.Lock()
	all := append([]*group(nil), h.all...)
	h.mu.Unlock()
	var next, failed atomic.Int64
	var working sync.WaitGroup
	for id := range min(8, len(all)) {
		working.Go(func() {
			r := h.random(uint64(h.Writers + checkers + id))
			c := h.client(r)
			defer c.close()
			defer context.AfterFunc(ctx, c.abort)()
			w := &writer{h: h, id: h.Writers + 1 + id, random: r, client: c}
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				all[i].retire()
				for w.read(ctx, all[i], true, closingRead()) == nil {
					if ctx.Err() != nil {
						failed.Add(1)
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	working.Wait()
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d of %d groups of keys did not answer: %w", n, len(all), ctx.Err())
	}
	return nil
}
