package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// simFault is a fault of a simulation.
type simFault struct {
	at          time.Duration // since the load began
	kind        string
	node, other int
	span        time.Duration // until it ends
	steps       int64         // of a kill: how many writes to disk or network the process still makes
}

func (f simFault) String() string {
	return fmt.Sprintf("%7.3f s  %-12s n%d (n%d) for %.3f s, %d steps", f.at.Seconds(), f.kind, f.node, f.other, f.span.Seconds(), f.steps)
}

// simKinds are the faults, how often each is chosen, and how long it lasts at most.
var simKinds = []struct {
	name   string
	weight int
	span   time.Duration
	always bool // only with appendfsync always
}{
	{"kill", 6, 2500 * time.Millisecond, false}, // the process is killed, and started again
	{"power", 3, 4 * time.Second, false},        // the machine loses its power
	{"kill all", 1, time.Second, false},         // all processes are killed
	{"blackout", 1, time.Second, true},          // all machines lose their power
	{"stop", 1, time.Second, false},             // an orderly stop
	{"freeze", 4, 3 * time.Second, false},       // nothing reaches the node or leaves it
	{"isolate", 3, 6 * time.Second, false},      // clients reach the node, other nodes do not
	{"deaf", 2, 5 * time.Second, false},         // nothing of the other nodes reaches the node
	{"mute", 2, 5 * time.Second, false},         // nothing of the node reaches the other nodes
	{"cut", 3, 6 * time.Second, false},          // two nodes cannot reach each other
	{"one-way cut", 3, 6 * time.Second, false},  // a node cannot reach another one
	{"EIO", 2, 2 * time.Second, false},          // half of what the disk is asked for fails
	{"ENOSPC", 2, 2 * time.Second, false},       // the disk is full
}

// planFaults makes the schedule of a seed. Faults may overlap.
func planFaults(r *rand.Rand, span time.Duration, always bool) (all []simFault) {
	sum := 0
	for _, k := range simKinds {
		sum += k.weight
	}
	for at := time.Second; at < span; at += time.Duration(r.Int64N(int64(3 * time.Second))) {
		n := r.IntN(sum)
		for _, k := range simKinds {
			if n -= k.weight; n >= 0 {
				continue
			}
			f := simFault{at: at, kind: k.name, node: r.IntN(simNodes), span: 20*time.Millisecond + time.Duration(r.Int64N(int64(k.span))), steps: 1 + r.Int64N(60)}
			f.other = (f.node + 1 + r.IntN(simNodes-1)) % simNodes
			if k.always && !always {
				f.kind = "kill all"
			}
			all = append(all, f)
			break
		}
	}
	return all
}

// dial connects the load to a node.
func (c *simCluster) dial(ctx context.Context, _, address string) (net.Conn, error) {
	return c.net.dial(ctx, c.client, address)
}

// apply carries out faults, and returns when all have ended.
func (c *simCluster) apply(faults []simFault) {
	began := time.Now()
	var active sync.WaitGroup
	for _, f := range faults {
		time.Sleep(time.Until(began.Add(f.at)))
		if f.kind == "EIO" || f.kind == "power" && !c.always {
			// The machine may lose what it has acknowledged, or shown: that is safe only while each shard has another clean copy.
			active.Wait()
			if c.awaitQuiet(20*time.Second) != nil {
				c.counted("skipped")
				continue
			}
			c.fault(f)
			_ = awaitNil(30*time.Second, c.healthy)
			continue
		}
		active.Go(func() { c.fault(f) })
	}
	active.Wait()
}

// fault carries out a fault, and returns when it has ended.
func (c *simCluster) fault(f simFault) {
	c.counted(f.kind)
	n, other := c.nodes[f.node], c.nodes[f.other]
	switch f.kind {
	case "kill", "power":
		n.crash(f.steps, f.kind == "power")
		time.Sleep(f.span)
		n.start()
	case "kill all", "blackout":
		var all sync.WaitGroup
		for _, n := range c.nodes {
			all.Go(func() { n.crash(f.steps, f.kind == "blackout") })
		}
		all.Wait()
		time.Sleep(f.span)
		for _, n := range c.nodes {
			n.start()
		}
	case "stop":
		n.restart(f.span)
	case "EIO":
		n.failing.Store(int32(syscall.EIO))
		time.Sleep(f.span)
		n.failing.Store(0)
		n.restart(0) // a log that has stopped goes on only then
	case "ENOSPC":
		n.full(true)
		time.Sleep(f.span)
		n.full(false)
	default:
		heal := c.net.cut(c.ways(f.kind, n, other))
		time.Sleep(f.span)
		heal()
	}
}

// crash ends the process of a node after some of its writes, or soon if it makes none.
func (n *simNode) crash(steps int64, power bool) {
	p := n.current()
	if p == nil {
		return
	}
	p.power.Store(power)
	p.armed.Store(steps)
	for range 10 {
		if time.Sleep(20 * time.Millisecond); p.dead.Load() {
			return
		}
	}
	n.end(p, power)
}

// restart stops the node in order, and starts it after a while.
func (n *simNode) restart(after time.Duration) {
	if p := n.current(); p != nil {
		p.stop()
		<-p.ended
	}
	time.Sleep(after)
	n.start()
}

// full fills the disk, or frees it again.
func (n *simNode) full(yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if yes {
		n.disk.SetFree(0)
	} else {
		n.disk.SetFree(1 << 50)
	}
}

// ways returns what a fault of the network cuts.
func (c *simCluster) ways(kind string, n, other *simNode) (all []simWay) {
	add := func(host string, to, from bool) {
		if to {
			all = append(all, simWay{host, n.host})
		}
		if from {
			all = append(all, simWay{n.host, host})
		}
	}
	switch kind {
	case "cut":
		add(other.host, true, true)
		return all
	case "one-way cut":
		add(other.host, false, true)
		return all
	case "freeze":
		add(c.client.host, true, true)
	}
	for _, o := range c.nodes {
		if o != n {
			add(o.host, kind != "mute", kind != "deaf")
		}
	}
	return all
}
