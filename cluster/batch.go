package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

const (
	batchTime  = 5 * time.Millisecond // for which proposals wait for others
	maxBatch   = 1024                 // ops in a command that has several proposals
	batchBytes = 512 << 10            // of such a command
)

// batcher puts the proposals of a few milliseconds into one command: one death makes many shards
// propose at once, and each entry of the log costs every voter a sync. A proposal that follows a
// pause goes out at once, so a single one does not wait.
type batcher struct {
	send func(command []byte) (committed, error) // gets one command committed

	mu      sync.Mutex  // guards all below
	queue   []*proposal // not sent yet
	running bool        // a goroutine sends the queue
	sent    time.Time   // when the last command went out
}

// proposal is a command that waits to be sent with others. Its ops stay encoded: the merged command
// keeps fields that this version does not know.
type proposal struct {
	fields map[string]json.RawMessage // of the command, without its ops
	ops    []json.RawMessage
	size   int           // of the encoded command
	done   chan struct{} // closed after result and err are set
	result committed
	err    error
}

// newProposal refuses a command that no node could apply: it would take those with it that are sent in the same command.
func newProposal(command []byte) (*proposal, error) {
	p := &proposal{size: len(command), done: make(chan struct{})}
	if _, err := topology.DecodeCommand(command); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(command, &p.fields); err != nil {
		return nil, fmt.Errorf("cannot decode the command: %w", err)
	}
	if err := json.Unmarshal(p.fields["ops"], &p.ops); err != nil {
		return nil, fmt.Errorf("cannot decode the operations of the command: %w", err)
	}
	delete(p.fields, "ops")
	return p, nil
}

// joins reports whether a proposal may be part of a command that begins with the proposal first and
// has so many ops and bytes already.
func (p *proposal) joins(first *proposal, ops, size int) bool {
	if ops+len(p.ops) > maxBatch || size+p.size > batchBytes || len(p.fields) != len(first.fields) {
		return false
	}
	for name, value := range p.fields {
		if other, ok := first.fields[name]; !ok || !bytes.Equal(value, other) {
			return false
		}
	}
	return true
}

// commit gets an encoded command committed, in one entry with those that come at the same time. The
// result has the errors of this command's ops. If ctx ends, the error is ErrUncertain unless the
// command was not sent.
func (b *batcher) commit(ctx context.Context, command []byte) (committed, error) {
	p, err := newProposal(command)
	if err != nil {
		return committed{}, err
	}
	b.mu.Lock()
	b.queue = append(b.queue, p)
	if !b.running {
		b.running = true
		go b.run()
	}
	b.mu.Unlock()
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
	}
	if b.withdraw(p) {
		return committed{}, fmt.Errorf("the change was not proposed: %w", ctx.Err())
	}
	select {
	case <-p.done: // both have happened
		return p.result, p.err
	default:
		return committed{}, fmt.Errorf("%w: %w", ErrUncertain, ctx.Err())
	}
}

// withdraw takes a proposal out of the queue, and reports false if it was sent already.
func (b *batcher) withdraw(p *proposal) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.queue, p)
	if i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
	}
	return i >= 0
}

// run sends the queue, one command each batchTime, until it is empty.
func (b *batcher) run() {
	for more := true; more; {
		b.mu.Lock()
		wait := batchTime - time.Since(b.sent)
		b.mu.Unlock()
		if wait > 0 {
			time.Sleep(wait)
		}
		var batch []*proposal
		if batch, more = b.take(); len(batch) > 0 { // it is empty if all were withdrawn
			go b.sendAll(batch) // the next command does not wait for the answer
		}
	}
}

// take takes the proposals of the next command out of the queue, and reports whether there are more.
// Without more, run ends.
func (b *batcher) take() (batch []*proposal, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ops, size := 0, 0
	for _, p := range b.queue {
		if len(batch) > 0 && !p.joins(batch[0], ops, size) {
			break
		}
		batch, ops, size = append(batch, p), ops+len(p.ops), size+p.size
	}
	b.queue = slices.Delete(b.queue, 0, len(batch))
	b.running = len(b.queue) > 0
	switch {
	case b.running: // the command is full: the next one need not wait for others
		b.sent = time.Time{}
	case len(batch) > 0:
		b.sent = time.Now()
	}
	return batch, b.running
}

// sendAll sends proposals as one command, and gives each the errors of its own ops.
func (b *batcher) sendAll(batch []*proposal) {
	result, err := b.sendMerged(batch)
	first := 0
	for _, p := range batch {
		p.err = err
		p.result.Index = result.Index
		if err == nil && len(result.Errs) > 0 {
			if last := first + len(p.ops); last <= len(result.Errs) {
				p.result.Errs = result.Errs[first:last]
			} else {
				p.err = fmt.Errorf("%w: the answer has %d results", ErrUncertain, len(result.Errs))
			}
		}
		first += len(p.ops)
		close(p.done)
	}
}

func (b *batcher) sendMerged(batch []*proposal) (committed, error) {
	var ops []json.RawMessage
	for _, p := range batch {
		ops = append(ops, p.ops...)
	}
	merged, err := json.Marshal(ops)
	if err != nil {
		return committed{}, err
	}
	fields := map[string]json.RawMessage{"ops": merged}
	for name, value := range batch[0].fields {
		fields[name] = value
	}
	command, err := json.Marshal(fields)
	if err != nil {
		return committed{}, err
	}
	return b.send(command)
}
