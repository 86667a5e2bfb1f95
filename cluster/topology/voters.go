package topology

import (
	"cmp"
	"slices"
)

// VoterTimeout is how many milliseconds a voter may be dead before another node gets its vote.
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

// VotersWanted returns how many voters a cluster of that many nodes should have.
func VotersWanted(nodes int) int {
	switch {
	case nodes < 3:
		return 1
	case nodes < 5:
		return 3
	}
	return 5
}

// standing is how much a server may be a voter, worst first.
type standing int

const (
	stray   standing = iota // of no member: its node is forgotten, or came back with another data folder
	dead                    // for longer than VoterTimeout
	leaving                 // a vote while nobody else can take it
	good
)

// PlanVoters returns how the raft configuration should change next: servers that get a vote, lose it, or are taken out. It returns one change of a voter at a time, as raft makes them; done and
// asked again, it comes to an end. Servers of one node, where it came back with another data folder, are told apart by their ids.
//
// Without a live majority of voters it returns nothing, as nothing could be decided. A vote goes to its heir before it is taken away. Nothing is taken away that would leave fewer live voters than the majority that it then needs.
// Where too few nodes live for as many voters as there should be, their number is odd: one more would be one more that can be missing, and no majority that can
// do without it.
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
	all, heirs := p.number()
	alone := all < want && all%2 == 1 && heirs == 1 && p.voters(leaving) == all // the heir would be, and no dead voter can go for it
	for _, worst := range []standing{good, leaving} {
		if p.voters(worst) >= want || alone {
			break
		}
		if id, ok := p.heir(worst); ok {
			return []string{id}, nil, remove
		}
	}
	if all < want && all%2 == 0 && heirs == 0 {
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

// count returns how many voters there are, and how many of them live.
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

// number counts the voters, and those that could become voters.
func (p *votePlan) number() (all, heirs int) {
	for _, s := range p.servers {
		switch {
		case s.Voter:
			all++
		case s.Alive && p.standing(s) >= leaving:
			heirs++
		}
	}
	return all, heirs
}

// voters counts those that are at least as good as worst.
func (p *votePlan) voters(worst standing) (n int) {
	for _, s := range p.servers {
		if s.Voter && p.standing(s) >= worst {
			n++
		}
	}
	return n
}

// zone counts the other voters of a server's zone that do not go soon.
func (p *votePlan) zone(of Server) (n int) {
	for _, s := range p.servers {
		if s.Voter && s.ID != of.ID && s.Zone == of.Zone && p.standing(s) >= leaving {
			n++
		}
	}
	return n
}

// heir returns the live server without a vote that is to get one: of the zone with the fewest.
func (p *votePlan) heir(worst standing) (string, bool) {
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

// surplus returns the voter that is to lose its vote: one of no member, or the worst of too many, of the zone with the most.
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
				return int(leaving) // dead, if not for long
			}
			return int(p.standing(s))
		}
		if !found || cmp.Or(rank(s)-rank(worst), p.zone(worst)-p.zone(s)) <= 0 {
			worst, found = s, true
		}
	}
	return worst, found
}
