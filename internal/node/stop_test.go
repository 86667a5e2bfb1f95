package node

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// stopped stops a process with SIGTERM.
func (p *process) stopped(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	if code := p.cmd.ProcessState.ExitCode(); code != exitOK {
		t.Fatalf("exit code %d:\n%s", code, p.logged())
	}
}

func (p *process) client(t *testing.T) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: p.resp})
	t.Cleanup(func() { c.Close() })
	return c
}

// Without a log, a clean stop writes the changes if there is a save point; without one it loses them, as Redis does.
func TestStopWithoutALogSaves(t *testing.T) {
	t.Parallel()
	for save, want := range map[string]int{"3600 1000": 20, "": 0} {
		args := []string{"--dir", t.TempDir(), "--shards", "16", "--appendonly", "no", "--save", save}
		p := startProcess(t, args...)
		all := arraysCalled("unlogged", 20)
		all.store(t, p.client(t))
		p.stopped(t)
		p = startProcess(t, args...)
		if n, err := p.client(t).DBSize(t.Context()).Result(); err != nil || n != int64(want) {
			t.Errorf("save %q: %d keys are back, want %d, %v", save, n, want, err)
		}
		if want > 0 {
			if err := all.check(t.Context(), p.client(t)); err != nil {
				t.Error(err)
			}
		}
	}
}

// One command with more arrays than a system call accepts buffers is complete on disk.
func TestManyArraysInOneWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, "--dir", dir, "--shards", "16")
	all, args := arrays{}, []any{"NP.MSET"}
	for i := range 1500 {
		key := fmt.Sprintf("{one slot} %d", i)
		all[key] = npyOf(uint64(i), 1+i%700)
		args = append(args, key, all[key])
	}
	if err := p.client(t).Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Kill()
	<-p.exited
	p = startProcess(t, "--dir", dir, "--shards", "16")
	if err := all.check(t.Context(), p.client(t)); err != nil {
		t.Error(err)
	}
	if info := p.client(t).Info(t.Context(), "persistence").Val(); !strings.Contains(info, "disk_damage_found:0\r\n") || !strings.Contains(info, "disk_torn_bytes:0\r\n") {
		t.Error(info)
	}
}

// Each start has a greater incarnation than earlier ones, even if the clock went back: it tells the cluster which
// start it hears from.
func TestTheClockGoesBackBetweenStarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	future := uint64(time.Now().Add(1000 * time.Hour).UnixMilli())
	d, err := persistence.OpenDisk(vfs.OS{}, dir, persistence.Options{
		Shards: 256, Log: slog.New(slog.DiscardHandler), NextIncarnation: func(uint64) uint64 { return future },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	last := future
	for range 2 {
		config, err := ParseConfig([]string{"--dir", dir, "--port", "0"}, environment(), "test")
		if err != nil {
			t.Fatal(err)
		}
		n := New(*config, slog.New(slog.DiscardHandler), new(slog.LevelVar))
		if err := n.openDisk(); err != nil {
			t.Fatal(err)
		}
		if n.incarnation != last+1 || n.disk.Identity().Incarnation() != n.incarnation {
			t.Errorf("start %d comes after %d", n.incarnation, last)
		}
		last = n.incarnation
		if err := n.disk.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}

// A node stopped while it waits for its cluster has nothing to save, and logs nothing about snapshots.
func TestStopWhileWaitingForTheCluster(t *testing.T) {
	t.Parallel()
	p := launch(t, program(t, nil, "--port", "0", "--http-port", "0", "--gossip-port", "0", "--bus-port", "0", "--shards", "16", "--dir", t.TempDir(),
		"--bootstrap-expect", "3", "--join", "127.0.0.1:1", "--bind", "127.0.0.1"))
	p.awaitLog(t, "reachable by other nodes")
	p.stopped(t)
	if text := p.logged(); strings.Contains(text, "level=ERROR") || strings.Contains(text, "snapshot") {
		t.Error(text)
	}
}

// ndring check, a start and INFO all report a lost log.
func TestLostLogIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, "--dir", dir, "--shards", "16")
	c := p.client(t)
	arraysCalled("first", 60).store(t, c)
	if err := c.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	arraysCalled("second", 60).store(t, c)
	newest := func() string { // segment of the first shard
		all, err := filepath.Glob(filepath.Join(dir, "shards", "00000", "seg-*.log"))
		if err != nil || len(all) == 0 {
			t.Fatal("no segment", err)
		}
		return all[len(all)-1]
	}()
	marked := regexp.MustCompile(`(?m)^00000 \d+ \d+ ` + filepath.Base(newest) + "$")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if b, _ := os.ReadFile(filepath.Join(dir, "MARKS")); marked.Match(b) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the segment is not marked")
		}
	}
	p.cmd.Process.Kill()
	<-p.exited
	if err := os.Truncate(newest, 0); err != nil {
		t.Fatal(err)
	}
	out, err := program(t, nil, "check", "--dir", dir).CombinedOutput()
	if exitCode(err) != exitFailure || !strings.Contains(string(out), newest) || !strings.Contains(string(out), "damaged places: 1,") {
		t.Errorf("%v: %s", err, out)
	}
	p = startProcess(t, "--dir", dir, "--shards", "16")
	if info := p.client(t).Info(t.Context(), "persistence").Val(); !strings.Contains(info, "disk_damage_found:1\r\n") {
		t.Error(info)
	}
	if !strings.Contains(p.logged(), `msg="damage on disk"`) || !strings.Contains(p.logged(), newest) {
		t.Error(p.logged())
	}
	p.stopped(t)
	if out, err := program(t, nil, "check", "--dir", dir).CombinedOutput(); err != nil {
		t.Errorf("after the repair: %s", out)
	}
}
