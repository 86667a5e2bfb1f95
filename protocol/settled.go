package protocol

import (
	"context"
	"errors"

	"github.com/ndring/ndring/shard"
)

// settledShard is a shard whose writes return when they are committed and durable.
type settledShard struct{ *shard.Shard }

func settle(f shard.Future, err error) error {
	if err != nil {
		return err
	}
	return f.Wait(context.Background())
}

func (s settledShard) Set(w shard.Write) (shard.Outcome, error) {
	outcome, f, err := s.Shard.Set(w)
	if err = settle(f, err); err != nil {
		return shard.Outcome{}, err
	}
	return outcome, nil
}

func (s settledShard) SetAll(writes []shard.Write) error { return settle(s.Shard.SetAll(writes)) }

func (s settledShard) Delete(keys [][]byte) (int, error) {
	n, f, err := s.Shard.Delete(keys)
	return n, settle(f, err)
}

func (s settledShard) Expire(key []byte, at int64, condition shard.ExpireCondition) (bool, error) {
	done, f, err := s.Shard.Expire(key, at, condition)
	return done, settle(f, err)
}

func (s settledShard) Persist(key []byte) (bool, error) {
	done, f, err := s.Shard.Persist(key)
	return done, settle(f, err)
}

func settleAll(futures []shard.Future, err error) error {
	for _, f := range futures {
		err = errors.Join(err, f.Wait(context.Background()))
	}
	return err
}
