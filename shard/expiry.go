package shard

import "container/heap"

// deadlines is a heap of the keys that have a time to live, the next to expire first.
// Readers hide an expired key by themselves, to the millisecond; the heap is there to give its memory back soon after.
type deadlines struct {
	heap  []deadline
	index map[string]int // position in heap, by key
}

type deadline struct {
	key string
	at  int64 // Unix time in ms
}

// set makes at the deadline of key; 0 takes it away.
func (d *deadlines) set(key string, at int64) {
	i, found := d.index[key]
	switch {
	case found && at == 0:
		heap.Remove(d, i)
	case found:
		d.heap[i].at = at
		heap.Fix(d, i)
	case at != 0:
		heap.Push(d, deadline{key, at})
	}
}

// due returns a key whose deadline has come.
func (d *deadlines) due(now int64) (string, bool) {
	if len(d.heap) == 0 || d.heap[0].at > now {
		return "", false
	}
	return d.heap[0].key, true
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (d *deadlines) Len() int           { return len(d.heap) }
func (d *deadlines) Less(i, j int) bool { return d.heap[i].at < d.heap[j].at }
func (d *deadlines) Swap(i, j int) {
	d.heap[i], d.heap[j] = d.heap[j], d.heap[i]
	d.index[d.heap[i].key], d.index[d.heap[j].key] = i, j
}

func (d *deadlines) Push(x any) {
	if d.index == nil {
		d.index = make(map[string]int)
	}
	item := x.(deadline)
	d.index[item.key] = len(d.heap)
	d.heap = append(d.heap, item)
}

func (d *deadlines) Pop() any {
	last := len(d.heap) - 1
	item := d.heap[last]
	d.heap[last] = deadline{}
	d.heap = d.heap[:last]
	delete(d.index, item.key)
	return item
}
