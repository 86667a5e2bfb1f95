package shard

import (
	"bytes"
	"slices"
)

// backlog keeps what a primary without a log appends while a member installs its copy. The cursor of that member reads it.
type backlog struct {
	queue []Batch
	bytes int
	full  bool // it has dropped a batch
}

// maxBacklog is how many bytes a backlog keeps.
const maxBacklog = 64 << 20

// add keeps a batch. The caller holds writer.mu.
func (l *backlog) add(b *Batch) {
	if l.full || l.bytes+b.holds() > maxBacklog {
		l.clear()
		l.full = true
		return
	}
	kept := *b
	kept.Bytes, kept.Large = bytes.Clone(b.Bytes), slices.Clone(b.Large)
	for _, large := range kept.Large {
		large.Entry.retain()
	}
	l.queue = append(l.queue, kept)
	l.bytes += kept.holds()
}

// read takes the oldest batch out, with the references to its large values.
func (l *backlog) read(into *Batch) bool {
	if l.full || len(l.queue) == 0 {
		return false
	}
	*into = l.queue[0]
	l.queue[0] = Batch{}
	l.queue = l.queue[1:]
	l.bytes -= into.holds()
	return true
}

// unread puts the batch back that was read last.
func (l *backlog) unread(b *Batch) {
	l.queue = slices.Insert(l.queue, 0, *b)
	l.bytes += b.holds()
	*b = Batch{}
}

func (l *backlog) clear() {
	for i := range l.queue {
		for _, large := range l.queue[i].Large {
			large.Entry.Release()
		}
	}
	l.queue, l.bytes = nil, 0
}

// dropBacklog ends a backlog.
func (w *writer) dropBacklog(l *backlog) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backlogs = slices.DeleteFunc(w.backlogs, func(other *backlog) bool { return other == l })
	l.clear()
}
