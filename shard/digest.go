package shard

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Copies of a shard are compared by a sum over their entries: each entry adds a hash of its key, version, deadline and CRC32C. The
// sum depends on the entries alone, not on their order, so it follows each change at little cost. At each no-op a copy notes
// it, and the primary sends its own to the members: at the same seq all copies have the same entries, or one is wrong.

// digestOf returns what an entry adds to the sum of its index. Key is the XXH64 of its key; two multiplications mix in the
// rest, which is several times faster than to hash all of it.
func digestOf(e *Entry, key uint64) uint64 {
	h := e.head()
	return mix(mix(key^h.version.Seq, h.version.Epoch^0x9e3779b97f4a7c15)^uint64(h.expireAt), uint64(h.crc)^0xbf58476d1ce4e5b9)
}

// mix multiplies two numbers and folds the 128 bits of the product.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// addDigest adds an entry that joins the index to its sum, and takes off the one that it replaces, nil for none.
func (x *index) addDigest(e, old *Entry) {
	key := xxhash.Sum64(e.Key())
	x.sum += digestOf(e, key)
	if old != nil {
		x.sum -= digestOf(old, key)
	}
}

// removeDigest takes an entry that leaves the index off its sum.
func (x *index) removeDigest(e *Entry) { x.sum -= digestOf(e, xxhash.Sum64(e.Key())) }

// Digest is the sum over the entries of a copy as they are after a seq.
type Digest struct{ Seq, Sum uint64 }

// keptDigests is how many digests a copy keeps: a few more than the primary may append while its own is under way.
const keptDigests = 8

// digests are the newest digests of a copy. The zero value has none.
type digests struct {
	all  [keptDigests]Digest
	next int
}

func (d *digests) add(n Digest) {
	d.all[d.next%keptDigests] = n
	d.next++
}

// newest returns the newest digest; zero for none.
func (d *digests) newest() Digest {
	if d.next == 0 {
		return Digest{}
	}
	return d.all[(d.next-1)%keptDigests]
}

// at returns the digest of a seq.
func (d *digests) at(seq uint64) (n Digest, found bool) {
	for _, n = range d.all {
		if n.Seq == seq && seq != 0 {
			return n, true
		}
	}
	return Digest{}, false
}

// noteDigest notes the sum at a no-op. A copy that has dropped entries without a record of it has nothing to compare: others
// have them. The caller holds index.mu.
func (c *contents) noteDigest(seq uint64) {
	if !c.index.forgot {
		c.digests.add(Digest{seq, c.index.sum})
	}
}

// Digest returns the seq of the newest change that readers see, and the sum over the entries. Copies of a shard with the same
// seq have the same sum.
func (m Member) Digest() (seq, sum uint64) {
	s := m.s
	c := &s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.applied, c.index.sum
}

// NewestDigest returns the digest of the newest no-op that is visible; zero for none.
func (p Primary) NewestDigest() Digest {
	s := p.s
	c := &s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.digests.newest()
}

// CopyDigest is the digest of the copy of a shard.
type CopyDigest struct {
	Shard int
	Digest
}

// Digests returns the digests of all copies that have a record and have been read from disk.
func Digests(s *Store) (all []CopyDigest) {
	for _, sh := range s.shards {
		if !sh.Ready() {
			continue
		}
		if seq, sum := sh.Member().Digest(); seq > 0 || sum != 0 {
			all = append(all, CopyDigest{sh.id, Digest{seq, sum}})
		}
	}
	return all
}
