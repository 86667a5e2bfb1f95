package protocol

import (
	"log/slog"
	"regexp"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// brokenDisk is a data folder in memory. While a fault is set, its changes fail.
type brokenDisk struct {
	fault atomic.Pointer[syscall.Errno]
	good  atomic.Int64 // changes that still succeed after a fault was set
	store *shard.Store
}

func (b *brokenDisk) breaks(errno syscall.Errno) { b.fault.Store(&errno) }

// startOnDisk runs a server whose store is on a brokenDisk. It is still loading.
func startOnDisk(t *testing.T, fsync shard.FsyncPolicy) (*testServer, *brokenDisk) {
	t.Helper()
	b := &brokenDisk{}
	fs := vfs.NewFaulty(vfs.NewMem(), func(int) error {
		if errno := b.fault.Load(); errno != nil && b.good.Add(-1) < 0 {
			return *errno
		}
		return nil
	})
	d, err := persistence.OpenDisk(fs, "data", persistence.Options{
		Shards: 256, BootID: "a", Log: slog.New(slog.DiscardHandler), NextIncarnation: func(uint64) uint64 { return 7 },
	})
	if err != nil {
		t.Fatal(err)
	}
	s := startOn(t, Config{Disk: shard.DiskConfig{Fsync: fsync}}, 256, func(store *shard.Store) {
		b.store = store
		store.UseDisk(d, true, resp.BulkFrame, slog.New(slog.DiscardHandler))
	})
	t.Cleanup(func() { b.fault.Store(nil) }) // before the server's cleanup, which empties the store
	return s, b
}

func (b *brokenDisk) load(t *testing.T) {
	t.Helper()
	if err := b.store.Disk().Recover(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
}

func TestLoading(t *testing.T) {
	t.Parallel()
	s, b := startOnDisk(t, shard.FsyncEverysec)
	c := s.dial(t)
	const loading = "-LOADING ndring is loading the dataset in memory"
	a := bytesNPY(8, "a")
	for _, args := range [][]string{
		{"NP.GET", "k"}, {"NP.SET", "k", a}, {"DEL", "k"}, {"PING"}, {"DBSIZE"}, {"SCAN", "0"}, {"FLUSHALL"}, {"RANDOMKEY"}, {"SAVE"}, {"BGSAVE"}, {"WATCH", "k"},
	} {
		c.want(loading, args...)
	}
	info := c.do("INFO", "persistence")
	for _, line := range []string{"loading:1", `loading_start_time:\d+`, `loading_total_bytes:\d+`, `loading_loaded_bytes:\d+`, `loading_loaded_perc:\d+\.\d\d`, `loading_eta_seconds:\d+`} {
		if !regexp.MustCompile(`\n` + line + `\r\n`).MatchString(info) {
			t.Errorf("INFO lacks %s: %s", line, info)
		}
	}
	for _, args := range [][]string{{"CLUSTER", "SLOTS"}, {"COMMAND", "COUNT"}, {"CONFIG", "GET", "maxclients"}, {"CLIENT", "ID"}, {"LASTSAVE"}} { // what clients send when they connect
		if got := c.do(args...); got[0] == '-' {
			t.Errorf("%s: %s", args, got)
		}
	}
	b.load(t)
	c.want("+PONG", "PING")
	c.want("+OK", "NP.SET", "k", a)
	if info := c.do("INFO", "persistence"); !regexp.MustCompile(`\nloading:0\r\n`).MatchString(info) {
		t.Error(info)
	}
}

// While the disk fails, writes return a clear error and have no effect, and reads go on.
func TestBrokenDisk(t *testing.T) {
	t.Parallel()
	s, b := startOnDisk(t, shard.FsyncEverysec)
	b.load(t)
	c := s.dial(t)
	small, large, other := bytesNPY(8, "a"), bytesNPY(2<<20, "large"), bytesNPY(8, "b")
	c.want("+OK", "NP.SET", "{k}1", small)
	c.want("+OK", "NP.SET", "{k}2", large)
	for errno, want := range map[syscall.Errno]string{syscall.EIO: `^-MISCONF .*input/output error`, syscall.ENOSPC: `^-DISKFULL .*no space left on device`} {
		b.breaks(errno)
		refused := func(args ...string) {
			t.Helper()
			if got := c.do(args...); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("%.60q: %.300s", args, got)
			}
		}
		refused("NP.SET", "{k}1", other)
		refused("NP.SET", "{k}1", large)
		refused("NP.SET", "{k}3", other, "NX")
		refused("NP.MSET", "{k}1", other, "{k}3", other)
		refused("DEL", "{k}1")
		refused("EXPIRE", "{k}1", "100")
		refused("FLUSHALL")
		c.want("+OK", "MULTI")
		c.want("+QUEUED", "NP.SET", "{k}1", other)
		c.want("+QUEUED", "NP.GET", "{k}1")
		c.want("+QUEUED", "NP.GET", "{k}2")
		c.want("+QUEUED", "DEL", "{k}2")
		refused("EXEC")
		c.want(`"`+small+`"`, "NP.GET", "{k}1")
		c.want(`"`+large+`"`, "NP.GET", "{k}2")
		c.want(":2", "DBSIZE")
		c.want(":-1", "TTL", "{k}1")
		b.fault.Store(nil)
	}
	// None of this has stopped the log.
	c.want("+OK", "MULTI")
	c.want("+QUEUED", "NP.SET", "{k}1", other)
	c.want("+QUEUED", "NP.GET", "{k}1")
	c.want(`[+OK "`+other+`"]`, "EXEC")
}

// After a failed sync the content of the disk is unknown: the write is uncertain, later ones are refused.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	s, b := startOnDisk(t, shard.FsyncAlways)
	b.load(t)
	c := s.dial(t)
	a := bytesNPY(8, "a")
	c.want("+OK", "NP.SET", "k", a)
	b.good.Store(1) // the write succeeds, its sync does not
	b.breaks(syscall.EIO)
	if got := c.do("NP.SET", "k", a); !regexp.MustCompile(`^-UNCERTAIN `).MatchString(got) {
		t.Error(got)
	}
	b.fault.Store(nil)
	if got := c.do("NP.SET", "k", a); !regexp.MustCompile(`^-MISCONF .*the log has stopped`).MatchString(got) {
		t.Error(got)
	}
	c.want(`"`+a+`"`, "NP.GET", "k")
	if info := c.do("INFO", "persistence"); !regexp.MustCompile(`\ndisk_stopped_shards:1\r\n`).MatchString(info) || !regexp.MustCompile(`\naof_last_write_status:err\r\n`).MatchString(info) {
		t.Error(info)
	}
}
