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

// slab is a run of memory from the system, carved into blocks of one class. heap.mu guards
// everything that changes.
type slab struct {
	number uint32
	pool   *Pool
	memory []byte
	tier   tier

	class  int
	stride int
	count  int // blocks that fit
	carved int // blocks that were used at least once; the pages after them are untouched
	used   int // blocks in use
	freed  []freed

	evacuating      atomic.Bool // hands out no blocks, to become empty (evacuate.go)
	evacuatingSince int32       // tick
	stuck           bool        // the last evacuation failed
	idleSince       int32       // tick of the last free
	prev, next      *slab       // in the class's list of slabs with freed blocks
	listed          bool
}

// freed is a free block that has been used.
type freed struct {
	block    uint32
	since    int32 // tick
	returned bool  // its pages are returned to the system
}

// slabs has all slabs of the process by number. A lookup takes no lock.
var slabs struct {
	all atomic.Pointer[[]*slab]

	mu   sync.Mutex // guards all below and changes of all
	free []uint32   // numbers
}

func slabOf(b *Buffer) *slab { return (*slabs.all.Load())[b.slab] }

var pageBytes = os.Getpagesize()

// hugeBytes is the size of a huge page. Larger slabs ask for huge pages, whose first touch is
// several times faster.
const hugeBytes = 2 << 20

// newSlab allocates memory from the system. Like Go, it panics when there is none.
func newSlab(p *Pool, t tier, size int, huge bool) *slab {
	size = (size + pageBytes - 1) / pageBytes * pageBytes
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Sprintf("memory: cannot allocate %d bytes: %v", size, err))
	}
	if huge && size >= hugeBytes {
		adviseHuge(memory)
	}
	s := &slab{pool: p, memory: memory, tier: t}
	slabs.mu.Lock()
	defer slabs.mu.Unlock()
	// Setting an element in place is safe: no goroutine looks up a number before a block of its
	// slab is in use.
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

// unmap returns the whole slab to the system.
func (s *slab) unmap() {
	slabs.mu.Lock()
	(*slabs.all.Load())[s.number] = nil // no goroutine looks it up: none of its blocks is in use
	slabs.free = append(slabs.free, s.number)
	slabs.mu.Unlock()
	if unix.Munmap(s.memory) != nil { // splitting a mapping in two may exceed the limit of mappings per process
		_ = unix.Madvise(s.memory, unix.MADV_DONTNEED) // free the pages; the addresses stay reserved at no cost
	}
}

// assign gives an empty slab to a class.
func (s *slab) assign(class int) {
	s.class, s.stride = class, strideOf(class)
	if s.tier == single {
		s.stride = len(s.memory)
	}
	s.count = len(s.memory) / s.stride
	s.carved, s.freed = 0, s.freed[:0]
	s.evacuating.Store(false)
	s.stuck = false
}

func (s *slab) block(i uint32) *Buffer {
	return (*Buffer)(unsafe.Pointer(&s.memory[int(i)*s.stride]))
}

func (s *slab) index(b *Buffer) uint32 {
	return uint32((uintptr(unsafe.Pointer(b)) - uintptr(unsafe.Pointer(&s.memory[0]))) / uintptr(s.stride))
}

// pages returns the whole pages within a block, without the page of its header.
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
