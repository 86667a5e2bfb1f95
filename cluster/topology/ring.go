package topology

import (
	"cmp"
	"slices"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
)

// virtualNodes is how many points a node has on the ring.
const virtualNodes = 200

// hash is the ring's: it must be the same on every machine and for ever, as nodes of different builds may lead one cluster.
type hash struct{}

// Sum64 returns the XXH64 of b.
func (hash) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

type ringMember string

func (m ringMember) String() string { return string(m) }

// ring returns which node the ring proposes for each shard.
func (p *placer) ring(shards int) []int {
	members := make([]consistent.Member, len(p.nodes))
	for i, n := range p.nodes {
		members[i] = ringMember(n.ID)
	}
	// The library takes a factor and rounds the load that it allows up; half a shard below the cap, rounding cannot miss it.
	load := (float64(maxLoad(shards, len(p.nodes))) - 0.5) * float64(len(p.nodes)) / float64(shards)
	c := consistent.New(members, consistent.Config{Hasher: hash{}, PartitionCount: shards, ReplicationFactor: virtualNodes, Load: load})
	out := make([]int, shards)
	for shard := range out {
		out[shard] = p.index[NodeID(c.GetPartitionOwner(shard).String())]
	}
	return out
}

// maxLoad is how many shards the ring may give to one node: at most 1.25 times the average, and never less than all need to find room, without which the library panics.
func maxLoad(shards, nodes int) int { return max((shards+nodes-1)/nodes, 5*shards/(4*nodes)) }

// score ranks the nodes for a shard: rendezvous hashing. Each pair has its own, so that the nodes that come after the first differ from shard to shard.
func (p *placer) score(i int, shard ShardID) uint64 { return mix(p.hash[i] ^ mix(uint64(shard))) }

// mix is the finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// scattered returns the shards in an order that has nothing to do with their numbers, so that no block of neighbours moves together.
func scattered(shards int) []int {
	out := make([]int, shards)
	for i := range out {
		out[i] = i
	}
	slices.SortFunc(out, func(a, b int) int { return cmp.Compare(mix(uint64(a)), mix(uint64(b))) })
	return out
}
