package protocol

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/shard"
)

// pattern returns n bytes that follow from the first eight.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	var first [8]byte
	binary.LittleEndian.PutUint64(first[:], seed)
	copy(b, first[:])
	for i := 8; i < n; i++ {
		b[i] = first[i%8] + byte(i/8)
	}
	return b
}

func isPattern(b []byte) bool {
	for i := 8; i < len(b); i++ {
		if b[i] != b[i%8]+byte(i/8) {
			return false
		}
	}
	return true
}

// churner is a client that writes and reads at random, and checks every byte that it receives.
type churner struct {
	net.Conn
	*bufio.Reader
	rand  *rand.Rand
	wrong *atomic.Int64
	read  *atomic.Int64
}

func (c *churner) key() string { return fmt.Sprintf("{%d}%d", c.rand.IntN(8), c.rand.IntN(60)) }

func (c *churner) size() int {
	switch c.rand.IntN(40) {
	case 0:
		return c.rand.IntN(3 << 20)
	case 1, 2, 3, 4:
		return c.rand.IntN(200 << 10)
	}
	return c.rand.IntN(20 << 10)
}

func (c *churner) command() string {
	key := c.key()
	switch c.rand.IntN(14) {
	case 0:
		return encode("NP.DEL", key)
	case 1:
		return encode("PEXPIRE", key, strconv.Itoa(c.rand.IntN(300)))
	case 2, 3, 4, 5, 6:
		n := c.size()
		npy := bytesNPY(n, string(pattern(n, c.rand.Uint64())))
		if c.rand.IntN(4) == 0 {
			return encode("NP.SET", key, npy, "ATTRS", `{"a": 1}`, "PART", "mask", string(pattern(c.size(), c.rand.Uint64())))
		}
		return encode("NP.SET", key, npy)
	case 7:
		return encode("NP.MGET", key, key[:3]+"1", key[:3]+"2")
	case 8:
		return encode("NP.GET", key, "WITHATTRS")
	case 9:
		return encode("NP.VERIFY", key)
	}
	return encode("NP.GET", key)
}

// reply reads one reply and checks the bytes of each .npy and part in it.
func (c *churner) reply() error {
	line, err := c.ReadString('\n')
	if err != nil {
		return err
	}
	n := 0
	if line[0] == '*' || line[0] == '$' {
		if n, err = strconv.Atoi(strings.TrimSpace(line[1:])); err != nil || n > 4<<20 {
			c.wrong.Add(1)
			return fmt.Errorf("invalid length: %.20q", line)
		}
	}
	switch line[0] {
	case '-':
		return fmt.Errorf("the server replied %s", line)
	case '*':
		for range n {
			if err := c.reply(); err != nil {
				return err
			}
		}
	case '$':
		if n < 0 {
			return nil
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(c.Reader, b); err != nil {
			return err
		}
		b = b[:n]
		c.read.Add(int64(n))
		switch {
		case strings.HasPrefix(string(b), "\x93NUMPY"):
			b = b[10+int(binary.LittleEndian.Uint16(b[8:])):]
		case n < 30: // attrs, a version, a name
			return nil
		}
		if !isPattern(b) {
			c.wrong.Add(1)
		}
	case '+', ':':
	default:
		c.wrong.Add(1)
		return fmt.Errorf("not a reply: %.20q", line)
	}
	return nil
}

// Random overwrites, deletions, evictions, expiry and slow readers, while memory returns to the system and
// entries move: no client ever receives a wrong byte. NDRING_CHURN=5m prolongs the test.
func TestChurn(t *testing.T) {
	long := 2 * time.Second
	if text := os.Getenv("NDRING_CHURN"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d, %v", seed, long)
	s := start(t, Config{MaxReplyBytes: 1 << 30}) // the replies of a whole pipeline may wait
	s.limit(shard.AllKeysLRU, 12<<20)
	s.logs.to(t.Output()) // shows why a connection is closed
	began := time.Now()
	goOn := func() bool { // until the time has passed and memory was short
		passed := time.Since(began)
		return passed < long || passed < long+time.Minute && s.store.Stats().Evicted == 0
	}
	var wrong, read, commands atomic.Int64
	var group sync.WaitGroup
	for worker := range uint64(6) {
		group.Go(func() {
			conn := s.dial(t)
			if err := conn.SetDeadline(began.Add(long + 2*time.Minute)); err != nil {
				t.Error(err)
			}
			c := &churner{conn, bufio.NewReader(conn), rand.New(rand.NewPCG(seed, worker)), &wrong, &read}
			for goOn() {
				batch := 1 + c.rand.IntN(12)
				sent := make(chan error)
				go func() { // the pipeline is written before a reply is read, so replies wait
					var err error
					for i := 0; i < batch && err == nil; i++ {
						_, err = io.WriteString(c.Conn, c.command())
					}
					sent <- err
				}()
				if err := <-sent; err != nil {
					t.Error(err)
					return
				}
				for range batch {
					if err := c.reply(); err != nil {
						t.Error(err)
						return
					}
				}
				commands.Add(int64(batch))
			}
		})
	}
	group.Go(func() {
		r := rand.New(rand.NewPCG(seed, 99))
		for goOn() {
			time.Sleep(time.Millisecond)
			s.now.Add(r.Int64N(20))
			shard.RemoveExpired(s.store.Shard(r.IntN(256)), 10)
			if r.IntN(50) == 0 {
				s.store.Trim(r.IntN(4) == 0)
			}
			if r.IntN(2000) == 0 {
				s.store.Flush()
			}
		}
	})
	group.Wait()
	stats := s.Stats()
	t.Logf("%d commands, %d MB read, %d evicted, %d expired", commands.Load(), read.Load()>>20, stats.Store.Evicted, stats.Store.Expired)
	if wrong.Load() > 0 {
		t.Errorf("wrong bytes, %d times", wrong.Load())
	}
	if commands.Load() == 0 || read.Load() == 0 || stats.Store.Evicted == 0 {
		t.Error("nothing happened")
	}
}
