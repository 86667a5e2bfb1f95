package loadtest

import (
	"testing"
	"time"
)

// Hand-written histories: a row is an operation with its call and its end, 0 for an unknown outcome, in ms.
type row struct {
	call, end int64
	commands  []command
	replies   []reply
	saw       uint64 // of WATCH of the first command's key; missing for a key that was missing
}

// missing is a row's saw of a key that was missing; 0 is a row without WATCH.
const missing = 1 << 60

func one(c command) []command { return []command{c} }

func yes(seq uint64) []reply { return []reply{{done: true, version: version{1, seq}}} }

func got(value, seq uint64) []reply {
	return []reply{{done: true, value: value, version: version{1, seq}}}
}

var (
	no   = []reply{{}}
	done = []reply{{done: true}}
)

func write(value uint64) []command { return one(command{kind: set, value: value}) }

func conditional(k kind, value, expect uint64) []command {
	return one(command{kind: k, value: value, expect: expect})
}

func short(value uint64, ms int64) []command { return one(command{kind: set, value: value, ttl: ms}) }

func just(k kind) []command { return one(command{kind: k}) }

func ends(ms int64) []command { return one(command{kind: expire, ttl: ms}) }

func history(rows []row) (all []*operation) {
	for i, r := range rows {
		o := &operation{client: i, call: r.call * millisecond, end: r.end * millisecond, commands: r.commands, replies: r.replies}
		if r.end == 0 {
			o.outcome, o.end, o.replies = unknown, endless, nil
		}
		if o.exec = len(r.commands) > 1 || r.saw != 0; r.saw != 0 {
			o.watched, o.saw = 1, r.saw%missing
		}
		all = append(all, o)
	}
	return all
}

