package shard

import (
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// UploadBytes is the size above which a payload travels to other copies by itself, ahead of its record: it must not hold
// up the records of other shards.
const UploadBytes = 256 << 10

// Batch is a run of records of a primary's log, encoded as they travel to other copies. It is whole: a batch that counts
// together is never split.
type Batch struct {
	Prev   replica.Point // of the record before the first
	Last   replica.Point // of the last record
	Commit uint64        // commit index of the shard
	Bytes  []byte        // encoded by persistence.Record.AppendWire
	Large  []Large       // values that the records name by their uploads
}

// Large is a value that travels by itself. The entry is the holder's to retain.
type Large struct {
	ID    uint64 // of the upload, unique in this process
	Entry *Entry
}

// holds returns how many bytes of memory the batch keeps from being freed.
func (b *Batch) holds() int {
	n := len(b.Bytes)
	for _, l := range b.Large {
		n += int(payloadBytes(l.Entry))
	}
	return n
}

// LoggedBytes returns about how many bytes the batch takes in a log, where the largest values are in files of their own.
func (b *Batch) LoggedBytes() int {
	n := len(b.Bytes)
	for _, l := range b.Large {
		if payload := payloadBytes(l.Entry); payload < persistence.BlobBytes {
			n += int(payload)
		}
	}
	return n
}

// add appends a record. The entry is that of a Put, or nil if the record has the payload.
func (b *Batch) add(r *persistence.Record, e *Entry, upload uint64) {
	w := *r
	w.Blob = 0
	if e != nil && upload != 0 {
		w.Blob = persistence.BlobID(upload)
		b.Large = append(b.Large, Large{upload, e})
	}
	b.Bytes = w.AppendWire(b.Bytes)
	b.Last = replica.Point{Epoch: r.Epoch, Seq: r.Seq}
}

// reset empties the batch and keeps its memory, unless that is much.
func (b *Batch) reset(prev replica.Point, commit uint64) {
	clear(b.Large)
	bytes := b.Bytes[:0]
	if cap(bytes) > maxBatchKept {
		bytes = nil
	}
	*b = Batch{Prev: prev, Last: prev, Commit: commit, Bytes: bytes, Large: b.Large[:0]}
}

// maxBatchKept is how many bytes of a batch a shard keeps memory for between its writes.
const maxBatchKept = 64 << 10

// batchOf makes the batch of changes that are in the log, or are about to be, and of their records. It is valid until the
// next call.
func (w *writer) batchOf(prev replica.Point, changes []change, records []persistence.Record) *Batch {
	b := &w.batch
	b.reset(prev, records[len(records)-1].Commit)
	for i := range records {
		c := &changes[i]
		upload := uint64(0)
		if c.kind == persistence.Put && records[i].Bytes > UploadBytes {
			if upload = c.upload; upload == 0 {
				upload = w.copy.process.nextUpload()
			}
		}
		b.add(&records[i], c.entry, upload)
	}
	return b
}
