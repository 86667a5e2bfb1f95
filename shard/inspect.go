package shard

import (
	"fmt"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/persistence"
)

// Inspection counts what a shard has on disk, as a recovery would find it. Records that are held
// back do not count.
type Inspection struct {
	found map[string]foundValue
	now   int64
}

// foundValue describes a value without its bytes.
type foundValue struct {
	bytes   int64 // of the payload
	expiry  int64
	version Version
}

// NewInspection returns a handler that counts. A value that has expired at now stays until the end:
// a later record of the key may extend its deadline.
func NewInspection(now int64) *Inspection {
	return &Inspection{found: map[string]foundValue{}, now: now}
}

// Count returns the number of keys and the bytes of their values, and separately the number of
// expired keys.
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
	meta, err := parseMeta(r.Meta, r.Bytes)
	if err != nil {
		return err
	}
	if err := discardPayload(meta.npy+meta.extras(), read); err != nil {
		return skipExpired(err, r, x.now)
	}
	x.found[string(r.Key)] = foundValue{int64(r.Bytes), r.Expiry, Version{r.Epoch, r.Seq}}
	return nil
}

// discardPayload reads n bytes only to have their CRC32C compared.
func discardPayload(n int, read func([]byte) error) error {
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

// Suffix implements persistence.Handler. It reads the payload to have it compared.
func (x *Inspection) Suffix(r *persistence.Record, read func([]byte) error) error {
	return discardPayload(int(r.Bytes), read)
}

// Reset implements persistence.Handler.
func (x *Inspection) Reset() { clear(x.found) }

// Observe implements persistence.Handler.
func (x *Inspection) Observe(*persistence.Record) {}

// Expire implements persistence.Handler.
func (x *Inspection) Expire(key []byte, epoch, seq uint64, at int64) {
	v, found := x.found[string(key)]
	switch {
	case !found:
	case v.version != Version{epoch, seq}:
		delete(x.found, string(key))
	default:
		v.expiry = at
		x.found[string(key)] = v
	}
}

// ReadNPY returns the .npy file of a key in the folder of a stopped node; nil if it is missing.
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

// oneKey is a handler that keeps the value of one key.
type oneKey struct {
	key         string
	all         bool // read the values of other keys too: after a loss of power a missing blob ends the log, perhaps before this key's record
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
		return skipExpired(discardPayload(int(r.Bytes), read), r, o.now)
	}
	meta, err := parseMeta(r.Meta, r.Bytes)
	if err != nil {
		return fmt.Errorf("key %.128q: %w", r.Key, err)
	}
	b := make([]byte, meta.npy)
	err = read(b)
	if err == nil {
		err = discardPayload(meta.extras(), read)
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

// Suffix implements persistence.Handler.
func (o *oneKey) Suffix(r *persistence.Record, read func([]byte) error) error {
	if !o.all {
		return persistence.ErrSkip
	}
	return discardPayload(int(r.Bytes), read)
}

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
