package topology

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/transcript"
)

// A command of a transcript is a name, then values, then key=value.
//
//	create a,b epoch=5 [keep=a] [replicas=2]     leave a     forget a
//	join a inc=2 [store=X] [zone=Z] [unclean] [was=1] [nolock] [nolog] [always]      was: as the topology has it
//	OP SHARD a e=7 [inc=2] [isr=a,b] [by=a/2] [empty] [unclean] [takeover]     any other op: promote, resign, shrink-isr, add-learner, ..., assign SHARD a,b e=7
//	report a [end=7/3] [shards=0,1]      a reports the shards in whose ISR it is, and those that ask all; it has what end says
//	recover      raft is recovered       begin-empty SHARD...      an operator's word       auto      without his word       waits      what shards wait for
//	see a inc=2 [flaps=3]      gossip sees that a is alive       dead a       pass 1000     time in ms       plan     plan and apply
//	catch-up     the learners that are alive get into the ISR
//	moves a [data=1,2]         apply the moves of a, whose shards 1 and 2 have data        show         nodes, and equal shards together
//	config-set NAME [VALUE]    config-reset NAME               settings     settings of the cluster, and the entry that last changed each
//	voters SERVER... [nodes=a,b]      until nothing changes; a is a non-voter, a+ a voter, a+! a voter dead for VoterTimeout
func TestTranscripts(t *testing.T) {
	transcript.Test(t, 8, func(t *testing.T) func([]string) string {
		s := &script{t: t, topo: &Topology{}, view: View{Now: 1_000_000, Nodes: map[NodeID]Liveness{}, Reports: map[ShardID][]Report{}, WipedSince: map[NodeID]int64{}, Format: LatestFormat}}
		return func(words []string) string {
			s.out.Reset()
			s.command(words)
			return s.out.String()
		}
	})
}

type script struct {
	t    *testing.T
	topo *Topology
	view View
	out  strings.Builder
}

func (s *script) command(words []string) {
	args, options := []string{}, map[string]string{}
	flags := []string{"empty", "unclean", "takeover", "nolock", "nolog", "always"}
	for _, word := range words[1:] {
		if k, v, ok := strings.Cut(word, "="); ok || slices.Contains(flags, word) {
			options[k] = v
		} else {
			args = append(args, word)
		}
	}
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	id := NodeID(arg(0))
	switch kind := words[0]; kind {
	case "create":
		s.create(ids(arg(0)), options)
	case "join":
		s.join(id, options)
	case "leave":
		s.apply(Op{Kind: NodeLeave, Node: id})
		s.view.NodesChanged = s.view.Now
	case "forget":
		s.apply(Op{Kind: NodeForget, Node: id})
		s.view.NodesChanged = s.view.Now
	case "recover":
		s.topo = s.topo.Recovered(s.topo.Index+1, 1000)
	case "show":
		s.show()
	case "settings":
		s.settings()
	case "waits":
		s.waits()
	case "config-set", "config-reset":
		s.apply(Op{Kind: Kind(kind), Name: arg(0), Value: arg(1)})
	case "voters":
		s.voters(args, ids(options["nodes"]))
	case "begin-empty":
		for _, shard := range args {
			row := s.topo.Shards[s.number(shard)]
			s.apply(Op{Kind: BeginEmpty, Shard: ShardID(s.number(shard)), Epoch: row.Epoch})
		}
	case "assign":
		s.apply(Op{Kind: Assign, Shard: ShardID(s.number(arg(0))), Epoch: s.number(options["e"]), Members: ids(arg(1))})
	default:
		if !s.control(kind, id, options) {
			s.op(kind, args, options)
		}
	}
}

// number reads a number; an absent one is 0.
func (s *script) number(text string) uint64 {
	if text == "" {
		return 0
	}
	return number(s.t, text)
}

// control runs the commands that change what the controller knows, or that act on it.
func (s *script) control(kind string, id NodeID, options map[string]string) bool {
	switch kind {
	case "see":
		s.view.Nodes[id] = Liveness{Alive: true, Format: LatestFormat, Incarnation: s.number(options["inc"]), Flaps: int(s.number(options["flaps"])), LastFlap: s.view.Now}
	case "dead":
		s.view.Nodes[id] = Liveness{}
	case "pass":
		s.view.Now += int64(s.number(string(id)))
	case "auto":
		s.view.EmptyShards = EmptyAuto
	case "report":
		s.report(id, options)
	case "plan":
		s.view.Loads = noLoads(s.topo)
		s.do(s.topo.Plan(s.view))
	case "catch-up":
		s.catchUp()
	case "moves":
		s.do(s.topo.Moves(id, func(id NodeID) bool { return s.view.Nodes[id].Alive }, func(shard ShardID) bool {
			return !slices.Contains(strings.Split(options["data"], ","), strconv.Itoa(int(shard)))
		}))
	default:
		return false
	}
	return true
}

func (s *script) create(nodes []NodeID, options map[string]string) {
	op := Op{Kind: Create, Cluster: "c", Shards: MinShards, Replicas: int(s.number(options["replicas"])), Epoch: s.number(options["epoch"]), Format: LatestFormat, Node: NodeID(options["keep"])}
	_, op.Unclean = options["unclean"]
	for _, id := range nodes {
		op.Nodes = append(op.Nodes, Node{ID: id, Incarnation: 1, Store: string(id) + "'s", Log: true})
		s.view.Nodes[id] = Liveness{Alive: true, Format: LatestFormat, Incarnation: 1}
	}
	s.apply(op)
}

