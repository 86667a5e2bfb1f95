package loadtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// keysPerGroup is the number of keys of a group. They share a hash tag, and so a slot.
const keysPerGroup = 2

// keyState is the state of a key in the model. A client cannot know when exactly a node starts to count a deadline,
// so a key with one expires between two times: before the first every client finds it, after the second none does, and
// in between it is gone from the moment that a reply says so. A write that is under way at the second time puts it off (underWay).
type keyState struct {
	present bool
	value   uint64
	version version // of the value; unknown until a reply tells it
	newest  version // that the key has had: its next one is newer, even across a delete
	from    int64   // earliest time at which it may expire, in ns since the load began; endless for a deadline far away
	until   int64   // latest time; 0 for no deadline, endless for one far away or of a command of unknown outcome
}

// state is the state of a group in the model.
type state [keysPerGroup]keyState

// model is the sequential specification of a group of keys. A step takes the whole operation as its input, with
// replies and times, and has no output.
//
// An operation with an unknown outcome takes effect whenever its condition holds, and its replies say nothing. That
// loses no case: not to take effect is to take effect behind all operations that a client saw the end of. It
// needs the effect to be one of two, nothing or all; so in a group with short deadlines a transaction has no
// command whose effect depends on whether a key has expired (see generator.transaction).
type model struct {
	slack int64 // ns by which the clocks of two nodes, or of a node over time, may differ
}

// porcupine returns the model as porcupine wants it. It starts from a state.
func (m model) porcupine(from state) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return from },
		Step: func(before, input, _ any) (bool, any) {
			after := before.(state)
			if !m.step(&after, input.(*operation)) {
				return false, before
			}
			return true, after
		},
		Equal:             func(a, b any) bool { return a.(state) == b.(state) },
		Hash:              func(s any) uint64 { return s.(state).hash() },
		DescribeOperation: func(input, _ any) string { return input.(*operation).String() },
		DescribeState:     func(s any) string { return s.(state).String() },
	}
}

// step applies an operation to a state, and reports whether its replies are right there.
func (m model) step(s *state, o *operation) bool {
	if o.outcome == unknown {
		if o.watched != 0 && !s[o.watched-1].sees(o.saw, o) {
			return true
		}
		for i := range o.commands {
			c := &o.commands[i]
			m.may(&s[c.key], o, c)
		}
		return true
	}
	if o.watched != 0 && !s[o.watched-1].sees(o.saw, o) {
		return false
	}
	for i := range o.commands {
		c, r := &o.commands[i], &o.replies[i]
		if !r.refused && !m.does(&s[c.key], o, c, r) {
			return false
		}
	}
	return true
}

// sees reports whether the key may have a value, 0 for none.
func (k *keyState) sees(value uint64, o *operation) bool {
	if value == 0 {
		return k.missing(o)
	}
	return k.found(o) && k.value == value
}

// found reports whether an operation may find the key.
func (k *keyState) found(o *operation) bool {
	return k.present && (k.until == 0 || o.since <= k.until)
}

// missing reports whether an operation may find the key missing. Then it stays so.
func (k *keyState) missing(o *operation) bool {
	if k.present && (k.until == 0 || k.from == endless || o.end < k.from) {
		return false
	}
	k.clear()
	return true
}

func (k *keyState) clear() { *k = keyState{newest: k.newest} }

// learn notes the version of the present value, and reports whether it may be that.
func (k *keyState) learn(v version) bool {
	switch {
	case v == version{}:
		return false
	case k.version == version{}:
		if !v.after(k.newest) {
			return false
		}
		k.version, k.newest = v, v
	}
	return k.version == v
}

// store stores a value whose version is not known yet.
func (m model) store(k *keyState, o *operation, c *command) {
	*k = keyState{present: true, value: c.value, newest: k.newest}
	if c.ttl > 0 {
		m.limit(k, o, c.ttl)
	}
}

// limit gives a key a deadline, counted from a moment within the operation.
func (m model) limit(k *keyState, o *operation, ttl int64) {
	if ttl == farAway {
		k.from, k.until = endless, endless
		return
	}
	k.from = max(o.call+ttl*millisecond-m.slack, 0)
	k.until = endless
	if o.end != endless {
		k.until = max(o.end+ttl*millisecond+m.slack, 1)
	}
}

