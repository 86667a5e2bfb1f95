package shard

import "container/heap"

// deadlines is a heap of the entries that have a deadline, the next one to expire first. Each entry
// knows its position (head.heapAt). Readers hide an expired entry themselves, to the millisecond;
// the heap serves to free its memory soon after.
type deadlines []*Entry

// deadlineBytes is about what an entry takes in the heap.
const deadlineBytes = 10

func (d *deadlines) add(e *Entry) { heap.Push(d, e) }

func (d *deadlines) remove(e *Entry) {
	heap.Remove(d, int(e.head().heapAt))
	if n := len(*d); cap(*d) > 1024 && n < cap(*d)/4 {
		*d = append(make(deadlines, 0, cap(*d)/2), *d...)
	}
}

// replace swaps an entry for one with the same deadline.
func (d deadlines) replace(old, e *Entry) { d.put(int(old.head().heapAt), e) }

// due reports whether an entry has expired.
func (d deadlines) due(now int64) bool { return len(d) > 0 && d[0].ExpireAt() <= now }

// expired returns up to limit entries that have expired, in no particular order, without those to leave out. Below an
// entry that has not expired, none has.
func (d deadlines) expired(now int64, limit int, leaveOut func(*Entry) bool) (found []*Entry) {
	if !d.due(now) {
		return nil
	}
	at := []int{0}
	for n := 0; n < len(at) && len(found) < limit; n++ {
		i := at[n]
		if !leaveOut(d[i]) {
			found = append(found, d[i])
		}
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(d) && d[child].ExpireAt() <= now {
				at = append(at, child)
			}
		}
	}
	return found
}

func (d deadlines) put(i int, e *Entry) {
	d[i] = e
	e.head().heapAt = int32(i)
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
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
