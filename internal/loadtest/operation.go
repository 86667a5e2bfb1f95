package loadtest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// kind is what a command does.
type kind uint8

const (
	set        kind = iota // NP.SET
	setNX                  // NP.SET NX
	setXX                  // NP.SET XX
	setVersion             // NP.SET IFVERSION
	del                    // DEL
	get                    // NP.GET WITHATTRS
	exists                 // EXISTS
	meta                   // NP.META: version and time to live
	expire                 // PEXPIRE
	persist                // PERSIST
	kinds
)

var kindNames = [kinds]string{"SET", "SET NX", "SET XX", "SET IFVERSION", "DEL", "GET", "EXISTS", "META", "EXPIRE", "PERSIST"}

// reads reports whether the command changes nothing.
func (k kind) reads() bool { return k == get || k == exists || k == meta }

// sets reports whether the command stores a value.
func (k kind) sets() bool { return k <= setVersion }

// outcome is what a client knows about an operation.
type outcome uint8

const (
	acknowledged outcome = iota
	refused              // surely without effect
	unknown              // it may take effect at any time from its call on, or never
	aborted              // a watched key had changed
)

// Deadlines are either so short that a key expires while the load runs, or so long that none does.
const (
	shortest    = int64(1)   // ms
	longestOfMS = int64(400) // ms, of the short ones
	farAway     = int64(40*24*3600) * 1000
	endless     = int64(math.MaxInt64) // a time that never comes
	millisecond = int64(time.Millisecond)
)

// version is a version as ndring writes it: epoch-seq. The zero value is an unknown version.
type version struct{ epoch, seq uint64 }

func parseVersion(text string) (version, error) {
	epoch, seq, found := strings.Cut(text, "-")
	if found {
		e, errEpoch := strconv.ParseUint(epoch, 10, 64)
		n, errSeq := strconv.ParseUint(seq, 10, 64)
		if v := (version{e, n}); errEpoch == nil && errSeq == nil && v != (version{}) {
			return v, nil
		}
	}
	return version{}, fmt.Errorf("%.64q is not a version", text)
}

func (v version) String() string { return fmt.Sprintf("%d-%d", v.epoch, v.seq) }

func (v version) after(w version) bool {
	return v.epoch > w.epoch || v.epoch == w.epoch && v.seq > w.seq
}

// command is one command on a key of a group.
type command struct {
	kind   kind
	key    uint8   // of the group
	ttl    int64   // ms; of a set: 0 for no deadline; of expire: 0 or less deletes the key
	value  uint64  // that a set stores: no other write stores it
	expect uint64  // of setVersion: the value whose version it names
	named  version // of setVersion
}

// reply is the reply to a command. Its fields are those of the command's kind.
type reply struct {
	done    bool    // a condition held, or the key was there
	refused bool    // of a command of a transaction: it got an error that says that it changed nothing
	value   uint64  // of get
	version version // of a set that was done, get and meta
	ttl     int64   // of meta: ms, -1 for no deadline
}

// operation is what a client does at once: one command, or several in MULTI and EXEC.
type operation struct {
	client  int
	call    int64 // ns since the load began
	end     int64 // of the reply; endless if the outcome is unknown
	since   int64 // the earliest call of what nodes may show expired keys for when it begins; see underWay
	outcome outcome
	exec    bool
	node    string // the node that was asked alone; "" for the one that serves the key

	watched uint8  // key that WATCH named, plus one; 0 for none
	saw     uint64 // the value that it had; 0 if it was missing

	request  string // REQID
	attempts int
	again    *reply // to a repeat of a request that had its reply already

	commands []command
	replies  []reply // as many, if acknowledged
	note     string  // why the outcome is unknown
}

func (o *operation) reads() bool {
	for i := range o.commands {
		if !o.commands[i].kind.reads() {
			return false
		}
	}
	return true
}

// rests reports whether nodes may show keys that the operation has found, and whose deadline has come, until it has ended.
func (o *operation) rests() bool { return !o.reads() || len(o.commands) > 1 }

// keys returns the keys of the operation as bits.
func (o *operation) keys() (bits uint8) {
	if o.watched != 0 {
		bits = 1 << (o.watched - 1)
	}
	for i := range o.commands {
		bits |= 1 << o.commands[i].key
	}
	return bits
}

// name returns what the operation counts as in a report.
func (o *operation) name() string {
	switch {
	case o.watched != 0:
		return "WATCH EXEC"
	case o.exec:
		return "EXEC"
	case o.node != "":
		return kindNames[o.commands[0].kind] + " at each node"
	case o.request != "":
		return kindNames[o.commands[0].kind] + " REQID"
	}
	return kindNames[o.commands[0].kind]
}

// String returns the operation as one line.
func (o *operation) String() string {
	var b strings.Builder
	if o.end == endless {
		fmt.Fprintf(&b, "[%11.3f ms        ...   ] client %-3d ", float64(o.call)/1e6, o.client)
	} else {
		fmt.Fprintf(&b, "[%11.3f ms +%7.3f ms] client %-3d ", float64(o.call)/1e6, float64(o.end-o.call)/1e6, o.client)
	}
	if o.watched != 0 {
		fmt.Fprintf(&b, "WATCH %s=%s ", keyName(o.watched-1), valueName(o.saw))
	}
	if o.node != "" {
		b.WriteString("at " + o.node + ": ")
	}
	if o.exec {
		b.WriteString("EXEC ")
	}
	for i := range o.commands {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(o.commands[i].String())
		if o.outcome == acknowledged {
			b.WriteString(" -> " + o.replies[i].describe(&o.commands[i]))
		}
	}
	if o.request != "" {
		fmt.Fprintf(&b, " REQID %s, %d attempts", o.request, o.attempts)
	}
	if o.again != nil {
		b.WriteString(", repeated -> " + o.again.describe(&o.commands[0]))
	}
	if o.outcome == unknown {
		b.WriteString(" -> outcome unknown: " + o.note)
	}
	return b.String()
}

func keyName(key uint8) string { return string(rune('a' + key)) }

func valueName(value uint64) string {
	if value == 0 {
		return "missing"
	}
	return "#" + strconv.FormatUint(value, 10)
}

// String returns the command without its reply.
func (c *command) String() string {
	text := kindNames[c.kind] + " " + keyName(c.key)
	if c.kind.sets() {
		text += " " + valueName(c.value)
	}
	switch {
	case c.kind == setVersion:
		text += fmt.Sprintf(" (%s of %s)", c.named, valueName(c.expect))
	case c.kind == expire && c.ttl <= 0:
		text += " at once"
	}
	switch {
	case c.ttl == farAway:
		text += " far away"
	case c.ttl > 0:
		text += fmt.Sprintf(" in %d ms", c.ttl)
	}
	return text
}

// describe returns the reply to a command as text.
func (r *reply) describe(c *command) string {
	switch {
	case r.refused:
		return "refused"
	case !r.done:
		return "no"
	case c.kind == get:
		return valueName(r.value) + " " + r.version.String()
	case c.kind == meta:
		return fmt.Sprintf("%s, expires in %d ms", r.version, r.ttl)
	case c.kind.sets():
		return r.version.String()
	}
	return "yes"
}
