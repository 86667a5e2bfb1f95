package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// requestTime is how long a writer repeats a request with an unknown outcome. A node knows a request for 15 s at
// least, so it knows it at every repeat, unless one is under way for longer than the rest.
const requestTime = 8 * time.Second

// writer draws operations, executes them and adds them to the histories of their groups.
type writer struct {
	h        *Histories
	id       int
	random   *rand.Rand
	client   *client
	requests int
}

// work executes one random operation. An error means that it was refused or has an unknown outcome.
func (w *writer) work(ctx context.Context, g *group) error {
	key := uint8(w.random.IntN(keysPerGroup))
	if w.h.ReadOnly.Load() {
		if w.random.IntN(4) == 0 {
			return w.several(ctx, g, kind.reads)
		}
		return w.single(ctx, g, key, pick(w.random, kind.reads))
	}
	switch n := w.random.IntN(100); {
	case n < 8:
		return w.several(ctx, g, g.inTransaction)
	case n < 16:
		return w.compareAndSet(ctx, g, key)
	case n < 24:
		return w.request(ctx, g, key)
	}
	return w.single(ctx, g, key, pick(w.random, anyKind))
}

func (w *writer) single(ctx context.Context, g *group, key uint8, k kind) error {
	o := &operation{client: w.id, commands: []command{w.command(g, key, k, false)}}
	return w.do(ctx, g, o)
}

// several executes a transaction of some commands.
func (w *writer) several(ctx context.Context, g *group, may func(kind) bool) error {
	o := &operation{client: w.id, exec: true}
	for range 2 + w.random.IntN(3) {
		key := uint8(w.random.IntN(keysPerGroup))
		o.commands = append(o.commands, w.command(g, key, pick(w.random, may), true))
	}
	return w.do(ctx, g, o)
}

// read executes commands that read, and returns nil unless they were answered.
func (w *writer) read(ctx context.Context, g *group, exec bool, commands []command) *operation {
	o := &operation{client: w.id, exec: exec, commands: commands}
	if w.do(ctx, g, o) != nil {
		return nil
	}
	return o
}

// do sends an operation and records it.
func (w *writer) do(ctx context.Context, g *group, o *operation) error {
	commands := make([][]string, len(o.commands))
	for i := range o.commands {
		commands[i] = o.commands[i].args(g, o.request)
	}
	o.call = w.h.now()
	answers, err := w.client.send(ctx, g, commands, o.exec)
	return w.record(g, o, answers, err)
}

// record ends an operation and adds it to the history of its group.
func (w *writer) record(g *group, o *operation, answers []answer, err error) error {
	o.end = w.h.now()
	if err == nil {
		err = w.understand(o, answers)
	}
	switch {
	case err == nil:
		o.outcome = acknowledged
	case errors.Is(err, errRefused):
		o.outcome = refused
	default:
		o.outcome, o.end, o.note, o.replies = unknown, endless, err.Error(), nil
	}
	w.h.count(o)
	g.add(o)
	return err
}

// understand parses the replies to an operation.
func (w *writer) understand(o *operation, answers []answer) error {
	if len(answers) != len(o.commands) {
		err := fmt.Errorf("%d replies to %d commands", len(answers), len(o.commands))
		w.h.strange(err)
		return err
	}
	o.replies = make([]reply, len(answers))
	for i := range answers {
		var err error
		if o.replies[i], err = o.commands[i].parse(answers[i]); err != nil {
			w.h.strange(err)
			return err
		}
	}
	return nil
}

// compareAndSet reads a key and changes it unless it has changed since.
func (w *writer) compareAndSet(ctx context.Context, g *group, key uint8) error {
	look := &operation{client: w.id, commands: []command{{kind: get, key: key}}, call: w.h.now()}
	value, l, address, err := w.client.watch(ctx, g, g.key(key))
	if err = w.record(g, look, []answer{value}, err); err != nil {
		w.client.drop(address) // it may watch the key
		return err
	}
	if l == nil {
		return nil
	}
	if w.random.IntN(2) == 0 {
		time.Sleep(time.Duration(w.random.IntN(1000)) * time.Microsecond)
	}
	o := &operation{client: w.id, exec: true, watched: key + 1, saw: look.replies[0].value}
	k := set
	if w.random.IntN(5) == 0 {
		k = del
	}
	o.commands = append(o.commands, w.command(g, key, k, true))
	if w.random.IntN(3) == 0 { // the other key of the slot, too
		o.commands = append(o.commands, w.command(g, 1-key, set, true))
	}
	var commands [][]string
	for i := range o.commands {
		commands = append(commands, o.commands[i].args(g, ""))
	}
	b, n := encode(commands, true)
	o.call = w.h.now()
	answers, err := w.client.roundOn(l, address, b, n)
	var items []answer
	if err == nil {
		last := answers[n-1]
		if last.null {
			o.outcome = aborted
			w.h.count(o)
			return nil
		}
		items, err = last.items, w.client.failure(last)
	}
	return w.record(g, o, items, err)
}

// request executes a write with a REQID. It repeats it until its outcome is known, and sometimes when it is.
func (w *writer) request(ctx context.Context, g *group, key uint8) error {
	w.requests++
	o := &operation{client: w.id, request: fmt.Sprintf("%s-%d-%d", w.h.Prefix, w.id, w.requests)}
	o.commands = []command{w.command(g, key, pick(w.random, kind.sets), false)}
	args := o.commands[0].args(g, o.request)
	mode := w.random.IntN(4)
	open := false // an attempt may have taken effect
	o.call = w.h.now()
	if mode == 0 {
		open = !errors.Is(w.client.abandon(ctx, g, args), errRefused)
		o.attempts++
	}
	answers, err := w.attempt(ctx, g, o, args, open)
	if err = w.record(g, o, answers, err); err == nil && mode == 1 {
		w.repeat(ctx, g, o, args)
	}
	return err
}

// attempt sends a request until its outcome is known. Open says that an earlier attempt may have taken effect: then a
// refusal tells nothing.
func (w *writer) attempt(ctx context.Context, g *group, o *operation, args []string, open bool) ([]answer, error) {
	until := time.Now().Add(requestTime)
	for {
		o.attempts++
		answers, err := w.client.send(ctx, g, [][]string{args}, false)
		switch {
		case err == nil || errors.Is(err, errRefused) && !open:
			return answers, err
		case !errors.Is(err, errRefused):
			open = true
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return nil, fmt.Errorf("after %d attempts: %v", o.attempts, err) // not errRefused
		}
		time.Sleep(time.Duration(1+w.random.IntN(20)) * time.Millisecond)
	}
}

// repeat sends a request again that has its reply, which must be the same.
func (w *writer) repeat(ctx context.Context, g *group, o *operation, args []string) {
	time.Sleep(time.Duration(w.random.IntN(3000)) * time.Microsecond)
	if w.random.IntN(2) == 0 {
		g.misled(g.node(w.client)) // so any node gets the repeat
	}
	answers, err := w.client.send(ctx, g, [][]string{args}, false)
	if err != nil {
		return
	}
	r, err := o.commands[0].parse(answers[0])
	if err != nil {
		w.h.strange(err)
		return
	}
	if !r.refused {
		g.repeated(o, r)
	}
}
