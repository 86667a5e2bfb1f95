package shard

import (
	"testing"
	"time"
)

// expiring stores committed values that expire after so many ms.
func (p *pair) expiring(ms int64, keys ...[]byte) {
	p.t.Helper()
	for _, key := range keys {
		_, f, err := p.sh.Set(Write{Key: key, Value: p.text("short"), Expiry: Expiry{At: p.now + ms}})
		must(p.t, 0, err)
		p.ack(p.newest())
		must(p.t, 0, f.Wait(p.t.Context()))
	}
}

// A write that rests on a key which expires before the write is committed: readers see the key until then. Otherwise a reader could see
// that the key is gone, and after that the outcome of a write that needs it.
func TestReadersSeeWhatAnAppendedWriteRestsOn(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	key := []byte(asked)
	p.expiring(10, key)
	p.now += 5
	outcome, f, err := p.sh.Set(Write{Key: key, Value: p.text("after"), Condition: IfPresent})
	if must(t, 0, err); !outcome.Done {
		t.Fatal("the key is not there yet")
	}
	p.now += 10
	if p.sh.Exists([][]byte{key}, false) != 1 {
		t.Error("readers see that the key has expired, and a write that needs it is about to be committed")
	}
	p.ack(p.newest())
	must(t, 0, f.Wait(t.Context()))
	e := p.sh.Get(key, false)
	if e == nil || string(e.NPY()) != "after" {
		t.Error("the write is not there")
	}
	e.Release()
	_, _, err = p.sh.Set(Write{Key: key, Value: p.text("short"), Expiry: Expiry{At: p.now + 10}})
	must(t, 0, err)
	p.ack(p.newest())
	p.now += 10
	if p.sh.Exists([][]byte{key}, false) != 0 {
		t.Error("readers see a key that has expired, and no write rests on it")
	}
}

// A transaction that has found a key which it does not change, and that expires before the transaction is committed: readers see the key
// until then, and a writer that finds it expired waits for that commit. Other keys expire in time.
func TestReadersSeeWhatATransactionRestsOn(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	key, another := []byte(asked), []byte("another")
	p.expiring(10, key, another)
	p.now += 5
	f, err := p.sh.Update(true, func(tx *Tx) {
		if tx.Exists([][]byte{key}, false) != 1 {
			t.Error("the key is not there yet")
		}
		_, err := tx.Set(Write{Key: []byte("other"), Value: p.text("after")})
		must(t, 0, err)
	})
	must(t, 0, err)
	p.now += 10
	if p.sh.Exists([][]byte{key}, false) != 1 {
		t.Error("readers see that the key has expired, and a transaction that has found it is about to be committed")
	}
	if p.sh.Exists([][]byte{another}, false) != 0 {
		t.Error("readers see a key that has expired, and no transaction has found it")
	}
	outcome, late, err := p.sh.Set(Write{Key: key, Value: p.text("x"), Condition: IfPresent})
	if must(t, 0, err); outcome.Done {
		t.Error("a writer finds a key that has expired")
	}
	if done, _ := late.Done(); done {
		t.Error("a writer says that the key has expired while readers see it")
	}
	p.ack(p.newest())
	must(t, 0, f.Wait(t.Context()))
	if p.sh.Exists([][]byte{key}, false) != 0 {
		t.Error("readers see a key that has expired, and nothing rests on it")
	}
}

// A transaction that only reads has found a change which is not committed, and a key that expires before that: readers see the key until
// then. Otherwise one that finds it gone and the change not there yet would contradict the transaction.
func TestReadersSeeWhatAReadingTransactionRestsOn(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	key, other := []byte(asked), []byte("other")
	p.expiring(10, key)
	_, _, err := p.sh.Set(Write{Key: other, Value: p.text("late")})
	must(t, 0, err)
	p.now += 5
	_, err = p.sh.Update(true, func(tx *Tx) {
		if tx.Exists([][]byte{key, other}, false) != 2 {
			t.Error("a transaction does not see what is appended")
		}
	})
	must(t, 0, err)
	p.now += 10
	if p.sh.Exists([][]byte{other}, false) != 0 || p.sh.Exists([][]byte{key}, false) != 1 {
		t.Error("readers see that a key has expired, which a transaction has found together with a change that is not committed")
	}
	p.ack(p.newest())
	if p.sh.Exists([][]byte{key}, false) != 0 {
		t.Error("readers see a key that has expired, and nothing rests on it")
	}
	_, err = p.sh.Update(true, func(tx *Tx) { tx.Exists([][]byte{other}, false) })
	if must(t, 0, err); len(p.sh.suffix.resting) != 0 {
		t.Error("a transaction whose changes are committed rests on something")
	}
}

// A reader asks while a transaction reads the clock, and a key expires just then. A later reader does not find the key that the first one
// has found gone.
func TestAKeyDoesNotComeBackWhenATransactionBegins(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	key := []byte(asked)
	p.expiring(10, key)
	p.now += 9
	exists := func() int { return p.sh.Exists([][]byte{key}, false) }
	clock, first, asks := p.sh.writer.clock, make(chan int, 1), true
	p.sh.writer.clock = func() int64 {
		if asks {
			asks = false
			before := clock()
			p.now += 5
			go func() { first <- exists() }()
			select {
			case n := <-first: // it did not wait until the transaction has its time
				first <- n
				return before
			case <-time.After(10 * time.Millisecond):
			}
		}
		return clock()
	}
	second := -1
	_, err := p.sh.Update(true, func(*Tx) { second = exists() })
	must(t, 0, err)
	if n := <-first; n < second {
		t.Errorf("a reader finds %d keys, and a later one %d", n, second)
	}
}
