package node

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newestSegment returns the newest segment of a shard in a data folder.
func newestSegment(t *testing.T, dir, shard string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "shards", shard, "seg-*.log"))
	if err != nil || len(all) == 0 {
		t.Fatal("no segment", err)
	}
	return all[len(all)-1]
}

// damageSegment changes a byte in the middle of a file.
func damageSegment(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// recoverOnly starts a node as far as its shards are read and mended, and stops it before the cluster learns of it.
func recoverOnly(t *testing.T, dir string) {
	t.Helper()
	config, err := ParseConfig([]string{"--dir", dir, "--port", "0", "--shards", "16"}, environment(), "test")
	if err != nil {
		t.Fatal(err)
	}
	n := New(*config, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	if err := n.openDisk(); err != nil {
		t.Fatal(err)
	}
	running := n.openStore(t.Context())
	defer n.cancel()
	if err := n.store.Disk().Recover(running, n.log); err != nil {
		t.Fatal(err)
	}
	if n.store.Disk().Loading() {
		t.Fatal("the shards are not read")
	}
	if err := n.store.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	n.store.Release()
}

// forgotten waits until the folder need not remember any damage, because the cluster does.
func forgotten(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(filepath.Join(dir, "MANIFEST"))
		if err == nil && !strings.Contains(string(b), "\ndamaged ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the folder still remembers damage: %s, %v", b, err)
		}
	}
}

// A lone node with a damaged shard comes up by itself and serves what is left. The loss is counted once: also if an
// earlier start has found and mended the damage and ended before the cluster knew of it, and not again at later
// starts.
func TestDamageIsCountedOnce(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(t *testing.T, dir string){
		"found by this start":       func(*testing.T, string) {},
		"found by an earlier start": recoverOnly,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			args := []string{"--dir", dir, "--shards", "16"}
			p := startProcess(t, args...)
			const stored = 160
			arraysCalled("kept", stored).store(t, p.client(t))
			p.cmd.Process.Kill()
			<-p.exited
			damageSegment(t, newestSegment(t, dir, "00003"))
			before(t, dir)
			for i := range 3 {
				p = startProcess(t, args...)
				c := p.client(t)
				if info := c.Info(t.Context(), "replication").Val(); !strings.Contains(info, "\npossible_losses:1\r") {
					t.Errorf("start %d: %s", i, info)
				}
				left, err := c.DBSize(t.Context()).Result()
				if err != nil || left < stored/2 || left >= stored {
					t.Errorf("start %d: %d keys of %d are left, %v", i, left, stored, err)
				}
				fresh := arraysCalled(fmt.Sprint("start ", i), 160) // in all shards
				fresh.store(t, c)
				for key := range fresh {
					if err := c.Del(t.Context(), key).Err(); err != nil {
						t.Error(err)
					}
				}
				forgotten(t, dir)
				p.cmd.Process.Kill()
				<-p.exited
			}
		})
	}
}
