package shard

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const epoch = 7

// fixture is a shard with a clock that the test sets, and the pool of its values.
type fixture struct {
	*Shard
	t    testing.TB
	now  int64
	pool memory.Pool
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t, now: 1_000_000}
	f.Shard = NewStore(16, epoch, func() int64 { return f.now }, &f.pool).Shard(3)
	f.store.mono = func() int64 { return f.now * 1e6 }
	t.Cleanup(func() {
		f.Flush()
		if n := f.pool.Buffers() + f.store.tablePool.Buffers(); n != 0 {
			t.Errorf("%d buffers are still held", n)
		}
	})
	return f
}

// value makes a value of a text: the shard does not parse the bytes.
func (f *fixture) value(text string) Value {
	v := Value{NPY: []byte(text)}
	v.CRC = v.Checksum(crc32c.Checksum([]byte(text)))
	return v
}

// must fails the test on an error and returns the value.
func must[T any](t testing.TB, value T, err error) T {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	return value
}

// Wait returns when the change is committed and, if need be, synced: nil then, or ErrUncertain if that may or may not
// be so, because the shard has another primary or, with ErrLate, because ctx is done. It does not wait for a lease: it returns ErrTryAgain
// if the reply needs the lease and the shard does not have it at the end.
func (f Future) Wait(ctx context.Context) error {
	if f.shard == nil {
		return nil
	}
	var l Latch
	l.Add(f)
	l.Wait(ctx, 0)
	done, err := f.Done()
	if !done && err == nil {
		return ErrLate
	}
	return err
}

// settle waits until a change is committed and durable.
func settle(f Future, err error) error {
	if err != nil {
		return err
	}
	return f.Wait(context.Background())
}

// settled is settle for a change with a result. As for a client, an error says nothing of the result.
func settled[T any](result T, f Future, err error) (T, error) {
	if err = settle(f, err); err != nil {
		return *new(T), err
	}
	return result, nil
}

// settleAll is settle for several changes.
func settleAll(futures []Future, err error) error {
	for _, f := range futures {
		err = errors.Join(err, f.Wait(context.Background()))
	}
	return err
}

func (f *fixture) Set(w Write) Outcome {
	o, err := settled(f.Shard.Set(w))
	return must(f.t, o, err)
}

func (f *fixture) SetAll(writes []Write) { must(f.t, 0, settle(f.Shard.SetAll(writes))) }

func (f *fixture) Delete(keys [][]byte) int {
	n, err := settled(f.Shard.Delete(keys))
	return must(f.t, n, err)
}

func (f *fixture) Expire(key []byte, at int64, condition ExpireCondition) bool {
	done, err := settled(f.Shard.Expire(key, at, condition))
	return must(f.t, done, err)
}

func (f *fixture) Persist(key []byte) bool {
	done, err := settled(f.Shard.Persist(key))
	return must(f.t, done, err)
}

func (f *fixture) Flush() { must(f.t, 0, settle(f.Shard.Flush())) }

func (f *fixture) set(key, text string, change ...func(*Write)) Outcome {
	w := Write{Key: []byte(key), Value: f.value(text)}
	for _, c := range change {
		c(&w)
	}
	return f.Set(w)
}

// get returns the text under a key, "" for none.
func (f *fixture) get(key string) string {
	e := f.Get([]byte(key), true)
	if e == nil {
		return ""
	}
	defer e.Release()
	return string(e.NPY())
}

func (f *fixture) want(key, text string) {
	f.t.Helper()
	if got := f.get(key); got != text {
		f.t.Errorf("%s is %q, want %q", key, got, text)
	}
}

func keys(names ...string) (keys [][]byte) {
	for _, name := range names {
		keys = append(keys, []byte(name))
	}
	return keys
}

func nx(w *Write)              { w.Condition = IfMissing }
func xx(w *Write)              { w.Condition = IfPresent }
func keepTTL(w *Write)         { w.Expiry.Keep = true }
func at(ms int64) func(*Write) { return func(w *Write) { w.Expiry.At = ms } }
func requestID(id string) func(*Write) {
	return func(w *Write) { w.RequestID = id }
}
func ifVersion(v Version) func(*Write) {
	return func(w *Write) { w.Condition, w.IfVersion = IfVersion, v }
}
