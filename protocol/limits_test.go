package protocol

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/protocol/resp"
)

// An idle client is silently disconnected after the idle time, as in Redis; a busy one is not.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	s := start(t, Config{IdleTimeout: 3 * time.Second}) // a loaded machine may delay the busy client for part of that
	idle, busy := s.dial(t), s.dial(t)
	idle.want("+PONG", "PING")
	type end struct {
		rest []byte
		err  error
	}
	done := make(chan end, 1)
	idle.extend()
	go func() {
		rest, err := io.ReadAll(idle.r)
		done <- end{rest, err}
	}()
	for {
		busy.want("+PONG", "PING")
		select {
		case e := <-done:
			if len(e.rest) > 0 || e.err != nil {
				t.Errorf("the idle client got %q, %v", e.rest, e.err)
			}
			if n := s.Stats().IdleTimeouts; n != 1 {
				t.Errorf("%d idle clients are counted", n)
			}
			return
		default:
		}
	}
}

// A slow upload may go on while no other client needs its room, and is aborted once one does, however fast
// its client was before.
func TestSlowUploadsMakeRoom(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxArrayBytes: 1 << 20, MaxUploadBytes: 1 << 20, UploadWait: 30 * time.Second, MinUploadRate: 1 << 20})
	array := bytesNPY(1<<20, "")
	stream := encode("NP.SET", "k", array)
	slow := s.dial(t)
	const before = 3
	slow.send(strings.Repeat(stream, before) + stream[:1000])
	for range before {
		if got := slow.reply(); got != "+OK" {
			t.Fatal(got)
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 1000; ; i++ { // paces the dribble, does not wait for a condition
			if _, err := io.WriteString(slow, stream[i:i+1]); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	eventually(t, "the upload holds its room", func() bool { return s.budget.Used() > 1<<20 })
	other := s.dial(t)
	other.want("+OK", "NP.SET", "k", array) // waits for the room
	if got := slow.closed(); !strings.HasPrefix(got, "-ERR argument 2: the upload is too slow, others wait: ") {
		t.Errorf("the slow client got %q", got)
	}
	slow.Close()
	receive(t, "the end of the dribble", ended)
	if stats := s.Stats(); stats.SlowUploads != 1 || stats.BusyUploads != 0 {
		t.Errorf("%+v", stats)
	}
}

// unread makes a client request about the given bytes of replies, and read none of them.
func unread(t *testing.T, s *testServer, bytes int) *client {
	c := s.dial(t)
	array := bytesNPY(1<<20, "")
	c.want("+OK", "NP.SET", "k", array)
	c.send(strings.Repeat(encode("NP.GET", "k"), bytes/len(array)))
	return c
}

func TestOutputLimits(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]Config{
		"hard": {OutputHard: 8 << 20},
		"soft": {OutputSoft: 4 << 20, OutputSoftTime: 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, config)
			goodClient(t, s)
			unread(t, s, 40<<20)
			eventually(t, "the client is disconnected", func() bool { return s.Stats().Clients == 1 })
			if stats := s.Stats(); stats.OutputLimits != 1 || stats.ReplyBytes > 1<<20 {
				t.Errorf("%d clients counted, %d bytes wait", stats.OutputLimits, stats.ReplyBytes)
			}
		})
	}
}

// A client that reads no pending reply for long is disconnected, even if it sends no further command.
func TestReplyStall(t *testing.T) {
	t.Parallel()
	s := start(t, Config{ReplyStall: 200 * time.Millisecond})
	goodClient(t, s)
	unread(t, s, 40<<20)
	eventually(t, "the client is disconnected", func() bool { return s.Stats().Clients == 1 })
	if n := s.Stats().ReplyStalls; n != 1 {
		t.Errorf("%d stalls are counted", n)
	}
}

// A client that falls below the soft limit in time is not disconnected.
func TestSoftLimitForgivesClientsThatCatchUp(t *testing.T) {
	t.Parallel()
	s := start(t, Config{OutputSoft: 1 << 20, OutputSoftTime: time.Hour})
	c := unread(t, s, 20<<20)
	eventually(t, "many bytes wait", func() bool { return s.output.Waiting() > 1<<20 })
	for range 19 {
		c.reply()
	}
	c.want("+PONG", "PING")
	if n := s.Stats().OutputLimits; n != 0 {
		t.Errorf("%d clients were closed", n)
	}
}

