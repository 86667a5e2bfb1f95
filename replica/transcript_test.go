package replica

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/transcript"
)

// The commands of the transcripts are events. A process is a node and its incarnation,
// as in A/1, and a point is an epoch and a seq, as in 5-7. Times are in ms; a tick comes every 25.
//
//	new A/1 [table=1-1,3-4] [end=6] [commit=5]
//	row e=5 [leader=5] [born=1] [primary=A/1] isr=A/1,B/1 [unclean=..] [learners=..] [assigned=..] [relinquished] [unsealed]
//	append 7      the primary's log has records up to 7        ack B/1 e=5 written=7 [synced=7] [leader=5] [stale|later|mismatch|failed]
//	contact B/1 [progress]      it acknowledged a heartbeat, or took bytes of a large value
//	lagging B/1   forget B/1   sync B/1 e=5 leader=5 [table=..] end=1-3      transfer B/1   resign   reopen   leased B/1=-100   expand B/1=-100
//	accept A/1 e=5 leader=5   follows prev=5-7 last=5-8   receive end=5-8 commit=7   truncate 5   renew A/1 e=5 leader=5   acknowledge
//	drop          it drops its copy, if it may      damaged       installed table=1-1 end=5-9       pass 700 [frozen] [rushed] [alone]     frozen: no ticks; rushed: a tick every 10 ms; alone: raft hears no leader
//	show
func TestTranscripts(t *testing.T) {
	transcript.Test(t, 10, func(t *testing.T) func([]string) string {
		s := &script{t: t}
		return func(words []string) string { return words[0] + ": " + s.command(words) + "\n" }
	})
}

type script struct {
	t    *testing.T
	c    *Copy
	now  int64
	tick uint64
}

// arguments are the words behind a command.
type arguments struct {
	first   string
	options map[string]string
}

func (a arguments) number(name string) uint64 {
	n, _ := strconv.ParseUint(a.options[name], 10, 64)
	return n
}
func (a arguments) point(name string) Point { return point(a.options[name]) }
func (a arguments) has(name string) bool    { _, ok := a.options[name]; return ok }

func point(s string) Point {
	epoch, seq, _ := strings.Cut(s, "-")
	e, _ := strconv.ParseUint(epoch, 10, 64)
	n, _ := strconv.ParseUint(seq, 10, 64)
	return Point{e, n}
}

func process(s string) Process {
	node, incarnation, _ := strings.Cut(s, "/")
	n, _ := strconv.ParseUint(incarnation, 10, 64)
	return Process{node, n}
}

func processes(s string) (list []Process) {
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		list = append(list, process(p))
	}
	return list
}

func table(s string) (t EpochTable) {
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		t = append(t, EpochStart(point(p)))
	}
	return t
}

// sent reads when the newest acknowledged heartbeat of each process left, before now.
func (s *script) sent(a arguments) func(Process, uint64) int64 {
	return func(p Process, _ uint64) int64 {
		if text, ok := a.options[fmt.Sprintf("%s/%d", p.Node, p.Incarnation)]; ok {
			ms, _ := strconv.ParseInt(text, 10, 64)
			return s.now + ms*1e6
		}
		return math.MinInt64
	}
}

func (s *script) command(words []string) string {
	a := arguments{options: map[string]string{}}
	for i, word := range words[1:] {
		k, v, ok := strings.Cut(word, "=")
		if !ok && i == 0 {
			a.first = word
		}
		a.options[k] = v
	}
	if words[0] == "new" {
		s.c = New(process(a.first), table(a.options["table"]), a.number("end"), a.number("commit"))
		return s.show()
	}
	if answer, ok := s.asPrimary(words[0], a); ok {
		return answer
	}
	return s.asMember(words[0], a)
}

func (s *script) asPrimary(kind string, a arguments) (string, bool) {
	c, from := s.c, process(a.first)
	number, _ := strconv.ParseUint(a.first, 10, 64)
	var e Effects
	switch kind {
	case "row":
		cfg := Config{
			Epoch: a.number("e"), LeaderEpoch: a.number("leader"), Born: a.number("born"), Primary: process(a.options["primary"]),
			Relinquished: a.has("relinquished"), Unsealed: a.has("unsealed"),
			ISR: processes(a.options["isr"]), Unclean: processes(a.options["unclean"]), Learners: processes(a.options["learners"]), Assigned: processes(a.options["assigned"]),
		}
		e = c.Configure(cfg, s.now, s.tick)
	case "append":
		e = c.Appended(number)
	case "ack":
		var flags AckFlags
		for name, flag := range map[string]AckFlags{"stale": AckStale, "later": AckLater, "mismatch": AckMismatch, "failed": AckFailed} {
			if a.has(name) {
				flags |= flag
			}
		}
		e = c.Acked(from, Ack{Epoch: a.number("e"), Leader: a.number("leader"), Written: a.number("written"), Synced: a.number("synced"), Flags: flags})
	case "contact":
		c.Contact(from, a.has("progress"))
	case "lagging":
		e = c.Lagging(from)
	case "forget":
		c.Forget(from)
	case "sync":
		after, v := c.Sync(from, a.number("e"), a.number("leader"), table(a.options["table"]), a.point("end"))
		return fmt.Sprintf("%s after %d", verdicts[v], after), true
	case "transfer":
		e = c.Transfer(from)
	case "resign":
		e = c.Transfer(Process{})
	case "reopen":
		e = c.Reopen()
	case "leased":
		return fmt.Sprint(c.Leased(s.sent(a), s.now)), true
	case "expand":
		e = c.Expand(s.sent(a), s.now)
	default:
		return "", false
	}
	return e.String(), true
}

