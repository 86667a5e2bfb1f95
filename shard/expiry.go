package shard

import "container/heap"

// deadlines is a heap of the entries that have a time to live, the next to expire first. Each entry knows its place, so that it is found.
// Readers hide an expired entry by themselves, to the millisecond; the heap is there to give its memory back soon after.
type deadlines []*Entry

// deadlineBytes is about what an entry takes here.
const deadlineBytes = 10

func (d *deadlines) add(e *Entry) { heap.Push(d, e) }

func (d *deadlines) remove(e *Entry) {
	heap.Remove(d, int(e.head().heapAt))
	if n := len(*d); cap(*d) > 1024 && n < cap(*d)/4 {
		*d = append(make(deadlines, 0, cap(*d)/2), *d...)
	}
}

// replace puts an entry with the same deadline into the place of another.
func (d deadlines) replace(old, e *Entry) { d.put(int(old.head().heapAt), e) }

// due returns an entry whose deadline has come; nil if there is none.
func (d deadlines) due(now int64) *Entry {
	if len(d) == 0 || d[0].ExpireAt() > now {
		return nil
	}
	return d[0]
}

func (d deadlines) put(i int, e *Entry) {
	d[i] = e
	e.head().heapAt = int32(i)
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].ExpireAt() < d[j].ExpireAt() }
func (d deadlines) Swap(i, j int) {
	a, b := d[i], d[j]
	d.put(i, b)
	d.put(j, a)
}

func (d *deadlines) Push(x any) {
	e := x.(*Entry)
	*d = append(*d, e)
	d.put(len(*d)-1, e)
}

func (d *deadlines) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return e
}