func TestModel(t *testing.T) {
	b := func(c command) command { c.key = 1; return c }
	lasts := []reply{{done: true, version: version{1, 1}, ttl: farAway - 10}}
	for _, tc := range []struct {
		name string
		rows []row
		want verdict
	}{
		{"nothing", nil, right},
		{"a write is read", []row{{1, 2, write(1), yes(1), 0}, {3, 4, just(get), got(1, 1), 0}}, right},
		{"a lost acknowledged write", []row{{1, 2, write(1), yes(1), 0}, {3, 4, just(get), no, 0}}, wrong},
		{"a write that went on is not lost", []row{{1, 5, write(1), yes(1), 0}, {3, 4, just(get), no, 0}}, right},
		{"a stale read", []row{{1, 2, write(1), yes(1), 0}, {3, 4, write(2), yes(2), 0}, {5, 6, just(get), got(1, 1), 0}}, wrong},
		{"time runs backwards for two readers", []row{{1, 2, write(1), yes(1), 0}, {3, 9, write(2), yes(2), 0}, {4, 5, just(get), got(2, 2), 0}, {6, 7, just(get), got(1, 1), 0}}, wrong},
		{"a value that no write has", []row{{1, 2, write(1), yes(1), 0}, {3, 4, just(get), got(7, 1), 0}}, wrong},
		{"a refused write's value", []row{{1, 2, conditional(setNX, 1, 0), yes(1), 0}, {3, 4, conditional(setNX, 2, 0), no, 0}, {5, 6, just(get), got(2, 2), 0}}, wrong},
		{"a resurrected key", []row{{1, 2, write(1), yes(1), 0}, {3, 4, just(del), done, 0}, {5, 6, just(get), got(1, 1), 0}}, wrong},
		{"two deletes of one value", []row{{1, 2, write(1), yes(1), 0}, {3, 6, just(del), done, 0}, {4, 7, just(del), done, 0}}, wrong},
		{"EXISTS misses a key", []row{{1, 2, write(1), yes(1), 0}, {3, 4, just(exists), no, 0}}, wrong},

		{"a lost update", []row{{1, 2, write(1), yes(1), 0}, {3, 4, write(2), yes(2), 1}, {3, 5, write(3), yes(3), 1}}, wrong},
		{"one of two updates", []row{{1, 2, write(1), yes(1), 0}, {3, 4, write(2), yes(2), 1}, {4, 5, write(3), yes(3), 2}}, right},
		{"two creations", []row{{3, 6, write(2), yes(2), missing}, {4, 5, write(3), yes(3), missing}}, wrong},
		{"an update of unknown outcome, and another", []row{{1, 2, write(1), yes(1), 0}, {3, 0, write(2), nil, 1}, {4, 5, write(3), yes(3), 1}}, right},
		{"an update of unknown outcome, too late", []row{{1, 2, write(1), yes(1), 0}, {3, 0, write(2), nil, 1}, {4, 5, write(3), yes(3), 1}, {6, 7, just(get), got(2, 4), 0}}, wrong},

		{"NX twice", []row{{1, 2, conditional(setNX, 1, 0), yes(1), 0}, {3, 4, conditional(setNX, 2, 0), yes(2), 0}}, wrong},
		{"NX refused without a key", []row{{1, 2, conditional(setNX, 1, 0), no, 0}}, wrong},
		{"XX without a key", []row{{1, 2, conditional(setXX, 1, 0), yes(1), 0}}, wrong},
		{"XX refused with a key", []row{{1, 2, write(1), yes(1), 0}, {3, 4, conditional(setXX, 2, 0), no, 0}}, wrong},
		{"IFVERSION of the present version", []row{{1, 2, write(1), yes(1), 0}, {3, 4, conditional(setVersion, 2, 1), yes(2), 0}}, right},
		{"IFVERSION of an old version", []row{{1, 2, write(1), yes(1), 0}, {3, 4, write(2), yes(2), 0}, {5, 6, conditional(setVersion, 3, 1), yes(3), 0}}, wrong},
		{"IFVERSION refused though the version is present", []row{{1, 2, write(1), yes(1), 0}, {3, 4, conditional(setVersion, 2, 1), no, 0}}, wrong},
		{"two IFVERSION of one version", []row{{1, 2, write(1), yes(1), 0}, {3, 6, conditional(setVersion, 2, 1), yes(2), 0}, {3, 6, conditional(setVersion, 3, 1), yes(3), 0}}, wrong},
		{"a wrong version", []row{{1, 2, write(1), yes(1), 0}, {3, 4, just(get), got(1, 2), 0}}, wrong},
		{"a wrong version in META", []row{{1, 2, write(1), yes(1), 0}, {3, 4, just(meta), []reply{{done: true, version: version{1, 2}, ttl: -1}}, 0}}, wrong},
		{"a version that decreases", []row{{1, 2, write(1), yes(5), 0}, {3, 4, write(2), yes(4), 0}}, wrong},
		{"a version that decreases across a delete", []row{{1, 2, write(1), yes(5), 0}, {3, 4, just(del), done, 0}, {5, 6, write(2), yes(5), 0}}, wrong},
		{"two versions of a write of unknown outcome", []row{{1, 0, write(1), nil, 0}, {3, 4, just(get), got(1, 1), 0}, {5, 6, just(get), got(1, 2), 0}}, wrong},

		{"a write of unknown outcome happens", []row{{1, 0, write(1), nil, 0}, {3, 4, just(get), got(1, 1), 0}}, right},
		{"a write of unknown outcome never happens", []row{{1, 0, write(1), nil, 0}, {3, 4, just(get), no, 0}}, right},
		{"a write of unknown outcome happens late", []row{{1, 0, write(1), nil, 0}, {3, 4, write(2), yes(1), 0}, {5, 6, just(get), got(2, 1), 0}, {7, 8, just(get), got(1, 2), 0}}, right},
		{"a write of unknown outcome happens before its call", []row{{3, 0, write(1), nil, 0}, {1, 2, just(get), got(1, 1), 0}}, wrong},
		{"a write of unknown outcome happens twice", []row{{1, 0, write(1), nil, 0}, {3, 4, just(get), got(1, 1), 0}, {5, 6, just(del), done, 0}, {7, 8, just(get), got(1, 1), 0}}, wrong},
		{"a delete of unknown outcome", []row{{1, 2, write(1), yes(1), 0}, {3, 0, just(del), nil, 0}, {5, 6, just(get), got(1, 1), 0}, {7, 8, just(get), no, 0}}, right},
		{"a delete of unknown outcome, undone", []row{{1, 2, write(1), yes(1), 0}, {3, 0, just(del), nil, 0}, {5, 6, just(get), no, 0}, {7, 8, just(get), got(1, 1), 0}}, wrong},
		{"NX of unknown outcome where there is a key", []row{{1, 2, write(1), yes(1), 0}, {3, 0, conditional(setNX, 2, 0), nil, 0}, {5, 6, just(get), got(2, 2), 0}}, wrong},
		{"IFVERSION of unknown outcome and another version", []row{{1, 2, write(1), yes(1), 0}, {3, 4, write(2), yes(2), 0}, {5, 0, conditional(setVersion, 3, 1), nil, 0}, {7, 8, just(get), got(3, 3), 0}}, wrong},

		{"a key gone too early", []row{{1, 2, short(1, 100), yes(1), 0}, {50, 60, just(get), no, 0}}, wrong},
		{"a key gone in time", []row{{1, 2, short(1, 100), yes(1), 0}, {95, 96, just(get), no, 0}}, right},
		{"a key there in time", []row{{1, 2, short(1, 100), yes(1), 0}, {105, 106, just(get), got(1, 1), 0}}, right},
		{"a key there too late", []row{{1, 2, short(1, 100), yes(1), 0}, {140, 141, just(get), got(1, 1), 0}}, wrong},
		{"a key there while a write that may rest on it is under way", []row{{1, 2, short(1, 100), yes(1), 0}, {90, 200, write(2), yes(2), 0}, {180, 181, just(get), got(1, 1), 0}, {210, 211, just(get), got(2, 2), 0}}, right},
		{"a key there while a transaction that watches it is under way", []row{{1, 2, short(1, 100), yes(1), 0}, {90, 0, []command{b(command{kind: set, value: 2})}, nil, 1}, {180, 181, just(get), got(1, 1), 0}}, right},
		{"a key there while a transaction that has found it waits for another key", []row{{1, 2, short(1, 100), yes(1), 0}, {90, 200, []command{{kind: get}, b(command{kind: get})}, append(got(1, 1), no...), 0}, {180, 181, just(get), got(1, 1), 0}}, right},
		{"a key there after a transaction that has found it", []row{{1, 2, short(1, 100), yes(1), 0}, {90, 150, []command{{kind: get}, b(command{kind: get})}, append(got(1, 1), no...), 0}, {180, 181, just(get), got(1, 1), 0}}, wrong},
		{"a key there too late while it is read", []row{{1, 2, short(1, 100), yes(1), 0}, {90, 200, just(get), got(1, 1), 0}, {180, 181, just(get), got(1, 1), 0}}, wrong},
		{"a key there after the write that may rest on it", []row{{1, 2, short(1, 100), yes(1), 0}, {90, 150, conditional(setXX, 2, 0), no, 0}, {180, 181, just(get), got(1, 1), 0}}, wrong},
		{"a key there too late, and a write that began too late", []row{{1, 2, short(1, 100), yes(1), 0}, {130, 200, write(2), yes(2), 0}, {180, 181, just(get), got(1, 1), 0}}, wrong},
		{"a key there while a transaction that has failed may rest on it", []row{{1, 2, short(1, 100), yes(1), 0}, {90, 200, one(b(command{kind: set, value: 2})), yes(2), 0}, {180, 181, just(get), got(1, 1), 0}}, right},
		{"a key gone and there", []row{{1, 2, short(1, 100), yes(1), 0}, {95, 96, just(get), no, 0}, {97, 98, just(get), got(1, 1), 0}}, wrong},
		{"PERSIST saves a key", []row{{1, 2, short(1, 100), yes(1), 0}, {50, 60, just(persist), done, 0}, {200, 201, just(get), got(1, 1), 0}}, right},
		{"PERSIST does not save a key", []row{{1, 2, short(1, 100), yes(1), 0}, {50, 60, just(persist), done, 0}, {200, 201, just(get), no, 0}}, wrong},
		{"PERSIST of a key without a deadline", []row{{1, 2, write(1), yes(1), 0}, {3, 4, just(persist), done, 0}}, wrong},
		{"EXPIRE at once", []row{{1, 2, write(1), yes(1), 0}, {3, 4, ends(0), done, 0}, {5, 6, just(get), got(1, 1), 0}}, wrong},
		{"EXPIRE of a missing key", []row{{1, 2, ends(farAway), done, 0}}, wrong},
		{"EXPIRE finds no key", []row{{1, 2, write(1), yes(1), 0}, {3, 4, ends(farAway), no, 0}}, wrong},
		{"a deadline far away is not there", []row{{1, 2, write(1), yes(1), 0}, {3, 4, ends(farAway), done, 0}, {5, 6, just(meta), []reply{{done: true, version: version{1, 1}, ttl: -1}}, 0}}, wrong},
		{"a deadline far away comes", []row{{1, 2, short(1, farAway), yes(1), 0}, {3000, 3001, just(get), no, 0}}, wrong},
		{"a set keeps no deadline", []row{{1, 2, short(1, 100), yes(1), 0}, {3, 4, write(2), yes(2), 0}, {200, 201, just(get), no, 0}}, wrong},
		{"NX behind a deadline", []row{{1, 2, short(1, 100), yes(1), 0}, {200, 201, conditional(setNX, 2, 0), yes(2), 0}}, right},
		{"NX of unknown outcome behind a deadline", []row{{1, 2, short(1, 100), yes(1), 0}, {100, 0, conditional(setNX, 2, 0), nil, 0}, {120, 121, just(get), got(2, 2), 0}}, right},
		{"EXPIRE of unknown outcome when the key is gone", []row{{1, 2, short(1, 100), yes(1), 0}, {99, 0, ends(300), nil, 0}, {100, 101, just(get), no, 0}}, right},
		{"EXPIRE far away of unknown outcome for a key with a short deadline", []row{
			{1, 2, short(1, 100), yes(1), 0}, {50, 0, ends(farAway), nil, 0},
			{300, 301, just(meta), []reply{{done: true, version: version{1, 1}, ttl: farAway - 250}}, 0}, {400, 401, just(get), got(1, 1), 0}}, right},
		{"EXPIRE far away of unknown outcome, and the key expires after all", []row{
			{1, 2, short(1, 100), yes(1), 0}, {50, 0, ends(farAway), nil, 0},
			{300, 301, just(meta), []reply{{done: true, version: version{1, 1}, ttl: farAway - 250}}, 0}, {400, 401, just(get), no, 0}}, wrong},
		{"EXPIRE in a transaction of unknown outcome when the key is gone", []row{
			{1, 2, short(1, 100), yes(1), 0},
			{99, 0, []command{{kind: expire, ttl: 300}, b(command{kind: set, value: 2})}, nil, 0},
			{101, 102, one(b(command{kind: get})), got(2, 2), 0}, {103, 104, just(get), no, 0}}, right},
		{"EXPIRE of unknown outcome in time", []row{{1, 2, short(1, 100), yes(1), 0}, {50, 0, ends(farAway), nil, 0}, {200, 201, just(meta), lasts, 0}}, right},
		{"EXPIRE of unknown outcome in time, undone", []row{{1, 2, short(1, 100), yes(1), 0}, {50, 0, ends(farAway), nil, 0}, {200, 201, just(meta), lasts, 0}, {300, 301, just(get), no, 0}}, wrong},
		{"IFVERSION refused for a key that may be gone", []row{{1, 2, short(1, 100), yes(1), 0}, {95, 96, conditional(setVersion, 2, 1), no, 0}, {97, 98, just(get), got(1, 1), 0}}, wrong},

		{"a transaction is torn", []row{
			{1, 9, []command{{kind: set, value: 1}, b(command{kind: set, value: 2})}, append(yes(1), yes(2)...), 0},
			{2, 3, []command{{kind: get}, b(command{kind: get})}, append(got(1, 1), no...), 0}}, wrong},
		{"a transaction of unknown outcome, half done", []row{
			{1, 0, []command{{kind: set, value: 1}, b(command{kind: set, value: 2})}, nil, 0},
			{2, 3, []command{{kind: get}, b(command{kind: get})}, append(got(1, 1), no...), 0}}, wrong},
		{"a command of a transaction was refused", []row{
			{1, 2, []command{{kind: set, value: 1}, b(command{kind: set, value: 2})}, []reply{{refused: true}, yes(2)[0]}, 0},
			{3, 4, []command{{kind: get}, b(command{kind: get})}, append(append([]reply{}, no...), got(2, 2)...), 0}}, right},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := model{slack: int64(20 * time.Millisecond)}
			all := history(tc.rows)
			if v := m.judge(state{}, all, time.Minute); v != tc.want {
				t.Errorf("verdict %d, want %d:\n%s", v, tc.want, excerpt(m, state{}, nil, all, nil))
			}
		})
	}
}

