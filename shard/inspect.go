package shard

import (
	"fmt"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/persistence"
)

// Inspection finds out what a shard on disk has: the same as a recovery would.
type Inspection struct {
	found map[string]foundValue
	now   int64
}

// foundValue is what is known of a value that is not kept.
type foundValue struct {
	bytes   int64 // of the payload
	expiry  int64
	version Version
}

// NewInspection returns a handler that counts. Now is when values expire, not when they go: a later record of the key may give one more time.
func NewInspection(now int64) *Inspection {
	return &Inspection{found: map[string]foundValue{}, now: now}
}

// Count returns how many keys there are and the bytes of their values, without those that have expired, which are counted apart.
func (x *Inspection) Count() (keys, bytes, expired int64) {
	for _, v := range x.found {
		if v.expiry != 0 && x.now >= v.expiry {
			expired++
			continue
		}
		keys++
		bytes += v.bytes
	}
	return keys, bytes, expired
}

// Put implements persistence.Handler.
func (x *Inspection) Put(r *persistence.Record, read func([]byte) error) error {
	npy, attrs, parts, _, err := parseMeta(r.Meta, r.Bytes)
	if err != nil {
		return err
	}
	rest := npy + attrs
	for _, p := range parts {
		rest += p.name + p.data
	}
	if err := readOver(rest, read); err != nil {
		return skipExpired(err, r, x.now)
	}
	x.found[string(r.Key)] = foundValue{int64(r.Bytes), r.Expiry, Version{r.Epoch, r.Seq}}
	return nil
}

// readOver reads n bytes for nothing but their CRC32C, which is compared as they are read.
func readOver(n int, read func([]byte) error) error {
	b := make([]byte, min(1<<20, n))
	for n > 0 {
		part := b[:min(n, len(b))]
		if err := read(part); err != nil {
			return err
		}
		n -= len(part)
	}
	return nil
}

// Delete implements persistence.Handler.
func (x *Inspection) Delete(key []byte) { delete(x.found, string(key)) }

// Flush implements persistence.Handler.
func (x *Inspection) Flush() { clear(x.found) }

// Reset implements persistence.Handler.
func (x *Inspection) Reset() { clear(x.found) }

// Observe implements persistence.Handler.
func (x *Inspection) Observe(*persistence.Record) {}

// Expire implements persistence.Handler.
func (x *Inspection) Expire(key []byte, epoch, seq uint64, at int64) {
	v, there := x.found[string(key)]
	switch {
	case !there:
	case v.version != Version{epoch, seq}:
		delete(x.found, string(key))
	default:
		v.expiry = at
		x.found[string(key)] = v
	}
}

// LiveKeys returns how many keys there are that have not expired, whether this node serves them or not.
func (s *Store) LiveKeys() (n int) {
	now := s.clock()
	for _, sh := range s.shards {
		sh.mu.RLock()
		sh.entries.each(func(e *Entry) bool {
			if !e.expired(now) {
				n++
			}
			return true
		})
		sh.mu.RUnlock()
	}
	return n
}

// ReadNPY returns the .npy file of a key in the folder of a node that does not run; nil if it is not there.
func ReadNPY(d *persistence.Disk, key []byte, now int64) ([]byte, *persistence.Report, error) {
	found := &oneKey{key: string(key), now: now, all: d.PowerLoss()}
	report, err := d.Reader(int(topology.ShardOfKey(key, d.Shards()))).Read(found)
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
	all         bool // read those of other keys, too: a file that was lost with the power ends the log, before this key's record perhaps
	now, expiry int64
	version     Version
	npy         []byte
}

// Put implements persistence.Handler.
func (o *oneKey) Put(r *persistence.Record, read func([]byte) error) error {
	if string(r.Key) != o.key {
		if !o.all {
			return persistence.ErrSkip
		}
		return skipExpired(readOver(int(r.Bytes), read), r, o.now)
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
		err = readOver(rest, read)
	}
	if err != nil {
		return skipExpired(err, r, o.now)
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

// Reset implements persistence.Handler.
func (o *oneKey) Reset() { o.npy = nil }

// Observe implements persistence.Handler.
func (o *oneKey) Observe(*persistence.Record) {}

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
