package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/bench/clusters"
)

// replicated is a running cluster of some system.
type replicated struct {
	*clusters.Cluster
	name   string
	prefix string // of the names of SET and GET
	copies int    // that each shard has
	wait   bool   // send WAIT 1 after the SETs of a pipeline

	served  []nodeKeys
	memory  float64 // of all processes, per stored byte
	between float64 // bytes that servers sent to servers, per stored byte
}

// nodeKeys is a node with the keys that it serves.
type nodeKeys struct {
	process *process // only to dial it
	keys    []int
}

// locate finds out which node serves which key.
func (r *replicated) locate(a *array) error {
	v, err := r.View()
	if err != nil {
		return err
	}
	byNode := map[string][]int{}
	for i := range a.keys {
		primary, _ := v.Of(clusters.Slot(string(a.key(nil, i))))
		byNode[primary] = append(byNode[primary], i)
	}
	r.served = nil
	for _, n := range r.Nodes {
		if keys := byNode[n.Name]; len(keys) > 0 {
			p := &process{kind: kind{name: r.name, prefix: r.prefix}, addr: n.Addr}
			r.served = append(r.served, nodeKeys{p, keys})
		}
	}
	return nil
}

// dial connects clients to the nodes in turn. Each uses only the keys of its node, as a client of a
// cluster does with each of its connections.
func (r *replicated) dial(a *array, n int) (clients []*client, err error) {
	for i := range n {
		node := r.served[i%len(r.served)]
		c, err := node.process.dial(a)
		if err != nil {
			return clients, err
		}
		c.own, c.wait = node.keys, r.wait
		clients = append(clients, c)
	}
	return clients, nil
}

func closeAll(clients []*client) {
	for _, c := range clients {
		c.Close()
	}
}

// cpu returns the processor time of all processes.
func (r *replicated) cpu() (sum time.Duration) {
	for _, n := range r.Nodes {
		sum += n.CPU()
	}
	return sum
}

func (r *replicated) use() (resident, written int64) {
	for _, n := range r.Nodes {
		resident, written = resident+n.Resident(), written+n.Written()
	}
	return resident, written
}

// settle is how long idle processes may take to send the last bytes to each other.
const settle = 500 * time.Millisecond

// fill stores all keys, and measures the memory and the traffic between the servers that this takes: what
// all processes wrote, without their replies. With a log that includes the disk.
func (r *replicated) fill(a *array) error {
	if err := r.locate(a); err != nil {
		return err
	}
	resident, written := r.use()
	clients, err := r.dial(a, len(r.served))
	defer closeAll(clients)
	if err != nil {
		return err
	}
	errs, replies := make([]error, len(clients)), make([]int64, len(clients))
	var group sync.WaitGroup
	for i, c := range clients {
		group.Go(func() {
			for part := range slices.Chunk(c.own, 64) {
				if errs[i] = c.sets(part); errs[i] != nil {
					return
				}
				replies[i] += int64(len(part) * len("+OK\r\n"))
				if c.wait {
					replies[i] += int64(len(":1\r\n"))
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	time.Sleep(settle)
	residentNow, writtenNow := r.use()
	for _, n := range replies {
		writtenNow -= n
	}
	stored := float64(len(a.file)) * float64(a.keys)
	r.memory, r.between = float64(residentNow-resident)/stored, float64(writtenNow-written)/stored
	return nil
}