func (s *script) asMember(kind string, a arguments) string {
	c, from := s.c, process(a.first)
	number, _ := strconv.ParseUint(a.first, 10, 64)
	switch kind {
	case "accept":
		return verdicts[c.Accept(from, a.number("e"), a.number("leader"))]
	case "follows":
		return verdicts[c.Follows(a.point("prev"), a.point("last"))]
	case "receive":
		return c.Received(a.point("end"), a.number("commit")).String()
	case "truncate":
		return c.Truncated(number).String()
	case "renew":
		return fmt.Sprint(c.Renew(from, a.number("e"), a.number("leader"), s.now, s.tick))
	case "acknowledge":
		if ack, ok := c.Ack(0); ok {
			return fmt.Sprintf("epoch %d written %d", ack.Epoch, ack.Written)
		}
		return "nothing"
	case "drop":
		if !c.MayDrop(s.now) {
			return "no"
		}
		c.Drop()
		return fmt.Sprintf("dropped, owes %d", c.Owed())
	case "damaged":
		return c.Damaged().String()
	case "installed":
		c.Installed(table(a.options["table"]), a.point("end"))
		return s.show()
	case "pass":
		return s.pass(int64(number), a)
	case "show":
		return s.show()
	}
	s.t.Fatalf("unknown event %q", kind)
	return ""
}

// pass lets time pass, with a tick every 25 ms, and returns what the ticks come to.
func (s *script) pass(ms int64, a arguments) string {
	var out []string
	for passed := int64(25); passed <= ms; passed += 25 {
		s.now += 25e6
		if a.has("rushed") {
			s.now -= 15e6
		}
		if a.has("frozen") {
			continue
		}
		s.tick++
		if e := s.c.Tick(s.now, s.tick, !a.has("alone")).String(); e != "nothing" {
			out = append(out, fmt.Sprintf("%s after %d ms", e, passed))
		}
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, "; ")
}

func (s *script) show() string {
	c := s.c
	text := fmt.Sprintf("end %v, commit %d", c.End(), c.Commit())
	for _, fact := range []struct {
		is   bool
		name string
	}{{c.Primary(), "primary"}, {c.Alone(), "alone"}, {c.open && !c.closing, "open"}, {c.Reporting(), "reporting"}, {c.Primary() && c.CleanISR() == 1, "degraded"}} {
		if fact.is {
			text += ", " + fact.name
		}
	}
	return text + fmt.Sprintf(", table %v", c.Table())
}

var verdicts = map[Verdict]string{Take: "take", Stale: "stale", Later: "later", Sealed: "sealed", Repeat: "repeat", Mismatch: "mismatch", Rebuild: "rebuild"}

var kinds = map[ProposalKind]string{Shrink: "shrink", Expand: "expand", Handover: "transfer", Resign: "resign,", MarkUnclean: "mark unclean"}

func (e Effects) String() string {
	var out []string
	add := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(e.StepDown, "step down")
	add(e.Close, "close")
	if e.Truncate != nil {
		add(true, "truncate behind %d", *e.Truncate)
	}
	add(e.Install, "install")
	add(e.NoOp, "no-op")
	add(e.Commit != 0, "commit %d", e.Commit)
	add(e.Open, "open")
	for _, p := range e.Send {
		add(true, "send to %s/%d", p.Node, p.Incarnation)
	}
	if p := e.Propose; p != nil {
		add(true, "propose to %s %s in epoch %d", kinds[p.Kind], strings.TrimSuffix(fmt.Sprintf("%s/%d", p.Target.Node, p.Target.Incarnation), "/0"), p.Epoch)
	}
	add(e.Report, "report")
	if len(out) == 0 {
		return "nothing"
	}
	return strings.ReplaceAll(strings.Join(out, ", "), ",  in", " in")
}
