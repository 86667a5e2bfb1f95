package protocol

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

func dbSize(c *call, store *shard.Store) { c.replies.Int(int64(store.Stats().Keys)) }

func timeNow(c *call) {
	now := time.Now().UnixMicro()
	c.replies.Array(2)
	c.replies.Text(strconv.FormatInt(now/1e6, 10))
	c.replies.Text(strconv.FormatInt(now%1e6, 10))
}

// wait writes how many other copies have what the connection has written. Within EXEC it does not wait.
func wait(c *call, x *conn) {
	copies, ok := resp.ParseInt(c.arg(1))
	if !ok {
		c.replies.Error(errInteger)
		return
	}
	switch timeout, ok := resp.ParseInt(c.arg(2)); {
	case !ok:
		c.replies.Error(errors.New("timeout is not an integer or out of range"))
	case timeout < 0:
		c.replies.Error(errors.New("timeout is negative"))
	case timeout > math.MaxInt64-time.Now().UnixMilli():
		c.replies.Error(errors.New("timeout is out of range"))
	default:
		if x.tx.open {
			copies = 0
		}
		c.replies.Int(int64(awaitCopies(x, copies, time.Duration(min(timeout, maxWait.Milliseconds()))*time.Millisecond)))
	}
}

func flush(c *call, store *shard.Store) {
	if len(c.args) > 2 {
		c.replies.Error(errSyntax)
		return
	}
	if len(c.args) == 2 {
		if how := upper(string(c.arg(1))); how != "ASYNC" && how != "SYNC" {
			c.replies.Error(errSyntax)
			return
		}
	}
	var err error
	if c.futures, err = store.Flush(); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}
