//go:build !goheap && !race

package memory

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slab is a run of memory from the system, cut into blocks of one class. The heap's lock guards all
// that changes.
type slab struct {
	number uint32
	pool   *Pool
	memory []byte
	tier   tier

	class  int
	stride int
	count  int // blocks that fit
	cut    int // blocks that were handed out at least once; behind them no page was touched since the memory came from the system
	used   int // blocks that are out
	freed  []freed

	sparse     atomic.Bool // no block is handed out from here, so that it becomes empty (leave.go)
	leftSince  int32       // tick at which that began
	stuck      bool        // it did not
	idleSince  int32       // tick at which the last block came back
	prev, next *slab       // in the class's list of slabs with freed blocks
	listed     bool
}

// freed is a block that was given back.
type freed struct {
	block    uint32
	since    int32 // tick
	returned bool  // its pages have gone back to the system
}

// slabs are all slabs of the process, by number. Looking one up takes no lock.
var slabs struct {
	all atomic.Pointer[[]*slab]

	mu   sync.Mutex // guards all below, and changes of all
	free []uint32   // numbers
}

func slabOf(b *Buffer) *slab { return (*slabs.all.Load())[b.slab] }

var pageBytes = os.Getpagesize()

// hugeBytes is the size of a huge page. Larger slabs ask for them: they are several times faster to
// touch for the first time.
const hugeBytes = 2 << 20

// newSlab takes memory from the system. It panics when there is none, as Go does.
func newSlab(p *Pool, t tier, size int, huge bool) *slab {
	size = (size + pageBytes - 1) / pageBytes * pageBytes
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Sprintf("memory: the system has no %d bytes: %v", size, err))
	}
	if huge && size >= hugeBytes {
		adviseHuge(memory)
	}
	s := &slab{pool: p, memory: memory, tier: t}
	slabs.mu.Lock()
	defer slabs.mu.Unlock()
	// Nobody looks a number up before a block of its slab is out, so it may be set where others are
	// being looked up.
	if n := len(slabs.free); n > 0 {
		s.number = slabs.free[n-1]
		slabs.free = slabs.free[:n-1]
		(*slabs.all.Load())[s.number] = s
		return s
	}
	var all []*slab
	if old := slabs.all.Load(); old != nil {
		all = *old
	}
	s.number = uint32(len(all))
	all = append(all, s)
	slabs.all.Store(&all)
	return s
}

// unmap gives the whole slab back to the system.
func (s *slab) unmap() {
	slabs.mu.Lock()
	(*slabs.all.Load())[s.number] = nil // nobody asks for it: none of its blocks is out
	slabs.free = append(slabs.free, s.number)
	slabs.mu.Unlock()
	if unix.Munmap(s.memory) != nil { // a process has so many mappings at most, and this would have made two of one
		_ = unix.Madvise(s.memory, unix.MADV_DONTNEED) // its pages go; the addresses stay taken, which costs nothing
	}
}

// assign makes an empty slab one of a class.
func (s *slab) assign(class int) {
	s.class, s.stride = class, strideOf(class)
	if s.tier == single {
		s.stride = len(s.memory)
	}
	s.count = len(s.memory) / s.stride
	s.cut, s.freed = 0, s.freed[:0]
	s.sparse.Store(false)
	s.stuck = false
}

func (s *slab) block(i uint32) *Buffer {
	return (*Buffer)(unsafe.Pointer(&s.memory[int(i)*s.stride]))
}

func (s *slab) index(b *Buffer) uint32 {
	return uint32((uintptr(unsafe.Pointer(b)) - uintptr(unsafe.Pointer(&s.memory[0]))) / uintptr(s.stride))
}

// pages returns the whole pages within a block, without the one with its header.
func (s *slab) pages(i uint32) []byte {
	from := (int(i)*s.stride + headerBytes + pageBytes - 1) / pageBytes * pageBytes
	to := (int(i) + 1) * s.stride / pageBytes * pageBytes
	if s.tier == single {
		to = len(s.memory)
	}
	if to <= from {
		return nil
	}
	return s.memory[from:to]
}
