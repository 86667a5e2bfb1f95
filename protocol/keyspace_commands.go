package protocol

import (
	"errors"
	"strconv"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/glob"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

const defaultScanCount = 10

// scan writes about COUNT keys per call. It iterates over the keys of this node only, as in Redis Cluster.
func scan(c *call, store *shard.Store) {
	cursor, err := strconv.ParseUint(string(c.arg(1)), 10, 64)
	if err != nil {
		c.replies.Error(errors.New("invalid cursor"))
		return
	}
	count, pattern, ofType := int64(defaultScanCount), []byte(nil), true
	for i := 2; i < len(c.args); i += 2 {
		if i+1 == len(c.args) {
			c.replies.Error(errSyntax)
			return
		}
		operand := c.arg(i + 1)
		switch upper(string(c.arg(i))) {
		case "COUNT":
			var ok bool
			if count, ok = resp.ParseInt(operand); !ok {
				c.replies.Error(errInteger)
				return
			}
			if count < 1 {
				c.replies.Error(errSyntax)
				return
			}
		case "MATCH":
			pattern = operand
		case "TYPE":
			ofType = upper(string(operand)) == "NDARRAY"
		default:
			c.replies.Error(errSyntax)
			return
		}
	}
	keys, next := store.Scan(cursor, int(min(count, 1<<20)))
	matching := keys[:0]
	for _, key := range keys {
		if ofType && (pattern == nil || glob.Match(pattern, []byte(key))) {
			matching = append(matching, key)
		}
	}
	c.replies.Array(2)
	c.replies.Text(strconv.FormatUint(next, 10))
	c.texts(matching)
}

func randomKey(c *call, store *shard.Store) {
	key, ok := store.RandomKey()
	if !ok {
		c.replies.Null()
		return
	}
	c.replies.Text(key)
}

func clusterCountKeysInSlot(c *call, store *shard.Store) {
	slot, ok := resp.ParseInt(c.arg(2))
	switch {
	case !ok:
		c.replies.Error(errInteger)
	case slot < 0 || slot >= topology.Slots:
		c.replies.Error(errors.New("Invalid slot"))
	default:
		keys, _ := store.SlotStats(int(slot))
		c.replies.Int(int64(keys))
	}
}

func clusterGetKeysInSlot(c *call, store *shard.Store) {
	slot, ok := resp.ParseInt(c.arg(2))
	limit, ok2 := resp.ParseInt(c.arg(3))
	switch {
	case !ok || !ok2:
		c.replies.Error(errInteger)
	case slot < 0 || slot >= topology.Slots || limit < 0:
		c.replies.Error(errors.New("Invalid slot or number of keys"))
	default:
		c.texts(store.KeysInSlot(int(slot), int(min(limit, 1<<20))))
	}
}
