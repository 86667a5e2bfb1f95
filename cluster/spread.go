package cluster

import "sync"

// spreader makes followers learn of a decision at once. A follower hears that an entry is committed
// with the next entry, or after raft's CommitTimeout, so this appends a barrier behind each entry
// that was decided. At most one is under way: many decisions need few.
type spreader struct {
	barrier func() // appends a barrier and waits for it

	mu      sync.Mutex // guards all below
	running bool
	again   bool // something was decided after the barrier under way was appended
}

// decided starts a barrier, or another one after the one under way.
func (s *spreader) decided() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		s.again = true
		return
	}
	s.running = true
	go s.run()
}

func (s *spreader) run() {
	for {
		s.barrier()
		s.mu.Lock()
		if !s.again {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.again = false
		s.mu.Unlock()
	}
}