func (s *script) join(id NodeID, options map[string]string) {
	has := func(name string) bool { _, ok := options[name]; return ok }
	n := Node{ID: id, Incarnation: s.number(options["inc"]), Zone: options["zone"], Store: cmp.Or(options["store"], string(id)+"'s"), Log: !has("nolog"), Always: has("always")}
	was, _ := s.topo.Node(id)
	op := Op{Kind: NodeJoin, Nodes: []Node{n}, Starts: []uint64{was.Incarnation}, SameLock: !has("nolock"), Unclean: has("unclean")}
	if has("starts") {
		op.Starts = []uint64{s.number(options["starts"])}
	}
	before := len(s.topo.Nodes)
	s.apply(op)
	if len(s.topo.Nodes) != before {
		s.view.NodesChanged = s.view.Now
	}
	s.view.Nodes[id] = Liveness{Alive: true, Format: LatestFormat, Incarnation: n.Incarnation}
	for _, id := range s.topo.WipedNodes() {
		if s.view.WipedSince[id] == 0 {
			s.view.WipedSince[id] = s.view.Now
		}
	}
}

// report adds the reports of a node, in the epochs and the incarnation of the topology.
func (s *script) report(id NodeID, options map[string]string) {
	n, _ := s.topo.Node(id)
	epoch, seq, _ := strings.Cut(cmp.Or(options["end"], "0/0"), "/")
	for i, row := range s.topo.Shards {
		shard := ShardID(i)
		if row.Primary == id || !slices.Contains(row.ISR, id) && !(row.AsksAll() && slices.Contains(row.Learners, id)) {
			continue
		}
		if options["shards"] != "" && !slices.Contains(strings.Split(options["shards"], ","), strconv.Itoa(i)) {
			continue
		}
		r := Report{Node: id, Incarnation: n.Incarnation, Shard: shard, Epoch: row.Epoch, Point: Point{s.number(epoch), s.number(seq)}, At: s.view.Now}
		s.view.Reports[shard] = append(slices.DeleteFunc(s.view.Reports[shard], func(r Report) bool { return r.Node == id }), r)
	}
}

// catchUp is what primaries do about learners.
func (s *script) catchUp() {
	var ops []Op
	for i, row := range s.topo.Shards {
		for _, id := range row.Learners {
			if n, _ := s.topo.Node(id); row.Primary != "" && s.view.Nodes[id].Alive {
				ops = append(ops, Op{Kind: ExpandISR, Shard: ShardID(i), Epoch: row.Epoch, Node: id, Incarnation: n.Incarnation})
				row.Epoch++
			}
		}
	}
	s.do(ops)
}

func (s *script) op(kind string, args []string, options map[string]string) {
	has := func(name string) bool { _, ok := options[name]; return ok }
	op := Op{Kind: Kind(kind), Shard: ShardID(s.number(args[0])), Epoch: s.number(options["e"]), Incarnation: s.number(options["inc"]), Members: ids(options["isr"]), Empty: has("empty"), Unclean: has("unclean"), Takeover: has("takeover")}
	if len(args) > 1 {
		op.Node = NodeID(args[1])
	}
	for _, r := range ids(options["by"]) {
		id, inc, _ := strings.Cut(string(r), "/")
		op.Reporters = append(op.Reporters, Reporter{NodeID(id), s.number(inc)})
	}
	s.apply(op)
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
func (s *script) do(all []Op) {
	var ops []Op
	for _, op := range all {
		if op.Kind != SetPlacement {
			ops = append(ops, op)
		}
		for _, p := range op.Places {
			ops = append(ops, Op{Kind: "place on", Shard: p.Shard, Members: p.Members})
		}
	}
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
		if ops[i].Unclean {
			line += " unclean"
		}
		if len(ops[i].Reporters) > 0 {
			line += " by"
		}
		for _, r := range ops[i].Reporters {
			line += fmt.Sprintf(" %s/%d", r.Node, r.Incarnation)
		}
		return line, ops[i].Shard
	})
	if len(ops) == 0 {
		s.out.WriteString("nothing\n")
	}
	s.apply(all...)
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
		if row.LeaderEpoch != 0 && row.LeaderEpoch != row.Epoch {
			line += fmt.Sprint(" leader epoch ", row.LeaderEpoch)
		}
		if len(row.Unclean) > 0 {
			line += fmt.Sprint(" unclean ", row.Unclean)
		}
		if len(row.Wiped) > 0 {
			line += fmt.Sprint(" wiped ", row.Wiped)
		}
		for _, is := range []struct {
			name string
			set  bool
		}{{"lossy", row.Lossy}, {"relinquished", row.Relinquished}, {"unsealed", row.Unsealed}} {
			if is.set {
				line += " " + is.name
			}
		}
		return line, ShardID(i)
	})
	if s.topo.PossibleLosses > 0 {
		fmt.Fprintln(&s.out, "possible losses", s.topo.PossibleLosses)
	}
}

// waits writes what shards without a primary wait for.
func (s *script) waits() {
	s.group(len(s.topo.Shards), func(i int) (string, ShardID) {
		wait, ok := s.topo.Shards[i].Wait()
		if !ok {
			return "-", ShardID(i)
		}
		return strings.TrimSpace(fmt.Sprint("waits for ", wait.Reason, " of ", wait.Nodes)), ShardID(i)
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