// A request that is executed twice shows in the second reply, and in what becomes of the key.
func TestRepeatedRequest(t *testing.T) {
	for name, tc := range map[string]struct {
		again reply
		want  int
	}{
		"the first reply":  {yes(1)[0], 0},
		"another version":  {yes(2)[0], 1},
		"another decision": {reply{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := &Histories{}
			h.begin()
			g := &group{tag: "g"}
			o := history([]row{{1, 2, conditional(setNX, 1, 0), yes(1), 0}})[0]
			o.request = "r"
			g.add(o)
			g.repeated(o, tc.again)
			h.check(g)
			if r := h.Report(); len(r.Violations) != tc.want {
				t.Errorf("%d violations, want %d", len(r.Violations), tc.want)
			}
		})
	}
}

// A check without an end is neither right nor wrong.
func TestUndecided(t *testing.T) {
	h := &Histories{CheckTimeout: 1}
	h.begin()
	g := &group{tag: "g"}
	var rows []row
	for i := range int64(40) {
		rows = append(rows, row{1, 0, write(uint64(i + 1)), nil, 0})
	}
	for i := range int64(40) {
		rows = append(rows, row{2 + 2*i, 3 + 2*i, just(get), got(uint64(40-i), uint64(i+1)), 0})
	}
	for _, o := range history(append(rows, row{200, 201, just(get), got(99, 99), 0})) {
		g.add(o)
	}
	h.check(g)
	r := h.Report()
	if len(r.Undecided) != 1 || len(r.Violations) != 0 || r.Err() == nil {
		t.Errorf("%v", r.Err())
	}
}

