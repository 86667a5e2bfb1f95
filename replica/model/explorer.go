package main

import (
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"sync"
	"unsafe"
)

// bounds are how much may happen in a run.
type bounds struct {
	isr, epochs                             int // isr: members of the ISR at the beginning
	writes, kills, powers, wipes, handovers int
	backups                                 int // folders that are put back to an earlier state
}

// explorer looks for a violation and counts what it has seen.
type explorer struct {
	bounds bounds
	flaws  flaws

	states, transitions, depth int
	complete                   bool // it has seen every state within the bounds
	found                      *violation
	schedule                   []string // the steps that lead to it

	taken map[string]bool // if not nil, walks note here which kinds of steps they took
}

var hashSeed = maphash.MakeSeed()

// hash takes the memory of the state, which has no padding. 64 bits tell states apart: with 10
// million states about three runs in a million miss one.
func (s *state) hash() uint64 {
	return maphash.Bytes(hashSeed, unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)))
}

// follow calls each with what can follow s within the bounds, and returns what is wrong with a step.
func (e *explorer) follow(s *state, each emit) (wrong *violation) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case violation:
			wrong = &r
		default:
			panic(r)
		}
	}()
	s.steps(&e.flaws, func(what string, numbers []uint8, next *state) {
		if int(next.now().epoch) <= e.bounds.epochs {
			each(what, numbers, next)
		}
	})
	return nil
}

// link is how a state was reached: the state before it, and the number of the step among those
// that follow that state.
type link struct{ parent, step uint32 }

// worker explores a part of one level.
type worker struct {
	next  []state
	links []link
	steps int
	at    uint32 // the state of which a step is wrong
	wrong *violation
}

// search is breadth first, so that what it finds is as short as can be. It stops after a level
// with which it has seen more than limit states.
func (e *explorer) search(limit int) {
	first := start(e.bounds)
	seen := newHashes()
	seen.add(first.hash())
	links := []link{{}}
	level, base := []state{first}, uint32(0) // the id of level[k] is base + k
	for ; len(level) > 0; e.depth++ {
		workers := e.explore(level, base, seen)
		base = uint32(len(links))
		level = nil
		for _, w := range workers {
			e.transitions += w.steps
			links = append(links, w.links...)
			level = append(level, w.next...)
			if w.wrong != nil && e.found == nil {
				e.found = w.wrong
				e.retrace(first, pathTo(w.at, links))
			}
		}
		if e.states = len(links); e.found != nil || e.states > limit {
			return
		}
	}
	e.complete = true
}

// explore takes every step from the states of a level, with all processors.
func (e *explorer) explore(level []state, base uint32, seen *hashes) []worker {
	workers := make([]worker, runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			w := &workers[i]
			for k := i; k < len(level) && w.wrong == nil; k += len(workers) {
				step := uint32(0)
				w.at = base + uint32(k)
				w.wrong = e.follow(&level[k], func(_ string, _ []uint8, next *state) {
					step++
					if seen.add(next.hash()) {
						w.next, w.links = append(w.next, *next), append(w.links, link{w.at, step})
					}
				})
				w.steps += int(step)
			}
		})
	}
	group.Wait()
	return workers
}

// pathTo returns the steps to a state, the first one first.
func pathTo(at uint32, links []link) []uint32 {
	if at == 0 {
		return nil
	}
	return append(pathTo(links[at].parent, links), links[at].step)
}

// retrace writes down the schedule of a path.
func (e *explorer) retrace(s state, path []uint32) {
	for _, wanted := range path {
		step, then := uint32(0), state{}
		e.follow(&s, func(what string, numbers []uint8, next *state) {
			if step++; step == wanted {
				e.schedule = append(e.schedule, describe(what, numbers))
				then = *next
			}
		})
		s = then
	}
	e.schedule = append(e.schedule, "then: "+e.found.text)
}

// walkLength is the number of steps of one random walk.
const walkLength = 200

// walk takes random walks, which go beyond the bounds that a search can cover, but miss more. It
// counts walks as states.
func (e *explorer) walk(walks int, r *rand.Rand) {
	for range walks {
		s := start(e.bounds)
		var schedule []string
		for range walkLength {
			n, chosen, kind, name := 0, state{}, "", ""
			wrong := e.follow(&s, func(what string, numbers []uint8, next *state) {
				if n++; r.IntN(n) == 0 {
					chosen, kind, name = *next, what, describe(what, numbers)
				}
			})
			e.transitions++
			if wrong != nil {
				e.found, e.schedule = wrong, append(schedule, "then: "+wrong.text)
				return
			}
			if n == 0 {
				break
			}
			s = chosen
			if e.taken != nil {
				e.taken[kind] = true
			}
			schedule = append(schedule, name)
		}
		e.states++
	}
}