// does applies a command whose reply is known, and reports whether the reply is right.
func (m model) does(k *keyState, o *operation, c *command, r *reply) bool {
	switch c.kind {
	case set, setNX, setXX, setVersion:
		return m.doesSet(k, o, c, r)
	case del:
		if !r.done {
			return k.missing(o)
		}
		defer k.clear()
		return k.found(o)
	case get:
		if !r.done {
			return k.missing(o)
		}
		return k.found(o) && k.value == r.value && k.learn(r.version)
	case exists:
		return k.sameAs(r.done, o)
	case meta:
		if !r.done {
			return k.missing(o)
		}
		return k.found(o) && k.learn(r.version) && k.limitedTo(r.ttl)
	case expire:
		if !r.done || !k.found(o) {
			return !r.done && k.missing(o)
		}
		m.setDeadline(k, o, c)
		return true
	case persist:
		if !r.done {
			return k.found(o) && k.until == 0 || k.missing(o)
		}
		limited := k.until != 0
		defer func() { k.from, k.until = 0, 0 }()
		return limited && k.found(o)
	}
	panic(fmt.Sprintf("no model of %s", kindNames[c.kind]))
}

// sameAs reports whether an operation may find the key, or find it missing.
func (k *keyState) sameAs(present bool, o *operation) bool {
	if present {
		return k.found(o)
	}
	return k.missing(o)
}

// limitedTo reports whether a key may have a time to live.
func (k *keyState) limitedTo(ttl int64) bool {
	switch {
	case k.until == 0:
		return ttl == -1
	case k.from == endless:
		return ttl > farAway/2
	case k.until == endless && ttl > farAway/2: // an EXPIRE of unknown outcome, which found the key
		k.from = endless
		return true
	}
	return 0 <= ttl && ttl <= longestOfMS
}

func (m model) doesSet(k *keyState, o *operation, c *command, r *reply) bool {
	var holds bool
	switch c.kind {
	case set:
		holds = r.done
	case setNX:
		holds = k.sameAs(!r.done, o)
	case setXX:
		holds = k.sameAs(r.done, o)
	case setVersion:
		if r.done {
			holds = k.found(o) && k.value == c.expect
		} else {
			holds = k.present && k.value != c.expect || k.missing(o)
		}
	}
	if holds && r.done {
		m.store(k, o, c)
		return k.learn(r.version)
	}
	return holds
}

func (m model) setDeadline(k *keyState, o *operation, c *command) {
	if c.ttl <= 0 {
		k.clear()
	} else {
		m.limit(k, o, c.ttl)
	}
}

// may applies a command whose reply is unknown.
func (m model) may(k *keyState, o *operation, c *command) {
	gone := k.present && k.until != 0 && k.from != endless // it may have expired
	switch c.kind {
	case set:
		m.store(k, o, c)
	case setNX:
		if !k.present || gone {
			m.store(k, o, c)
		}
	case setXX:
		if k.found(o) {
			m.store(k, o, c)
		}
	case setVersion:
		if k.found(o) && k.value == c.expect {
			m.store(k, o, c)
		}
	case del:
		k.clear()
	case expire:
		if k.found(o) {
			earliest := k.from
			if m.setDeadline(k, o, c); gone && k.present {
				k.from = min(k.from, earliest) // it may be gone already
			}
		}
	case persist:
		if k.found(o) {
			k.from, k.until = 0, 0
		}
	}
}

// hash returns the same number for equal states.
func (s state) hash() uint64 {
	h := uint64(14695981039346656037)
	for i := range s {
		for _, n := range []uint64{s[i].value, s[i].version.seq, s[i].newest.seq, uint64(s[i].until)} {
			h = (h ^ n) * 1099511628211
		}
	}
	return h
}

// String returns the state as one line.
func (s state) String() string {
	var parts []string
	for i := range s {
		k, text := &s[i], keyName(uint8(i))+"="
		switch {
		case !k.present:
			text += "missing"
		case k.version == version{}:
			text += valueName(k.value) + " (version not seen)"
		default:
			text += valueName(k.value) + " " + k.version.String()
		}
		switch {
		case k.until != 0 && k.from == endless:
			text += " with a deadline far away"
		case k.until == endless:
			text += " with a deadline"
		case k.until != 0:
			text += fmt.Sprintf(" until %v to %v", time.Duration(k.from), time.Duration(k.until))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}