// A settled group remembers what it had: what is lost or comes back later is wrong.
func TestSettled(t *testing.T) {
	m := model{slack: int64(20 * time.Millisecond)}
	closing := func(replies ...reply) *operation {
		return history([]row{{10, 11, closingRead(), replies, 0}})[0]
	}
	there := []reply{{done: true, value: 1, version: version{1, 1}}, {done: true, version: version{1, 1}, ttl: -1}, {}, {}}
	expiring := []reply{there[0], {done: true, version: version{1, 1}, ttl: 100}, {}, {}}
	lasting := []reply{there[0], {done: true, version: version{1, 1}, ttl: farAway - 10}, {}, {}}
	none := make([]reply, 4)
	for name, tc := range map[string]struct {
		closing, final []reply
		want           verdict
	}{
		"the same":          {there, there, right},
		"lost":              {there, none, wrong},
		"resurrected":       {none, there, wrong},
		"expired":           {expiring, none, right},
		"not expired":       {expiring, expiring, wrong},
		"lost its deadline": {lasting, there, wrong},
		"far from expiring": {lasting, none, wrong},
	} {
		t.Run(name, func(t *testing.T) {
			g := &group{tag: "g"}
			first := closing(tc.closing...)
			g.add(first)
			g.settle(m, first)
			final := history([]row{{1000, 1001, closingRead(), tc.final, 0}})[0]
			g.add(final)
			start, _, all, _ := g.look()
			if len(all) != 1 {
				t.Fatalf("%d operations, want the final read alone", len(all))
			}
			if v := m.judge(start, all, time.Minute); v != tc.want {
				t.Errorf("verdict %d, want %d", v, tc.want)
			}
		})
	}
}
