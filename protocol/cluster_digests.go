package protocol

import (
	"fmt"

	"github.com/ndring/ndring/shard"
)

// clusterDigests answers CLUSTER DIGESTS: for each copy that has a record, its shard, its commit index and the digest of its
// entries in hex. When nothing is written, all copies of a shard have the same.
func clusterDigests(c *call, s *shard.Store) {
	all := shard.Digests(s)
	w := c.replies
	w.Array(len(all))
	for _, d := range all {
		w.Array(3)
		w.Int(int64(d.Shard))
		w.Int(int64(d.Seq))
		w.Text(fmt.Sprintf("%016x", d.Sum))
	}
}
