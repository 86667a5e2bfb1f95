package shard

import (
	"fmt"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/persistence"
)

// Inspection counts what a shard on disk has.
type Inspection struct {
	Keys    map[string]int64 // bytes of the payload
	Expired int
	now     int64
}

// NewInspection returns a handler that counts. Now hides what has expired.
func NewInspection(now int64) *Inspection { return &Inspection{Keys: map[string]int64{}, now: now} }

// Put implements persistence.Handler.
func (x *Inspection) Put(r *persistence.Record, read func([]byte) error) error {
	npy, attrs, parts, _, err := parseMeta(r.Meta, r.Bytes)
	if err != nil {
		return err
	}
	if r.Expiry != 0 && x.now >= r.Expiry {
		x.Expired++
		delete(x.Keys, string(r.Key))
		return persistence.ErrSkip
	}
	lengths := []int{npy, attrs}
	for _, p := range parts {
		lengths = append(lengths, p.name, p.data)
	}
	b := make([]byte, min(1<<20, slices.Max(lengths)))
	for _, n := range lengths { // a blob is compared as it is read
		for n > 0 {
			part := b[:min(n, len(b))]
			if err := read(part); err != nil {
				return err
			}
			n -= len(part)
		}
	}
	x.Keys[string(r.Key)] = int64(r.Bytes)
	return nil
}

// Delete implements persistence.Handler.
func (x *Inspection) Delete(key []byte) { delete(x.Keys, string(key)) }

// Flush implements persistence.Handler.
func (x *Inspection) Flush() { clear(x.Keys) }

// Expire implements persistence.Handler.
func (x *Inspection) Expire(key []byte, _, _ uint64, at int64) {
	if _, there := x.Keys[string(key)]; there && at != 0 && x.now >= at {
		x.Expired++
		delete(x.Keys, string(key))
	}
}

// ReadNPY returns the .npy file of a key in the folder of a node that does not run; nil if it is not there.
func ReadNPY(d *persistence.Disk, key []byte, now int64) ([]byte, *persistence.Report, error) {
	found := &oneKey{key: string(key), now: now}
	report, err := d.Log(topology.Slot(key) / (topology.Slots / d.Shards())).Read(found)
	if err != nil {
		return nil, nil, err
	}
	if found.expiry != 0 && now >= found.expiry {
		return nil, report, nil
	}
	return found.npy, report, nil
}

// oneKey keeps the value of one key.
type oneKey struct {
	key         string
	now, expiry int64
	version     Version
	npy         []byte
}

// Put implements persistence.Handler.
func (o *oneKey) Put(r *persistence.Record, read func([]byte) error) error {
	if string(r.Key) != o.key {
		return persistence.ErrSkip
	}
	npy, attrs, parts, _, err := parseMeta(r.Meta, r.Bytes)
	if err != nil {
		return fmt.Errorf("key %.128q: %w", r.Key, err)
	}
	b := make([]byte, npy)
	err = read(b)
	rest := attrs
	for _, p := range parts {
		rest += p.name + p.data
	}
	if err == nil {
		err = read(make([]byte, rest)) // for its CRC32C
	}
	if err != nil {
		return err
	}
	o.npy, o.expiry, o.version = b, r.Expiry, Version{r.Epoch, r.Seq}
	return nil
}

// Delete implements persistence.Handler.
func (o *oneKey) Delete(key []byte) {
	if string(key) == o.key {
		o.npy = nil
	}
}

// Flush implements persistence.Handler.
func (o *oneKey) Flush() { o.npy = nil }

// Expire implements persistence.Handler.
func (o *oneKey) Expire(key []byte, epoch, seq uint64, at int64) {
	switch {
	case string(key) != o.key || o.npy == nil:
	case o.version != Version{epoch, seq}:
		o.npy = nil
	default:
		o.expiry = at
	}
}
