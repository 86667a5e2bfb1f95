package topology

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the transcripts come to instead of comparing it: read the difference before it is kept")

// Transcripts are blocks: commands, a line "----", and the output up to an empty line. A command is a name, then values, then key=value.
//
//	create a,b epoch=5 [keep=a] [replicas=2]     join a inc=2 [store=X] [zone=Z]     leave a     forget a
//	OP SHARD a e=7 [inc=2] [isr=a,b] [empty]     any other op: promote, resign, shrink-isr, add-learner, expand-isr, transfer-primary, assign SHARD a,b e=7
//	see a inc=2 [flaps=3]      gossip sees that a is alive       dead a       pass 1000     time in ms       plan     plan and apply
//	handover a [data=1,2]      apply the handovers of a        show         nodes, and equal shards together
//	config-set NAME [VALUE]    config-reset NAME               settings     settings of the cluster, and the entry that last changed each
//	voters SERVER... [nodes=a,b]      until nothing changes; a is a non-voter, a+ a voter, a+! a voter dead for VoterTimeout
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{t: t, topo: &Topology{}, view: View{Now: 1_000_000, Nodes: map[NodeID]Liveness{}}}
			got := s.run(string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s: it comes to\n%s", file, got)
			}
		})
	}
}

type script struct {
	t    *testing.T
	topo *Topology
	view View
	out  strings.Builder
}

func (s *script) run(text string) string {
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		commands, _, asks := strings.Cut(block+"\n", "----\n")
		out.WriteString(commands)
		s.out.Reset()
		for _, line := range strings.Split(commands, "\n") {
			if line != "" && line[0] != '#' {
				s.command(strings.Fields(line))
			}
		}
		if asks {
			out.WriteString("----\n" + s.out.String())
		} else if s.out.Len() > 0 {
			s.t.Fatalf("%q comes to %q, and does not ask", commands, s.out.String())
		}
	}
	return out.String()
}

func (s *script) command(words []string) {
	args, options := []string{}, map[string]string{}
	for _, word := range words[1:] {
		if k, v, ok := strings.Cut(word, "="); ok || word == "empty" {
			options[k] = v
		} else {
			args = append(args, word)
		}
	}
	number := func(s string) uint64 { n, _ := strconv.ParseUint(s, 10, 64); return n }
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	id := NodeID(arg(0))
	switch kind := words[0]; kind {
	case "create":
		op := Op{Kind: Create, Cluster: "c", Shards: MinShards, Replicas: int(number(options["replicas"])), Epoch: number(options["epoch"]), Node: NodeID(options["keep"])}
		for _, id := range ids(arg(0)) {
			op.Nodes = append(op.Nodes, Node{ID: id, Incarnation: 1, Store: string(id) + "'s"})
			s.view.Nodes[id] = Liveness{Alive: true, Incarnation: 1}
		}
		s.apply(op)
	case "join":
		n := Node{ID: id, Incarnation: number(options["inc"]), Zone: options["zone"], Store: string(id) + "'s"}
		if options["store"] != "" {
			n.Store = options["store"]
		}
		before := len(s.topo.Nodes)
		s.apply(Op{Kind: NodeJoin, Nodes: []Node{n}})
		if len(s.topo.Nodes) != before {
			s.view.NodesChanged = s.view.Now
		}
		s.view.Nodes[id] = Liveness{Alive: true, Incarnation: n.Incarnation}
	case "leave":
		s.apply(Op{Kind: NodeLeave, Node: id})
		s.view.NodesChanged = s.view.Now
	case "forget":
		s.apply(Op{Kind: NodeForget, Node: id})
		s.view.NodesChanged = s.view.Now
	case "see":
		s.view.Nodes[id] = Liveness{Alive: true, Incarnation: number(options["inc"]), Flaps: int(number(options["flaps"])), LastFlap: s.view.Now}
	case "dead":
		s.view.Nodes[id] = Liveness{}
	case "pass":
		s.view.Now += int64(number(arg(0)))
	case "plan":
		s.do(s.topo.Plan(s.view))
	case "handover":
		s.do(s.topo.Handover(id, func(id NodeID) bool { return s.view.Nodes[id].Alive }, func(shard ShardID) bool {
			return !slices.Contains(strings.Split(options["data"], ","), strconv.Itoa(int(shard)))
		}))
	case "show":
		s.show()
	case "settings":
		s.settings()
	case "config-set", "config-reset":
		s.apply(Op{Kind: Kind(kind), Name: arg(0), Value: arg(1)})
	case "voters":
		s.voters(args, ids(options["nodes"]))
	case "assign":
		s.apply(Op{Kind: Assign, Shard: ShardID(number(arg(0))), Epoch: number(options["e"]), Members: ids(arg(1))})
	default:
		_, empty := options["empty"]
		s.apply(Op{Kind: Kind(kind), Shard: ShardID(number(arg(0))), Epoch: number(options["e"]), Node: NodeID(arg(1)), Incarnation: number(options["inc"]), Members: ids(options["isr"]), Empty: empty})
	}
}

