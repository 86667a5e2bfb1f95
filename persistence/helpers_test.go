package persistence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// fixedOptions make a Disk write the same bytes each time.
func fixedOptions() Options {
	n := byte(0)
	return Options{
		Shards: 16, BootID: "boot", Log: slog.New(slog.DiscardHandler),
		Now:             func() time.Time { return time.UnixMilli(1_700_000_000_000) },
		NextIncarnation: func(last uint64) uint64 { return max(last+1, 7) },
		Rand: func(b []byte) {
			for i := range b {
				n++
				b[i] = n
			}
		},
	}
}

func open(t testing.TB, fs vfs.FS, o Options) *Disk {
	t.Helper()
	d, err := OpenDisk(fs, "data", o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// put makes a Put record in epoch 7, as a primary without other copies appends it.
func put(seq uint64, key, payload string) Record {
	return Record{
		Type: Put, Epoch: 7, Seq: seq, Commit: seq, Key: []byte(key), Meta: []byte("m"), Payload: [][]byte{[]byte(payload[:len(payload)/2]), []byte(payload[len(payload)/2:])},
		Bytes: uint64(len(payload)), CRC: crc32c.Checksum([]byte(payload)),
	}
}

// appendAll appends records as one batch that is committed with it.
func appendAll(t testing.TB, l *Log, records ...Record) {
	t.Helper()
	committed(records)
	if _, err := l.Append(records); err != nil {
		t.Fatal(err)
	}
}

// committed gives the records of a batch their commit index on a shard of one copy.
func committed(batch []Record) []Record {
	for i := range batch {
		batch[i].Commit = batch[len(batch)-1].Seq
	}
	return batch
}

// keeper is a Handler that keeps values as text.
type keeper map[string]string

func (k keeper) Put(r *Record, read func([]byte) error) error {
	b := make([]byte, r.Bytes)
	if err := read(b); err != nil {
		return err
	}
	if read(make([]byte, 1)) != io.ErrUnexpectedEOF {
		return errors.New("the payload is longer than its record says")
	}
	k[string(r.Key)] = fmt.Sprintf("%s|%s|%d-%d|%d", r.Meta, b, r.Epoch, r.Seq, r.Expiry)
	return nil
}

func (k keeper) Delete(key []byte) { delete(k, string(key)) }
func (k keeper) Flush()            { clear(k) }
func (k keeper) Reset()            { clear(k) }
func (k keeper) Observe(*Record)   {}

// Suffix keeps a record that is held back under "suffix SEQ".
func (k keeper) Suffix(r *Record, read func([]byte) error) error {
	b := make([]byte, r.Bytes)
	if err := read(b); err != nil {
		return err
	}
	k[fmt.Sprintf("suffix %d", r.Seq)] = fmt.Sprintf("%d|%s|%s|%s|%d-%d|%d", r.Type, r.Key, r.Meta, b, r.Epoch, r.Seq, r.Expiry)
	return nil
}

func (k keeper) Expire(key []byte, epoch, seq uint64, at int64) {
	if v, there := k[string(key)]; there {
		head, _, _ := bytes.Cut([]byte(v), []byte(fmt.Sprintf("|%d-%d|", epoch, seq)))
		k[string(key)] = fmt.Sprintf("%s|%d-%d|%d", head, epoch, seq, at)
	}
}

func (k keeper) want(t testing.TB, want keeper) {
	t.Helper()
	if !maps.Equal(k, want) {
		for _, key := range slices.Sorted(maps.Keys(k)) {
			t.Errorf("%s: %.80q, want %.80q", key, k[key], want[key])
		}
		t.Fatalf("%d keys, want %d", len(k), len(want))
	}
}

// recoverShard recovers a shard.
func recoverShard(t testing.TB, d *Disk, shard int) (keeper, *Report) {
	t.Helper()
	k := keeper{}
	report, err := d.Log(shard).Recover(k)
	if err != nil {
		t.Fatal(err)
	}
	return k, report
}

// rotateAndBegin begins a snapshot that makes all records so far obsolete.
func rotateAndBegin(l *Log, epoch, seq uint64, blobs []BlobID) (*Snapshot, error) {
	if err := l.Rotate(); err != nil {
		return nil, err
	}
	return l.BeginSnapshot(epoch, seq, blobs)
}

// seeded returns a source of random numbers that is the same in each run.
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
