package loadtest

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a cluster of two addresses that execute commands in one memory. It is linearizable, but for its bugs, and as
// unreliable as a cluster may be.
type fake struct {
	bugs      bugs
	unsteady  bool // it loses connections, moves, refuses and leaves outcomes unknown
	addrs     []string
	listeners []net.Listener

	mu       sync.Mutex // guards all below
	owner    int        // index of the address that serves
	keys     map[string]fakeEntry
	previous map[string]fakeEntry // what each key had before
	deposed  map[string]fakeEntry // what all had when the owner changed
	requests map[string]string
	seq      uint64
}

type bugs struct {
	losesWrites, readsStale, repeatsRequests, ignoresWatch, resurrects bool
	ignoresVersion, neverExpires, expiresEarly, tearsTransactions      bool

	deposedReads bool // the address that does not serve any more answers reads from what it had
}

type fakeEntry struct {
	npy     string
	version uint64
	at      int64 // ms; 0 for no deadline
}

func (e fakeEntry) live(now int64) bool { return e.npy != "" && (e.at == 0 || now < e.at) }

func startFake(t *testing.T, b bugs, unsteady bool) *fake {
	f := &fake{bugs: b, unsteady: unsteady, keys: map[string]fakeEntry{}, previous: map[string]fakeEntry{}, requests: map[string]string{}}
	for i := range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f.addrs = append(f.addrs, l.Addr().String())
		f.listeners = append(f.listeners, l)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go f.serve(c, i)
			}
		}()
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		close(done)
		for _, l := range f.listeners {
			l.Close()
		}
	})
	if unsteady || b.losesWrites || b.deposedReads {
		go f.failOver(done)
	}
	return f
}

// failOver lets the other address serve, again and again.
func (f *fake) failOver(done chan struct{}) {
	for {
		f.mu.Lock()
		before := maps.Clone(f.keys)
		f.mu.Unlock()
		select {
		case <-done:
			return
		case <-time.After(30 * time.Millisecond):
		}
		f.mu.Lock()
		f.deposed = before
		if f.owner = 1 - f.owner; f.bugs.losesWrites {
			f.keys = before
		}
		f.mu.Unlock()
		time.Sleep(70 * time.Millisecond)
	}
}

// fakeConn is what a connection to a fake has between two commands.
type fakeConn struct {
	queue   [][]string
	multi   bool
	moved   bool
	watched map[string]uint64
}

func (f *fake) serve(c net.Conn, index int) {
	defer c.Close()
	r := bufio.NewReader(c)
	x := &fakeConn{watched: map[string]uint64{}}
	for {
		a, err := readAnswer(r)
		if err != nil {
			return
		}
		var args []string
		for _, item := range a.items {
			args = append(args, item.text)
		}
		reply := f.answer(x, index, args)
		if reply == "" {
			return
		}
		if _, err := c.Write([]byte(reply)); err != nil {
			return
		}
	}
}

// answer returns the reply to a command, or nothing for a connection that breaks.
func (f *fake) answer(x *fakeConn, index int, args []string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch name := args[0]; {
	case name == "MULTI":
		x.multi, x.moved, x.queue = true, false, nil
		return "+OK\r\n"
	case name == "NP.GET" && index != f.owner && f.bugs.deposedReads && f.deposed != nil && !x.multi:
		return value(f.deposed[args[1]])
	case name != "EXEC" && index != f.owner:
		x.moved = true
		return "-MOVED 1 " + f.addrs[f.owner] + "\r\n"
	case name == "EXEC":
		defer func() { x.multi, x.watched = false, map[string]uint64{} }()
		switch {
		case x.moved:
			return "-EXECABORT Transaction discarded because of previous errors.\r\n"
		case index != f.owner:
			return "-MOVED 1 " + f.addrs[f.owner] + "\r\n"
		}
		now := *x // it may execute later
		return f.unreliably(func() string { return f.exec(&now) })
	case name == "WATCH":
		x.watched[args[1]] = f.find(args[1]).version
		return "+OK\r\n"
	case x.multi:
		x.queue = append(x.queue, args)
		return "+QUEUED\r\n"
	}
	return f.unreliably(func() string { return f.execute(args) })
}

