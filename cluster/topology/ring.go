package topology

import (
	"cmp"
	"slices"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
)

// virtualNodes is the number of points of a node on the ring.
const virtualNodes = 200

// hash is the hash of the ring. It must never change, because nodes of different builds may lead one cluster.
type hash struct{}

// Sum64 returns the XXH64 of b.
func (hash) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

type ringMember string

func (m ringMember) String() string { return string(m) }

// ring returns the node that the ring proposes for each shard.
func (p *placer) ring(shards int) []int {
	members := make([]consistent.Member, len(p.nodes))
	for i, n := range p.nodes {
		members[i] = ringMember(n.ID)
	}
	// The library takes a load factor and rounds the resulting limit up. Half a shard below maxLoad, it
	// rounds to exactly maxLoad.
	load := (float64(maxLoad(shards, len(p.nodes))) - 0.5) * float64(len(p.nodes)) / float64(shards)
	c := consistent.New(members, consistent.Config{Hasher: hash{}, PartitionCount: shards, ReplicationFactor: virtualNodes, Load: load})
	out := make([]int, shards)
	for shard := range out {
		out[shard] = p.index[NodeID(c.GetPartitionOwner(shard).String())]
	}
	return out
}

// maxLoad is how many shards the ring may propose for one node: 1.25 times the average, but at least as
// many as are needed to place all shards, because the library panics otherwise.
func maxLoad(shards, nodes int) int { return max((shards+nodes-1)/nodes, 5*shards/(4*nodes)) }

// score is the rendezvous hash of a node and a shard. It differs for every pair, so the replicas of one
// node's shards are spread over all other nodes.
func (p *placer) score(i int, shard ShardID) uint64 { return mix(p.hash[i] ^ mix(uint64(shard))) }

// mix is the finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// scattered returns the shards in a fixed pseudorandom order, so adjacent shards do not move together.
func scattered(shards int) []int {
	out := make([]int, shards)
	for i := range out {
		out[i] = i
	}
	slices.SortFunc(out, func(a, b int) int { return cmp.Compare(mix(uint64(a)), mix(uint64(b))) })
	return out
}
