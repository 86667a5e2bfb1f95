package protocol

import (
	"errors"
	"fmt"

	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

func del(c *call, k *keyAccess) {
	deleted, err := k.shard.Delete(c.keys)
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.Int(int64(deleted))
}

func exists(c *call, k *keyAccess) { c.replies.Int(int64(k.shard.Exists(c.keys, false))) }
func touch(c *call, k *keyAccess)  { c.replies.Int(int64(k.shard.Exists(c.keys, true))) }

func persist(c *call, k *keyAccess) { c.writeDone(k.shard.Persist(c.arg(1))) }

// writeDone writes whether a key was changed.
func (c *call) writeDone(done bool, err error) {
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.Bool(done)
}

func typeOf(c *call, k *keyAccess) {
	if k.shard.Exists(c.keys, false) == 0 {
		c.replies.Simple("none")
		return
	}
	c.replies.Simple("ndarray")
}

// expire returns the handler of a command whose operand counts units of so many ms, from now if relative,
// else from 1970.
func expire(unit int64, relative bool) onKeys {
	return func(c *call, k *keyAccess) {
		n, ok := resp.ParseInt(c.arg(2))
		if !ok {
			c.replies.Error(errInteger)
			return
		}
		condition, err := expireCondition(c.args[3:])
		if err != nil {
			c.replies.Error(err)
			return
		}
		at, ok := deadline(n, unit, relative, k.shard.Now())
		if !ok {
			c.replies.Error(errInvalidExpire(c.row.Full))
			return
		}
		c.writeDone(k.shard.Expire(c.arg(1), at, condition))
	}
}

func expireCondition(args []resp.Arg) (condition shard.ExpireCondition, err error) {
	for i := range args {
		switch option := args[i].Bytes(); upper(string(option)) {
		case "NX":
			condition.NX = true
		case "XX":
			condition.XX = true
		case "GT":
			condition.GT = true
		case "LT":
			condition.LT = true
		default:
			return condition, fmt.Errorf("Unsupported option %.128s", option)
		}
	}
	switch {
	case condition.NX && (condition.XX || condition.GT || condition.LT):
		return condition, errors.New("NX and XX, GT or LT options at the same time are not compatible")
	case condition.GT && condition.LT:
		return condition, errors.New("GT and LT options at the same time are not compatible")
	}
	return condition, nil
}

// ttl returns the handler of a command that answers in units of so many ms, rounded as Redis does.
func ttl(unit int64) onKeys {
	return func(c *call, k *keyAccess) {
		at, now := k.shard.Deadline(c.arg(1))
		if at < 0 {
			c.replies.Int(at)
			return
		}
		c.replies.Int((at - now + unit/2) / unit)
	}
}

// expireTime returns the handler of a command that answers a Unix time in units of so many ms.
func expireTime(unit int64) onKeys {
	return func(c *call, k *keyAccess) {
		at, _ := k.shard.Deadline(c.arg(1))
		if at < 0 {
			c.replies.Int(at)
			return
		}
		c.replies.Int((at + unit/2) / unit)
	}
}
