package loadtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Load writes to a cluster and checks its reads.
type Load struct {
	Client func(*rand.Rand) *redis.ClusterClient // makes a client that asks the nodes in random order

	Prefix string               // of all keys: two loads on one cluster must not share any
	Pause  time.Duration        // between two operations of a writer or a reader; 0: none
	Size   func(*rand.Rand) int // bytes of a value; nil: 8
	Failed func(error)          // is told of each attempt that failed, unless it is nil

	Drain atomic.Bool  // the writers delete more than they set
	Acks  atomic.Int64 // acknowledged writes
	Reads atomic.Int64
	Tries atomic.Int64 // failed attempts

	mu        sync.Mutex // guards registers
	registers []*Register
}

// Write sets and deletes keys that no other writer uses. It retries a failed operation until it is
// acknowledged. After a timeout it abandons the key, because the first try may take effect after the second.
func (l *Load) Write(ctx context.Context, id int, r *rand.Rand) error {
	c := l.Client(r)
	defer func() { c.Close() }()
	var own []*Register
	made := 0
	for ; ctx.Err() == nil; time.Sleep(l.Pause) {
		own = slices.DeleteFunc(own, func(r *Register) bool { return r.left })
		for len(own) < 12 {
			made++
			own = append(own, &Register{Key: fmt.Sprintf("%sw%d-%d", l.Prefix, id, made)})
			l.mu.Lock()
			l.registers = append(l.registers, own[len(own)-1])
			l.mu.Unlock()
		}
		reg := own[r.IntN(len(own))]
		set := r.IntN(2) == 0
		if l.Drain.Load() {
			set = r.IntN(30) == 0
			time.Sleep(time.Millisecond)
		}
		reg.mu.Lock()
		reg.history = append(reg.history, set)
		n := len(reg.history)
		reg.mu.Unlock()
		value := l.value(n, r)
		for {
			var err error
			if set {
				err = c.Do(ctx, "NP.SET", reg.Key, value).Err()
			} else {
				err = c.Del(ctx, reg.Key).Err()
			}
			var slow net.Error
			if err == nil {
				reg.mu.Lock()
				reg.acked = n
				reg.mu.Unlock()
				l.Acks.Add(1)
				break
			}
			if timedOut := errors.As(err, &slow) && slow.Timeout(); ctx.Err() != nil || timedOut {
				reg.left = true
				if ctx.Err() == nil {
					l.failed(err)
				}
				break
			}
			l.Tries.Add(1)
			l.failed(err)
			time.Sleep(10 * time.Millisecond)
			if r.IntN(8) == 0 { // all addresses that the client knows may be outdated
				c.Close()
				c = l.Client(r)
			}
		}
	}
	return nil
}

// value returns what operation n stores.
func (l *Load) value(n int, r *rand.Rand) string {
	if l.Size == nil {
		return Numbered(n)
	}
	return numbers(n, max(1, l.Size(r)/8))
}

func (l *Load) failed(err error) {
	if l.Failed != nil {
		l.Failed(err)
	}
}

// errStrange is returned for a value that no writer has stored.
var errStrange = errors.New("no writer has stored this value")

// Get returns the number stored under a key; 0: none. It checks the whole value.
func Get(ctx context.Context, c *redis.ClusterClient, key string) (int, error) {
	text, err := c.Do(ctx, "NP.GET", key).Text()
	switch {
	case errors.Is(err, redis.Nil):
		return 0, nil
	case err != nil:
		return 0, err
	case len(text) < 8:
		return 0, fmt.Errorf("%w: %s has %q", errStrange, key, text)
	}
	n := int(binary.LittleEndian.Uint64([]byte(text[len(text)-8:])))
	if text != numbers(n, (len(text)-headBytes)/8) {
		return 0, fmt.Errorf("%w: %s has %d bytes, the last of which say %d", errStrange, key, len(text), n)
	}
	return n, nil
}

// Read checks random keys of all writers.
func (l *Load) Read(ctx context.Context, r *rand.Rand) error {
	c := l.Client(r)
	defer func() { c.Close() }()
	for ; ctx.Err() == nil; time.Sleep(l.Pause) {
		l.mu.Lock()
		var reg *Register
		if len(l.registers) > 0 {
			reg = l.registers[r.IntN(len(l.registers))]
		}
		l.mu.Unlock()
		if reg == nil {
			time.Sleep(time.Millisecond)
			continue
		}
		from, _ := reg.Span()
		got, err := Get(ctx, c, reg.Key)
		if errors.Is(err, errStrange) {
			return err
		}
		if err != nil {
			if ctx.Err() == nil {
				l.failed(err)
			}
			if time.Sleep(time.Millisecond); r.IntN(8) == 0 {
				c.Close()
				c = l.Client(r)
			}
			continue
		}
		l.Reads.Add(1)
		if err := reg.Check(from, got); err != nil {
			return err
		}
	}
	return nil
}

// Verify checks all keys after the writers have stopped, and returns what is wrong.
func (l *Load) Verify(ctx context.Context, c *redis.ClusterClient) (wrong []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, reg := range l.registers {
		acked, _ := reg.Span()
		got, err := Get(ctx, c, reg.Key)
		if err == nil {
			err = reg.Check(acked, got)
		}
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}
