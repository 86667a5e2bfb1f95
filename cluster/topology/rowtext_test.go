package topology

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// rowText writes a row as tests read it: 7 leader 6 born 5 primary a isr [a b] unclean [b] ...
func rowText(s Shard) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d leader %d born %d", s.Epoch, s.LeaderEpoch, s.EmptySince)
	if s.Primary != "" {
		fmt.Fprintf(&b, " primary %s", s.Primary)
	}
	for _, list := range []struct {
		name string
		ids  []NodeID
	}{{"isr", s.ISR}, {"unclean", s.Unclean}, {"learners", s.Learners}, {"assigned", s.Assigned}, {"wiped", s.Wiped}} {
		if len(list.ids) > 0 {
			fmt.Fprintf(&b, " %s %s", list.name, strings.ReplaceAll(strings.Trim(fmt.Sprint(list.ids), "[]"), " ", ","))
		}
	}
	for _, is := range []struct {
		name string
		set  bool
	}{{"lossy", s.Lossy}, {"relinquished", s.Relinquished}, {"unsealed", s.Unsealed}} {
		if is.set {
			b.WriteString(" " + is.name)
		}
	}
	return b.String()
}

// parseRow reads what rowText writes. Without a leader epoch, a row with a primary has its epoch.
func parseRow(t testing.TB, text string) Shard {
	t.Helper()
	words := strings.Fields(text)
	s := Shard{Epoch: number(t, words[0])}
	for i := 1; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		i++
		switch words[i-1] {
		case "leader":
			s.LeaderEpoch = number(t, value)
		case "born":
			s.EmptySince = number(t, value)
		case "primary":
			s.Primary = NodeID(value)
		case "isr":
			s.ISR = ids(value)
		case "unclean":
			s.Unclean = ids(value)
		case "learners":
			s.Learners = ids(value)
		case "assigned":
			s.Assigned = ids(value)
		case "wiped":
			s.Wiped = ids(value)
		case "lossy":
			s.Lossy = true
			i--
		case "relinquished":
			s.Relinquished = true
			i--
		case "unsealed":
			s.Unsealed = true
			i--
		default:
			t.Fatalf("%q in the row %q", words[i-1], text)
		}
	}
	if s.Primary != "" && s.LeaderEpoch == 0 {
		s.LeaderEpoch = s.Epoch
	}
	return s
}

// parseOp reads an op: KIND NODE/INC e7 isr a,b by a/1,b/1 assigned a,b store X was 1, and the words empty, unclean,
// takeover, lock. Of a join, NODE/INC is the new process.
func parseOp(t testing.TB, text string) Op {
	t.Helper()
	words := strings.Fields(text)
	op := Op{Kind: Kind(words[0])}
	store := ""
	for i := 1; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch word := words[i]; {
		case word == "empty":
			op.Empty = true
		case word == "lossy":
			op.Lossy = true
		case word == "unclean":
			op.Unclean = true
		case word == "takeover":
			op.Takeover = true
		case word == "lock":
			op.SameLock = true
		case word == "isr" || word == "to":
			op.Members = ids(value)
			i++
		case word == "by":
			for _, w := range strings.Split(value, ",") {
				id, inc, _ := strings.Cut(w, "/")
				op.Reporters = append(op.Reporters, Reporter{NodeID(id), number(t, inc)})
			}
			i++
		case word == "starts":
			for start := range strings.SplitSeq(value, ",") {
				op.Starts = append(op.Starts, number(t, start))
			}
			i++
		case word == "store":
			store = value
			i++
		case word == "stores":
			op.Stores = strings.Split(value, ",")
			i++
		case word == "shard":
			n, _ := strconv.Atoi(value)
			op.Shard = ShardID(n)
			i++
		case word[0] == 'e' && len(word) > 1 && word[1] >= '0' && word[1] <= '9':
			op.Epoch = number(t, word[1:])
		default:
			id, inc, _ := strings.Cut(word, "/")
			op.Node = NodeID(id)
			if inc != "" {
				op.Incarnation = number(t, inc)
			}
		}
	}
	if op.Kind == NodeJoin {
		if store == "" {
			store = strings.ToUpper(string(op.Node))
		}
		op.Nodes = []Node{{ID: op.Node, Incarnation: op.Incarnation, Store: store, Log: true}}
		op.Node, op.Incarnation = "", 0
	}
	return op
}

func number(t testing.TB, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
