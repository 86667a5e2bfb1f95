package persistence

import (
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"time"

	"github.com/ndring/ndring/internal/uuid"
)

// Options say how a Disk is opened.
type Options struct {
	Shards          int
	BootID          string // of the running machine. As long as it stays the same, everything written is there, synced or not
	Log             *slog.Logger
	Now             func() time.Time    // default time.Now
	Rand            func([]byte)        // fills with random bytes; default crypto/rand
	NoLog           bool                // the node appends no records: its shards have snapshots alone, which lack the newest writes
	KeepAll         bool                // quarantine files instead of removing them
	NextIncarnation func(uint64) uint64 // makes the incarnation of this start from that of the last one, 0 for none
	Reserve         int64               // bytes set aside for what must go on when the disk is full; 0 for none
	IsMember        func(*Disk) bool    // whether files outside the manifest say that the folder's node has been in a cluster; may be nil
}

func (o *Options) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = func(b []byte) { rand.Read(b) } // never fails
	}
}

func (o *Options) random() uint64 {
	var b [8]byte
	o.Rand(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// newHeader builds the header of a file that is about to be written.
func (o *Options) newHeader(magic string, cluster uuid.UUID, shard int, epoch, seq uint64, epochs epochTable) *fileHeader {
	return &fileHeader{
		magic: magic, format: formatVersion, shard: uint32(shard), cluster: cluster, epoch: epoch, seq: seq,
		time: o.Now().UnixMilli(), salt: o.random(), epochs: epochs[:len(epochs):len(epochs)],
	}
}