// unreliably executes something as a cluster may. The caller holds mu.
func (f *fake) unreliably(do func() string) string {
	if !f.unsteady {
		return do()
	}
	switch rand.IntN(600) {
	case 0: // the reply is lost
		do()
		return ""
	case 1: // the command is lost
		return ""
	case 2:
		do()
		return "-UNCERTAIN it may have happened\r\n"
	case 3: // it happens later
		go func() {
			time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
			f.mu.Lock()
			defer f.mu.Unlock()
			do()
		}()
		return "-UNCERTAIN it may happen\r\n"
	case 4, 5, 6, 7:
		return "-TRYAGAIN later\r\n"
	}
	return do()
}

func (f *fake) exec(x *fakeConn) string {
	for key, version := range x.watched {
		if f.find(key).version != version && !f.bugs.ignoresWatch {
			return "*-1\r\n"
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(x.queue))
	for _, args := range x.queue {
		b.WriteString(f.execute(args))
		if f.bugs.tearsTransactions {
			f.mu.Unlock()
			time.Sleep(100 * time.Microsecond)
			f.mu.Lock()
		}
	}
	return b.String()
}

// find returns the entry of a key; an empty one if it is missing.
func (f *fake) find(key string) fakeEntry {
	now := time.Now().UnixMilli()
	if f.bugs.neverExpires {
		now = 0
	}
	if f.bugs.expiresEarly {
		now += 200
	}
	if e := f.keys[key]; e.live(now) {
		return e
	}
	return fakeEntry{}
}

func (f *fake) change(key string, e fakeEntry) {
	f.previous[key] = f.find(key)
	f.keys[key] = e
}

func (f *fake) execute(args []string) string {
	key := args[1]
	e := f.find(key)
	there := e.npy != ""
	number := ":0\r\n"
	if there {
		number = ":1\r\n"
	}
	switch args[0] {
	case "NP.SET":
		return f.set(key, e, args)
	case "NP.GET":
		if f.bugs.readsStale && rand.IntN(50) == 0 {
			e = f.previous[key]
		}
		return value(e)
	case "NP.META":
		if !there {
			return "*-1\r\n"
		}
		ttl := int64(-1)
		if e.at != 0 {
			ttl = max(0, e.at-time.Now().UnixMilli())
		}
		return fmt.Sprintf("*4\r\n%s:%d\r\n%s%s", bulk("pttl"), ttl, bulk("version"), bulk(fmt.Sprintf("7-%d", e.version)))
	case "DEL":
		if f.change(key, fakeEntry{}); f.bugs.resurrects && there && rand.IntN(100) == 0 {
			time.AfterFunc(time.Millisecond, func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.keys[key] = e
			})
		}
	case "PEXPIRE":
		if ms, _ := strconv.ParseInt(args[2], 10, 64); there && ms <= 0 {
			f.change(key, fakeEntry{})
		} else if there {
			e.at = time.Now().UnixMilli() + ms
			f.change(key, e)
		}
	case "PERSIST":
		if e.at == 0 {
			return ":0\r\n"
		}
		e.at = 0
		f.change(key, e)
	}
	return number
}

// value returns the reply to NP.GET WITHATTRS.
func value(e fakeEntry) string {
	if e.npy == "" {
		return "$-1\r\n"
	}
	return fmt.Sprintf("*5\r\n%s$-1\r\n%s:1\r\n*0\r\n", bulk(e.npy), bulk(fmt.Sprintf("7-%d", e.version)))
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func (f *fake) set(key string, old fakeEntry, args []string) (reply string) {
	e, holds := fakeEntry{npy: args[2]}, true
	for i := 3; i < len(args); i++ {
		switch args[i] {
		case "NX":
			holds = old.npy == ""
		case "XX":
			holds = old.npy != ""
		case "IFVERSION":
			i++
			holds = old.npy != "" && (args[i] == fmt.Sprintf("7-%d", old.version) || f.bugs.ignoresVersion)
		case "PX":
			i++
			ms, _ := strconv.ParseInt(args[i], 10, 64)
			e.at = time.Now().UnixMilli() + ms
		case "REQID":
			i++
			if earlier, found := f.requests[args[i]]; found && !f.bugs.repeatsRequests {
				return earlier
			}
			defer func() { f.requests[args[i]] = reply }()
		}
	}
	if !holds {
		return "$-1\r\n"
	}
	f.seq++
	e.version = f.seq
	f.change(key, e)
	return bulk(fmt.Sprintf("7-%d", e.version))
}
