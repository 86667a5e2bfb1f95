package topology

import (
	"cmp"
	"slices"
)

// VoterTimeout is how long, in milliseconds, a voter may be dead before its vote moves to another node.
const VoterTimeout = 10_000

// Server is one member of the raft configuration.
type Server struct {
	ID      string // node id/store
	Node    NodeID
	Zone    string
	Voter   bool
	Alive   bool
	DeadFor int64 // ms
}

// VotersWanted returns how many voters a cluster of the given number of nodes should have.
func VotersWanted(nodes int) int {
	switch {
	case nodes < 3:
		return 1
	case nodes < 5:
		return 3
	}
	return 5
}

// standing is the suitability of a server as a voter, worst first.
type standing int

const (
	stray   standing = iota // not a member: its node was forgotten, or came back with another data folder
	dead                    // for longer than VoterTimeout
	leaving                 // keeps its vote only until another node can take it
	good
)

// PlanVoters returns the next change of the raft configuration: servers to promote to voters, to demote, or
// to remove. It changes one voter at a time, as raft does, and repeated calls come to an end. If a node
// came back with another data folder, it has several servers; their ids differ.
//
// Without a live majority of voters it returns nothing, because raft could not commit it. A vote moves to
// a candidate before its holder is demoted, and no demotion leaves fewer live voters than the majority
// that is then needed. If too few nodes are alive for the wanted number of voters, their number is odd:
// an additional voter would raise the majority and could fail, without a failure more being tolerated.
func PlanVoters(servers []Server, members []Node) (promote, demote, remove []string) {
	p := votePlan{members: members}
	for _, s := range servers {
		if p.standing(s) == stray && !s.Voter {
			remove = append(remove, s.ID)
			continue
		}
		p.servers = append(p.servers, s)
	}
	slices.Sort(remove)
	slices.SortFunc(p.servers, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })

	if all, live := p.count(); live <= all/2 {
		return nil, nil, nil
	}
	want := VotersWanted(len(members))
	all, candidates := p.number()
	alone := all < want && all%2 == 1 && candidates == 1 && p.voters(leaving) == all // it would make the number even, and no dead voter can be demoted in exchange
	for _, worst := range []standing{good, leaving} {
		if p.voters(worst) >= want || alone {
			break
		}
		if id, ok := p.candidate(worst); ok {
			return []string{id}, nil, remove
		}
	}
	if all < want && all%2 == 0 && candidates == 0 {
		want = all - 1
	}
	if s, ok := p.surplus(want); ok {
		if p.standing(s) == stray {
			remove = append(remove, s.ID)
		} else {
			demote = []string{s.ID}
		}
	}
	return nil, demote, remove
}

type votePlan struct {
	servers []Server
	members []Node
}

func (p *votePlan) standing(s Server) standing {
	i, ok := find(p.members, s.Node)
	switch {
	case !ok || p.members[i].Store != "" && s.ID != string(s.Node)+"/"+p.members[i].Store:
		return stray
	case !s.Alive && s.DeadFor >= VoterTimeout:
		return dead
	case p.members[i].State == Leaving:
		return leaving
	}
	return good
}

// count returns the number of voters, and of live voters.
func (p *votePlan) count() (all, live int) {
	for _, s := range p.servers {
		if s.Voter {
			all++
			if s.Alive {
				live++
			}
		}
	}
	return all, live
}

// number returns the number of voters, and of servers that could become voters.
func (p *votePlan) number() (all, candidates int) {
	for _, s := range p.servers {
		switch {
		case s.Voter:
			all++
		case s.Alive && p.standing(s) >= leaving:
			candidates++
		}
	}
	return all, candidates
}

// voters returns the number of voters with at least the standing worst.
func (p *votePlan) voters(worst standing) (n int) {
	for _, s := range p.servers {
		if s.Voter && p.standing(s) >= worst {
			n++
		}
	}
	return n
}

// zone returns how many other voters a server's zone has, without those that are about to lose their vote.
func (p *votePlan) zone(of Server) (n int) {
	for _, s := range p.servers {
		if s.Voter && s.ID != of.ID && s.Zone == of.Zone && p.standing(s) >= leaving {
			n++
		}
	}
	return n
}

// candidate returns the live non-voter to promote, in the zone with the fewest voters.
func (p *votePlan) candidate(worst standing) (string, bool) {
	best, found := Server{}, false
	for _, s := range p.servers {
		if s.Voter || !s.Alive || p.standing(s) < worst {
			continue
		}
		if !found || p.zone(s) < p.zone(best) {
			best, found = s, true
		}
	}
	return best.ID, found
}

// surplus returns the voter to demote or remove: a stray one, or if there are too many the one with the
// worst standing, in the zone with the most voters.
func (p *votePlan) surplus(want int) (Server, bool) {
	all, live := p.count()
	worst, found := Server{}, false
	for _, s := range p.servers {
		if !s.Voter || all <= want && p.standing(s) != stray {
			continue
		}
		left := live
		if s.Alive {
			left--
		}
		if left < (all-1)/2+1 {
			continue
		}
		rank := func(s Server) int {
			if p.standing(s) == good && !s.Alive {
				return int(leaving) // dead, but not for VoterTimeout
			}
			return int(p.standing(s))
		}
		if !found || cmp.Or(rank(s)-rank(worst), p.zone(worst)-p.zone(s)) <= 0 {
			worst, found = s, true
		}
	}
	return worst, found
}