// apply applies ops, and prints only refusals.
func (s *script) apply(ops ...Op) {
	next, errs := s.topo.Apply(s.topo.Index+1, Command{ops})
	for _, err := range errs {
		if err != nil {
			fmt.Fprintln(&s.out, err)
		}
	}
	if err := next.Check(); err != nil {
		s.t.Fatal(err)
	}
	if err := CheckStep(s.topo, next); err != nil {
		s.t.Fatal(err)
	}
	s.topo = next
}

// do prints planned ops, equal ones on one line, and applies them.
func (s *script) do(ops []Op) {
	s.group(len(ops), func(i int) (string, ShardID) {
		line := string(ops[i].Kind)
		if n := ops[i].Node; n != "" {
			line += fmt.Sprintf(" %s/%d", n, ops[i].Incarnation)
		}
		if len(ops[i].Members) > 0 {
			line += fmt.Sprint(" ", ops[i].Members)
		}
		if ops[i].Empty {
			line += " empty"
		}
		return line, ops[i].Shard
	})
	if len(ops) == 0 {
		s.out.WriteString("nothing\n")
	}
	s.apply(ops...)
}

func (s *script) show() {
	for _, n := range s.topo.Nodes {
		fmt.Fprintln(&s.out, strings.TrimSpace(fmt.Sprintf("%s/%d %s %s", n.ID, n.Incarnation, n.Store, n.State)))
	}
	s.group(len(s.topo.Shards), func(i int) (string, ShardID) {
		row := s.topo.Shards[i]
		line := fmt.Sprintf("epoch %d empty since %d primary %s isr %v assigned %v", row.Epoch, row.EmptySince, cmp.Or(row.Primary, "-"), row.ISR, row.Assigned)
		if len(row.Learners) > 0 {
			line += fmt.Sprint(" learners ", row.Learners)
		}
		return line, ShardID(i)
	})
}

func (s *script) settings() {
	for _, name := range slices.Sorted(maps.Keys(s.topo.SetAt)) {
		value, ok := s.topo.Settings[name]
		if !ok {
			value = "(each node's own)"
		}
		fmt.Fprintf(&s.out, "%s %s by entry %d\n", name, value, s.topo.SetAt[name])
	}
	if len(s.topo.SetAt) == 0 {
		s.out.WriteString("none\n")
	}
}

// group writes each distinct line once, in order of first occurrence, with its shards.
func (s *script) group(n int, at func(int) (string, ShardID)) {
	var order []string
	shards := map[string][]string{}
	for i := range n {
		line, shard := at(i)
		if shards[line] == nil {
			order = append(order, line)
		}
		shards[line] = append(shards[line], strconv.Itoa(int(shard)))
	}
	for _, line := range order {
		if strings.HasPrefix(line, "node-") {
			fmt.Fprintln(&s.out, line)
			continue
		}
		fmt.Fprintf(&s.out, "%s: %s\n", line, strings.Join(shards[line], " "))
	}
}

func (s *script) voters(words []string, nodes []NodeID) {
	var members []Node
	for _, id := range nodes {
		members = append(members, Node{ID: id})
	}
	var servers []Server
	for _, w := range words {
		id := strings.TrimRight(w, "+!")
		servers = append(servers, Server{ID: id, Node: NodeID(id), Voter: strings.Contains(w, "+"), Alive: !strings.Contains(w, "!"), DeadFor: VoterTimeout})
	}
	for {
		promote, demote, remove := PlanVoters(servers, members)
		if len(promote)+len(demote)+len(remove) == 0 {
			break
		}
		fmt.Fprintf(&s.out, "promote %v demote %v remove %v\n", promote, demote, remove)
		var next []Server
		for _, srv := range servers {
			srv.Voter = (srv.Voter || slices.Contains(promote, srv.ID)) && !slices.Contains(demote, srv.ID)
			if !slices.Contains(remove, srv.ID) {
				next = append(next, srv)
			}
		}
		servers = next
	}
	var with []string
	for _, srv := range servers {
		if srv.Voter {
			with = append(with, srv.ID)
		}
	}
	fmt.Fprintln(&s.out, "voters", with)
}
