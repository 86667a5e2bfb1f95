package loadtest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// weights says how often a writer picks a kind of command.
var weights = [kinds]int{set: 18, setNX: 10, setXX: 6, setVersion: 12, del: 12, get: 24, exists: 5, meta: 5, expire: 5, persist: 3}

// pick returns a kind at random by its weight, among those that may be.
func pick(r *rand.Rand, may func(kind) bool) kind {
	sum := 0
	for k := range kinds {
		if may(k) {
			sum += weights[k]
		}
	}
	n := r.IntN(sum)
	for k := range kinds {
		if may(k) {
			if n -= weights[k]; n < 0 {
				return k
			}
		}
	}
	panic("no kind of command may be")
}

func anyKind(kind) bool { return true }

// inTransaction reports whether a transaction on a group may have a kind of command. With short deadlines it has none
// whose effect depends on whether the key has expired: see model.
func (g *group) inTransaction(k kind) bool {
	return !g.expiring || k == set || k == del || k == expire || k.reads()
}

// command returns a command on a key of a group.
func (w *writer) command(g *group, key uint8, k kind, transaction bool) command {
	c := command{kind: k, key: key}
	if k == setVersion {
		if s, found := g.stamp(w.random, key); found {
			c.expect, c.named = s.value, s.version
		} else {
			c.kind = set
		}
	}
	n := w.random.IntN(100)
	short := shortest + w.random.Int64N(1+w.random.Int64N(longestOfMS-shortest)) // mostly one that passes while the group is in use
	switch {
	case c.kind.sets():
		c.value = w.h.value.Add(1)
		if g.expiring && n < 30 {
			c.ttl = short
		} else if n < 45 && n >= 30 {
			c.ttl = farAway
		}
	case k == expire && n < 20:
		c.ttl = -w.random.Int64N(2)
	case k == expire && g.expiring && (n < 70 || transaction):
		c.ttl = short
	case k == expire:
		c.ttl = farAway
	}
	return c
}

// args returns a command as the node gets it.
func (c *command) args(g *group, request string) []string {
	key := g.key(c.key)
	switch c.kind {
	case del:
		return []string{"DEL", key}
	case get:
		return []string{"NP.GET", key, "WITHATTRS"}
	case exists:
		return []string{"EXISTS", key}
	case meta:
		return []string{"NP.META", key}
	case expire:
		return []string{"PEXPIRE", key, strconv.FormatInt(c.ttl, 10)}
	case persist:
		return []string{"PERSIST", key}
	}
	args := []string{"NP.SET", key, Numbered(int(c.value)), "WITHVERSION"}
	switch c.kind {
	case setNX:
		args = append(args, "NX")
	case setXX:
		args = append(args, "XX")
	case setVersion:
		args = append(args, "IFVERSION", c.named.String())
	}
	if c.ttl > 0 {
		args = append(args, "PX", strconv.FormatInt(c.ttl, 10))
	}
	if request != "" {
		args = append(args, "REQID", request)
	}
	return args
}

// parse returns the reply that an answer to the command is. An error is for one that no node should give.
func (c *command) parse(a answer) (r reply, err error) {
	strange := fmt.Errorf("%s got the reply %.200q", c, fmt.Sprint(a))
	if a.kind == '-' {
		if o, _ := failureOf(a.text); o == refused {
			return reply{refused: true}, nil
		}
		return r, strange
	}
	switch c.kind {
	case set, setNX, setXX, setVersion:
		if a.kind != '$' || a.null && c.kind == set {
			return r, strange
		}
		if a.null {
			return r, nil
		}
		r.done = true
		r.version, err = parseVersion(a.text)
		return r, err
	case get:
		return parseWhole(a, strange)
	case meta:
		return parseMeta(a, strange)
	}
	if a.kind != ':' || a.n < 0 || a.n > 1 {
		return r, strange
	}
	r.done = a.n == 1
	return r, nil
}

// parseWhole parses the reply to NP.GET WITHATTRS.
func parseWhole(a answer, strange error) (r reply, err error) {
	if a.null {
		return r, nil
	}
	if a.kind != '*' || len(a.items) != 5 {
		return r, strange
	}
	if r.value, err = numberIn(a.items[0].text); err != nil {
		return r, err
	}
	r.done = true
	r.version, err = parseVersion(a.items[2].text)
	return r, err
}

// numberIn returns the number of an array made by Numbered.
func numberIn(npy string) (uint64, error) {
	if at := len(npy) - 8; at > 0 {
		n := uint64(0)
		for i := 7; i >= 0; i-- {
			n = n<<8 | uint64(npy[at+i])
		}
		if npy == Numbered(int(n)) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no writer stored the array %.300q", npy)
}

// parseMeta parses the reply to NP.META.
func parseMeta(a answer, strange error) (r reply, err error) {
	if a.null {
		return r, nil
	}
	if a.kind != '*' || len(a.items)%2 != 0 {
		return r, strange
	}
	for i := 0; i < len(a.items); i += 2 {
		switch value := a.items[i+1]; a.items[i].text {
		case "version":
			if r.version, err = parseVersion(value.text); err != nil {
				return r, err
			}
		case "pttl":
			r.ttl, r.done = value.n, true
		}
	}
	if !r.done || r.version == (version{}) {
		return r, strange
	}
	return r, nil
}
