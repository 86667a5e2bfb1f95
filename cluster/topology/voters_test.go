package topology

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// vote applies the changes of PlanVoters until there are none. After each step a majority of the voters must
// be alive if one was before.
func vote(t *testing.T, servers []Server, members []Node) []Server {
	t.Helper()
	for range 50 {
		promote, demote, remove := PlanVoters(servers, members)
		if len(promote)+len(demote)+len(remove) == 0 {
			return servers
		}
		had, changed := quorum(servers), 0
		var next []Server
		for _, s := range servers {
			was := s.Voter
			s.Voter = (s.Voter || slices.Contains(promote, s.ID)) && !slices.Contains(demote, s.ID)
			if slices.Contains(remove, s.ID) {
				if was {
					changed++
				}
				continue
			}
			if was != s.Voter {
				changed++
			}
			next = append(next, s)
		}
		if changed > 1 {
			t.Fatalf("%d votes change at once: %v %v %v", changed, promote, demote, remove)
		}
		if had && !quorum(next) {
			t.Fatalf("no majority is left: %+v, then %v %v %v", servers, promote, demote, remove)
		}
		servers = next
	}
	t.Fatalf("it does not come to an end: %+v", servers)
	return nil
}

func quorum(servers []Server) bool {
	all, live := 0, 0
	for _, s := range servers {
		if s.Voter {
			all++
			if s.Alive {
				live++
			}
		}
	}
	return live > all/2
}

func TestVotersComeToBeThoseWanted(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 5))
		n := 1 + r.IntN(9)
		var members []Node
		var servers []Server
		live := 0
		for i := range n {
			m := Node{ID: NodeID(rune('a' + i)), Store: "s"}
			if r.IntN(8) == 0 {
				m.State = Leaving
			}
			members = append(members, m)
			s := Server{ID: string(m.ID) + "/s", Node: m.ID, Zone: fmt.Sprint(r.IntN(3)), Voter: r.IntN(2) == 0, Alive: r.IntN(4) > 0}
			if s.Alive {
				live++
			} else {
				s.DeadFor = r.Int64N(2 * VoterTimeout)
			}
			servers = append(servers, s)
			if r.IntN(5) == 0 {
				servers = append(servers, Server{ID: string(m.ID) + "/old", Node: m.ID, Voter: r.IntN(2) == 0, Alive: r.IntN(4) == 0, DeadFor: r.Int64N(2 * VoterTimeout)})
			}
		}
		if r.IntN(3) == 0 {
			servers = append(servers, Server{ID: "z/s", Node: "z", Voter: r.IntN(2) == 0, Alive: r.IntN(2) == 0, DeadFor: VoterTimeout})
		}
		if !quorum(servers) {
			continue // raft cannot commit
		}
		voters, up := 0, 0
		servers = vote(t, servers, members)
		for i := range servers {
			servers[i].DeadFor += VoterTimeout // dead nodes stay dead
		}
		servers = vote(t, servers, members)
		for i, s := range servers {
			if rest := slices.Delete(slices.Clone(servers), i, i+1); (s.Node == "z" || s.ID == string(s.Node)+"/old") && (!s.Voter || quorum(rest)) {
				t.Fatalf("seed %d: %s is still there: %+v", seed, s.ID, servers)
			}
			if s.Voter {
				voters++
				if s.Alive {
					up++
				}
			}
		}
		want := VotersWanted(n)
		odd := min(want, live)
		odd -= 1 - odd%2
		if up < odd && voters < want || voters > max(want, 2*want-1) || voters < want && voters%2 == 0 {
			t.Fatalf("seed %d: %d voters, %d of them alive, of %d nodes with %d alive", seed, voters, up, n, live)
		}
	}
}

// Of two live nodes the second has no vote, because then both would have to stay alive. It gets one in
// exchange for a dead voter's.
func TestVotersAreOdd(t *testing.T) {
	for _, tc := range []struct {
		name, voters, others, dead string
		members, want              int
	}{
		{"one, and one more", "a", "b", "", 5, 1},
		{"one, and two more", "a", "bc", "", 5, 3},
		{"two, of five", "ab", "", "", 5, 1},
		{"three, and one more", "abc", "d", "", 5, 3},
		{"four, one of them dead", "abcd", "", "d", 5, 3},
		{"three, one of them dead, and one more", "abc", "d", "c", 5, 3},
		{"three, one of them dead", "abc", "", "c", 5, 3},
		{"five, one of them dead", "abcde", "", "e", 5, 5},
		{"three, and two more", "abc", "de", "", 5, 5},
	} {
		var members []Node
		var servers []Server
		for i := range tc.members {
			members = append(members, Node{ID: NodeID(rune('a' + i)), Store: "s"})
		}
		for _, id := range tc.voters + tc.others {
			s := Server{ID: string(id) + "/s", Node: NodeID(id), Voter: strings.ContainsRune(tc.voters, id), Alive: !strings.ContainsRune(tc.dead, id)}
			if !s.Alive {
				s.DeadFor = VoterTimeout
			}
			servers = append(servers, s)
		}
		got := 0
		for _, s := range vote(t, servers, members) {
			if s.Voter {
				got++
			}
		}
		if got != tc.want {
			t.Errorf("%s: it comes to %d voters, want %d", tc.name, got, tc.want)
		}
	}
}

func TestVotersAreSpreadOverZones(t *testing.T) {
	var members []Node
	var servers []Server
	for i := range 9 {
		id := NodeID(rune('a' + i))
		members = append(members, Node{ID: id})
		servers = append(servers, Server{ID: string(id), Node: id, Zone: fmt.Sprint(i / 3), Voter: i == 0, Alive: true})
	}
	zones := map[string]int{}
	for _, s := range vote(t, servers, members) {
		if s.Voter {
			zones[s.Zone]++
		}
	}
	for z := range 3 {
		if n := zones[fmt.Sprint(z)]; n < 1 || n > 2 {
			t.Errorf("zone %d has %d of five votes", z, n)
		}
	}
	// All servers dead, or no servers: no panic, no vote lost.
	for i := range servers {
		servers[i].Alive, servers[i].DeadFor = false, VoterTimeout
	}
	if promote, demote, remove := PlanVoters(servers, members); len(promote)+len(demote)+len(remove) > 0 {
		t.Errorf("with all dead: %v %v %v", promote, demote, remove)
	}
	if promote, demote, remove := PlanVoters(nil, nil); len(promote)+len(demote)+len(remove) > 0 {
		t.Error("something of nothing")
	}
}
