package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/shard"
)

// fillFolder runs a node on a folder until it is killed, and returns the keys.
func fillFolder(t *testing.T, dir string) map[string]string {
	t.Helper()
	p := startProcess(t, "--dir", dir, "--shards", "16")
	c := redis.NewClient(&redis.Options{Addr: p.resp})
	defer c.Close()
	values := map[string]string{}
	for i := range 40 {
		key := fmt.Sprint("k", i)
		n := 100 * i
		if i%10 == 0 {
			n = 1 << 20
		}
		values[key] = u1Array(n, byte(i))
		if err := c.Do(context.Background(), "NP.SET", key, values[key]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Do(context.Background(), "NP.SET", "short", values["k1"], "PX", 1).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(context.Background(), "NP.SET", "shortlarge", values["k10"], "PX", 1).Err(); err != nil {
		t.Fatal(err)
	}
	for given := int64(0); given == 0; { // until it arrives before the deadline
		deadline := time.Now().Add(100 * time.Millisecond)
		if err := c.Do(context.Background(), "NP.SET", "forever", values["k1"], "PXAT", deadline.UnixMilli()).Err(); err != nil {
			t.Fatal(err)
		}
		var err error
		if given, err = c.Do(context.Background(), "NP.PERSIST", "forever").Int64(); err != nil {
			t.Fatal(err)
		}
		defer func() { time.Sleep(time.Until(deadline)) }() // the folder is read after it
	}
	p.cmd.Process.Kill()
	p.awaitExit(t)
	return values
}

// u1Array makes an array of n bytes.
func u1Array(n int, b byte) string {
	head := fmt.Sprintf("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", n)
	head += strings.Repeat(" ", 127-10-len(head)) + "\n"
	return "\x93NUMPY\x01\x00" + string([]byte{byte(len(head)), 0}) + head + strings.Repeat(string([]byte{b}), n)
}

// A record that no commit index covers is held back: check counts it, dump does not write its value.
func TestCheckAndDumpHoldBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := persistence.OpenDisk(vfs.OS{}, dir, persistence.Options{Shards: 16, BootID: "boot", Log: slog.New(slog.DiscardHandler), NextIncarnation: func(last uint64) uint64 { return last + 1 }})
	if err != nil {
		t.Fatal(err)
	}
	id := int(topology.ShardOfKey([]byte("k"), 16))
	l := d.Log(id)
	if _, err := l.Recover(shard.NewInspection(0)); err != nil {
		t.Fatal(err)
	}
	record := func(seq uint64, key string, b byte) persistence.Record {
		npy := []byte(u1Array(9, b))
		return persistence.Record{
			Type: persistence.Put, Epoch: 1, Seq: seq, Commit: 1, Key: []byte(key), Meta: append(binary.AppendUvarint(nil, uint64(len(npy))), 0, 0),
			Payload: [][]byte{npy}, Bytes: uint64(len(npy)), CRC: crc32c.Checksum(npy),
		}
	}
	if _, err := l.Append([]persistence.Record{record(1, "k", 1)}, []persistence.Record{record(2, "k", 2)}, []persistence.Record{persistence.NewNoOp(1, 3, 1)}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	held := "records held back: 2, damaged places: 0,"
	if out, err := program(t, nil, "check", "--dir", dir).CombinedOutput(); err != nil || !strings.Contains(string(out), held) ||
		!strings.Contains(string(out), fmt.Sprintf("shard %d: 2 records after the commit index 1, up to 3, are held back", id)) {
		t.Errorf("%v: %s", err, out)
	}
	c := program(t, nil, "dump", "--dir", dir, "k")
	var stderr strings.Builder
	c.Stderr = &stderr
	if out, err := c.Output(); err != nil || string(out) != u1Array(9, 1) || !strings.Contains(stderr.String(), "2 records after the commit index 1, up to 3, are held back") {
		t.Errorf("%v: %q, %s", err, out, stderr.String())
	}
}

func TestCheckAndDump(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	values := fillFolder(t, dir)
	run := func(want int, args ...string) string {
		t.Helper()
		out, err := program(t, nil, args...).CombinedOutput()
		if code := exitCode(err); code != want {
			t.Fatalf("%s: exit code %d, want %d: %s", args, code, want, out)
		}
		return string(out)
	}
	for range 2 { // reading does not change the folder
		if out := run(exitOK, "check", "--dir", dir); !strings.Contains(out, "16 shards, 41 keys with") || !strings.Contains(out, "damaged places: 0, torn bytes: 0") {
			t.Error(out)
		}
	}
	for _, key := range []string{"k3", "k10"} {
		if out, err := program(t, nil, "dump", "--dir", dir, key).Output(); err != nil || string(out) != values[key] {
			t.Errorf("%s: %d bytes, want %d, %v", key, len(out), len(values[key]), err)
		}
	}
	if out, err := program(t, nil, "dump", "--dir", dir, "forever").Output(); err != nil || string(out) != values["k1"] {
		t.Errorf("forever: %d bytes, want %d, %v", len(out), len(values["k1"]), err)
	}
	file := filepath.Join(t.TempDir(), "k3.npy")
	run(exitOK, "dump", "k3", "-o", file, "--dir", dir)
	if b, err := os.ReadFile(file); err != nil || string(b) != values["k3"] {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	for want, args := range map[string][]string{
		"no key": {"dump", "--dir", dir, "nosuch"}, "no such file": {"check", "--dir", filepath.Join(dir, "nosuch")}, `no key "short"`: {"dump", "--dir", dir, "short"},
	} {
		if out := run(exitFailure, args...); !strings.Contains(out, want) {
			t.Errorf("%s: %s", args, out)
		}
	}
	for _, args := range [][]string{{"check"}, {"dump", "--dir", dir}, {"dump", "--dir", dir, "a", "b"}, {"check", "--nosuch"}, {"check", "--dir", dir, "x"}} {
		run(exitUsage, args...)
	}
	p := startProcess(t, "--dir", dir, "--shards", "16")
	c := redis.NewClient(&redis.Options{Addr: p.resp})
	defer c.Close()
	if ttl, err := c.Do(context.Background(), "NP.TTL", "forever").Int64(); ttl != -1 || err != nil {
		t.Errorf("the time to live of a persisted key is %d after a kill, %v", ttl, err)
	}
	if out := run(exitFailure, "check", "--dir", dir); !strings.Contains(out, "another process uses") {
		t.Error(out)
	}
	if out := run(exitFailure, "--dir", dir, "--port", "0", "--http-port", "0", "--shards", "16"); !strings.Contains(out, "another process uses") {
		t.Error(out)
	}
	p.cmd.Process.Kill()
	p.awaitExit(t)
	if out := run(exitFailure, "--dir", dir, "--port", "0", "--http-port", "0"); !strings.Contains(out, "it has 16 shards, not 256") {
		t.Error(out)
	}
}

func TestCheckRepair(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	values := fillFolder(t, dir)
	segments, err := filepath.Glob(filepath.Join(dir, "shards", "*", "seg-*"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	bytesOf := func() (n int64) { // of all files: a repair removes nothing
		filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				n += info.Size()
			}
			return nil
		})
		return n
	}
	flip := func(name string, at int64) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range segments[:3] {
		flip(name, 300)
	}
	name := filepath.Join(dir, "MANIFEST")
	manifest, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(manifest, []byte("crc32c "))
	later := bytes.Replace(manifest[:at], []byte("format 2"), []byte("format 3"), 1)
	later = fmt.Appendf(later, "crc32c %08x\n", crc32c.Checksum(later))
	if err := os.WriteFile(name, later, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--repair"}, {"--repair", "--shards", "16"}} {
		out, err := program(t, nil, append([]string{"check", "--dir", dir}, args...)...).CombinedOutput()
		if exitCode(err) != exitFailure || !bytes.Contains(out, []byte("later program")) || bytes.Contains(out, []byte("--shards N")) {
			t.Errorf("a folder of a later program, %v: %v: %s", args, err, out)
		}
	}
	if now, err := os.ReadFile(name); err != nil || !bytes.Equal(now, later) {
		t.Errorf("the MANIFEST of a later program was replaced: %v, %s", err, now)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	before := bytesOf()
	repair := func(want int, args ...string) string {
		t.Helper()
		out, err := program(t, nil, append([]string{"check", "--dir", dir}, args...)...).CombinedOutput()
		if exitCode(err) != want {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
		return string(out)
	}
	if out := repair(exitFailure); !strings.Contains(out, "--repair --shards N") {
		t.Error(out)
	}
	repair(exitFailure, "--repair", "--shards", "17")
	repaired := repair(exitOK, "--repair", "--shards", "16")
	if after := bytesOf(); after < before {
		t.Errorf("%d bytes of files before, %d after: something was removed", before, after)
	}
	out := repair(exitOK)
	_, found, _ := strings.Cut(out, " shards, ")
	if keys, _, _ := strings.Cut(found, " keys"); !strings.Contains(repaired, "Repaired: "+keys+" keys are intact") {
		t.Errorf("the repair says\n%s, and a check behind it\n%s", repaired, out)
	}
	if !strings.Contains(out, "damaged places: 0,") || strings.Contains(out, "quarantined files: 0\n") {
		t.Error(out)
	}
	p := startProcess(t, "--dir", dir, "--shards", "16")
	if out := repair(exitFailure, "--repair", "--shards", "16"); !strings.Contains(out, "another process uses") {
		t.Error(out)
	}
	if _, err := os.Stat(name); err != nil {
		t.Errorf("a check took the MANIFEST of a running node away: %v", err)
	}
	c := redis.NewClient(&redis.Options{Addr: p.resp})
	defer c.Close()
	lost := 0
	for key, want := range values {
		switch got, err := c.Do(context.Background(), "NP.GET", key).Text(); {
		case err == redis.Nil:
			lost++
		case err != nil || got != want:
			t.Errorf("%s: %d bytes, want %d, %v", key, len(got), len(want), err)
		}
	}
	if lost == 0 || lost > 3 {
		t.Errorf("%d keys are lost with three damaged places", lost)
	}
}