// The bytes that wait for clients that read nothing are bounded by the limit for all, plus a share and a reply
// for each.
func TestRepliesOfAllClientsAreBounded(t *testing.T) {
	t.Parallel()
	const limit, clients = 4 << 20, 60
	s := start(t, Config{MaxOutputBytes: limit, ReplyStall: time.Hour})
	goodClient(t, s)
	array := bytesNPY(60_000, "")
	s.dial(t).want("+OK", "NP.SET", "k", array)
	for range clients {
		c := s.dial(t)
		go io.WriteString(c, strings.Repeat(encode("NP.GET", "k"), 300)) // fails when the test ends
	}
	most := int64(limit + clients*(resp.OutputShare+flushAt+2*len(array)))
	eventually(t, "the limit is reached", func() bool {
		waiting := s.output.Waiting()
		if waiting > most {
			t.Fatalf("%d bytes wait, at most %d may", waiting, most)
		}
		return waiting > limit
	})
	before := s.Stats().Commands
	eventually(t, "the commands of the other clients wait", func() bool { // only the good client goes on
		after := s.Stats().Commands
		defer func() { before = after }()
		return s.output.Waiting() > limit && after-before < 100
	})
	if waiting := s.output.Waiting(); waiting > most {
		t.Errorf("%d bytes wait, at most %d may", waiting, most)
	}
}

// A client that was slow once, and has read everything since, is not disconnected later: the old deadline no
// longer counts.
func TestOldWriteDeadlineDoesNotCount(t *testing.T) {
	t.Parallel()
	const stall = 300 * time.Millisecond
	s := start(t, Config{ReplyStall: stall})
	c := s.dial(t)
	c.want("+OK", "NP.SET", "k", bytesNPY(8<<20, ""))
	c.send(encode("NP.GET", "k"))
	eventually(t, "replies wait", func() bool { return s.Stats().ReplyBytes > 0 })
	c.reply()
	eventually(t, "everything is sent", func() bool { return s.Stats().ReplyBytes == 0 })
	for began := time.Now(); time.Since(began) < 2*stall; time.Sleep(10 * time.Millisecond) {
		c.want("+PONG", "PING")
	}
	c.want("+PONG", "PING")
}

// The time of a pause does not count as the execution time of a command, not even within a pipeline.
func TestPausedTimeDoesNotCount(t *testing.T) {
	t.Parallel()
	s := start(t, Config{SlowlogSlowerThan: 100 * time.Millisecond})
	c, admin := s.dial(t), s.dial(t)
	admin.want("+OK", "CLIENT", "PAUSE", "300", "WRITE")
	c.send(encode("PING") + encode("NP.DEL", "k"))
	if got := c.reply() + " " + c.reply(); got != "+PONG :0" {
		t.Error(got)
	}
	admin.want(":0", "SLOWLOG", "LEN")
}

// A lower limit counts at once, even for arrays whose header the connection has cached.
func TestLowerArrayLimitCountsForCachedHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	for _, n := range []int{1000, 100_000} {
		array := bytesNPY(n, "")
		c.want("+OK", "NP.SET", "k", array)
		config := *s.config.Load()
		config.MaxArrayBytes = int64(n) - 1
		s.Reconfigure(config)
		c.want("+PONG", "PING") // a connection follows a change with its next command
		c.want(fmt.Sprintf("-TOOLARGE the array is too large: %d bytes of data, the limit is %d", n, n-1), "NP.SET", "k", array)
		config.MaxArrayBytes = DefaultMaxArrayBytes
		s.Reconfigure(config)
		c.want("+PONG", "PING")
	}
}

// Parts of arrays are copies. Clients that do not read theirs take no more memory for them than replies may have, also within
// one transaction; once they are gone, parts are served again.
func TestCopiesAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 8 << 20
	s := start(t, Config{MaxOutputBytes: limit, ReplyStall: time.Hour})
	c := s.dial(t)
	c.want("+OK", "NP.SET", "k", bytesNPY(1<<20, ""))
	c.want("+OK", "MULTI")
	for range 40 {
		c.want("+QUEUED", "NP.SLICE", "k", ":")
		c.want("+QUEUED", "NP.TAKE", "k", "0", "0,1")
	}
	reply := c.do("EXEC")
	if parts, busy := strings.Count(reply, "\x93NUMPY"), strings.Count(reply, "BUSY too many parts"); parts != 40+limit>>20-1 || parts+busy != 80 {
		t.Errorf("%d parts, %d times BUSY", parts, busy)
	}
	eventually(t, "the copies are gone", func() bool { return s.output.Copies() == 0 })
	c.want("+OK", "NP.SET", "larger than the limit", bytesNPY(limit+1<<20, ""))
	for _, key := range []string{"k", "larger than the limit"} { // one alone is served, whatever its size
		if got := c.do("NP.SLICE", key, ":"); !strings.HasPrefix(got, "\"\x93NUMPY") {
			t.Errorf("%s: %.60q", key, got)
		}
		eventually(t, "the copy is gone", func() bool { return s.output.Copies() == 0 })
	}
}
