package persistence

import "sync/atomic"

// counters are sums over all shards of a Disk.
type counters struct {
	toRecover, recovered atomic.Int64 // bytes
	files                atomic.Int64 // bytes of all files of all shards
	staged               atomic.Int64 // of these, bytes of blobs that no record names yet
	written              atomic.Int64 // bytes since the start
	syncs                atomic.Int64 // of logs, since the start
}

// gauge is the size of one kind of file of one shard. It also counts towards the sum of all files.
type gauge struct {
	bytes int64
	sum   *atomic.Int64
}

func (g *gauge) add(n int64) {
	g.bytes += n
	g.sum.Add(n)
}

// moveTo counts n bytes elsewhere. The sum stays what it is.
func (g *gauge) moveTo(other *gauge, n int64) {
	g.bytes -= n
	other.bytes += n
}
