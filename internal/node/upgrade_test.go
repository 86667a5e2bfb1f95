package node

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

const upgradeDir = "testdata/upgrade"

// keptKey is what the earlier program said about a key.
type keptKey struct {
	Digest   string // of the reply of NP.GET WITHATTRS, see digestOf
	Deadline int64
	Version  string
}

// A data folder of the earlier program, whose format was 1, is read as if its node had only restarted: each key has its
// bytes, its deadline and its version. Starts that follow read what this program has made of the folder.
func TestUpgradeOfALoneNode(t *testing.T) {
	slowtest.Skip(t)
	for _, tc := range []struct {
		folder, once string // once: a request id whose write must be recognized, if the earlier program kept it
	}{
		{"killed", "tail-8"},
		{"log-only", "id-3"},
		{"stopped", ""},
	} {
		t.Run(tc.folder, func(t *testing.T) {
			t.Parallel()
			crowds <- struct{}{}
			t.Cleanup(func() { <-crowds })
			m := newMember(t, "old")
			unpack(t, tc.folder, m.folder)
			want := keptKeys(t, tc.folder)
			for round, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
				m.start("--shards", "16", "--replicas", "1")
				whole(t, m)
				m.mustHave(want)
				if round == 0 && tc.once != "" {
					m.mustKnow(tc.once)
				}
				m.mustWriteOver(want, round)
				m.end(end)
			}
		})
	}
}

// The same with a cluster of three, whose topology and raft log the earlier program wrote.
func TestUpgradeOfACluster(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	parent := filepath.Join(t.TempDir(), "three")
	unpack(t, "three", parent)
	for _, m := range all {
		m.folder = filepath.Join(parent, m.name)
	}
	want := keptKeys(t, "three")
	id := ""
	for round, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGTERM} {
		startAll(all, "--shards", "16")
		if again := whole(t, all...); id != "" && id != again {
			t.Fatalf("cluster %s has become %s", id, again)
		} else {
			id = again
		}
		atHome(t, all...) // a shard that moves while the nodes are asked is missed, or found twice
		got := map[string]keptKey{}
		for _, m := range all {
			here := m.kept()
			for key := range here {
				if _, twice := got[key]; twice {
					t.Errorf("round %d: two nodes have %s", round, key)
				}
			}
			maps.Copy(got, here)
		}
		compareKept(t, got, want)
		for _, m := range all {
			m.end(end)
		}
	}
}

func (m *member) mustHave(want map[string]keptKey) {
	m.t.Helper()
	compareKept(m.t, m.kept(), want)
}

func compareKept(t *testing.T, got, want map[string]keptKey) {
	t.Helper()
	missing, wrong, more := 0, 0, 0
	for _, key := range slices.Sorted(maps.Keys(want)) {
		switch have, ok := got[key]; {
		case !ok:
			if missing++; missing <= 3 {
				t.Errorf("%s is gone: %+v", key, want[key])
			}
		case have != want[key]:
			if wrong++; wrong <= 3 {
				t.Errorf("%s is %+v, was %+v", key, have, want[key])
			}
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			if more++; more <= 3 {
				t.Errorf("%s has come back", key)
			}
		}
	}
	if missing+wrong+more > 0 {
		t.Errorf("of %d keys, %d are gone and %d differ; %d others have come back", len(want), missing, wrong, more)
	}
}

// mustKnow repeats a conditional write under its request id: the node answers what it answered the first time.
func (m *member) mustKnow(id string) {
	m.t.Helper()
	key := strings.NewReplacer("tail-", "twice:", "id-", "once:").Replace(id)
	if reply := m.says("NP.SET", key, array, "NX", "REQID", id); reply != "OK" {
		m.t.Errorf("%s again, under the same request id: %s", key, reply)
	}
	if reply := m.says("NP.SET", key, array, "NX", "REQID", id+"-new"); reply == "OK" {
		m.t.Errorf("%s exists, and is written under another request id", key)
	}
}

// mustWriteOver replaces one key: what is new has a greater version than all that the earlier program gave.
func (m *member) mustWriteOver(want map[string]keptKey, round int) {
	m.t.Helper()
	key := fmt.Sprintf("plain:%d", 2+round)
	if reply := m.says("NP.SET", key, array); reply != "OK" {
		m.t.Fatalf("%s: %s", key, reply)
	}
	now := m.keptKey(key)
	if !later(now.Version, want[key].Version) {
		m.t.Errorf("%s has version %s after %s", key, now.Version, want[key].Version)
	}
	want[key] = now
}

// later compares versions, which are "epoch-seq".
func later(a, b string) bool {
	numbers := func(version string) []uint64 {
		var all []uint64
		for part := range strings.SplitSeq(version, "-") {
			n, err := strconv.ParseUint(part, 10, 64)
			if err != nil {
				return nil
			}
			all = append(all, n)
		}
		return all
	}
	return slices.Compare(numbers(a), numbers(b)) > 0
}

// kept returns everything that the member says about its keys.
func (m *member) kept() map[string]keptKey {
	m.t.Helper()
	all := map[string]keptKey{}
	for cursor := "0"; ; {
		reply, err := m.do("SCAN", cursor, "COUNT", "1000")
		if err != nil {
			m.t.Fatal(err)
		}
		page := reply.([]any)
		for _, key := range page[1].([]any) {
			all[key.(string)] = m.keptKey(key.(string))
		}
		if cursor = page[0].(string); cursor == "0" {
			return all
		}
	}
}

func (m *member) keptKey(key string) (k keptKey) {
	m.t.Helper()
	npy, err := m.do("NP.GET", key, "WITHATTRS")
	deadline, err2 := m.do("PEXPIRETIME", key)
	meta, err3 := m.do("NP.META", key)
	if err := errors.Join(err, err2, err3); err != nil {
		m.t.Errorf("%s: %v", key, err)
		return k
	}
	h := sha256.New()
	digestOf(h, npy)
	k.Digest, k.Deadline = hex.EncodeToString(h.Sum(nil))[:32], deadline.(int64)
	fields := meta.([]any)
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "version" {
			k.Version = fmt.Sprint(fields[i+1])
		}
	}
	return k
}

// digestOf hashes a reply as make.py does.
func digestOf(h hash.Hash, reply any) {
	switch r := reply.(type) {
	case nil:
		io.WriteString(h, "-1;")
	case int64:
		fmt.Fprintf(h, ":%d;", r)
	case string:
		fmt.Fprintf(h, "%d;%s", len(r), r)
	case []any:
		for _, one := range r {
			digestOf(h, one)
		}
	}
}

func keptKeys(t *testing.T, name string) map[string]keptKey {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(upgradeDir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]keptKey{}
	if err := json.Unmarshal(text, &keys); err != nil || len(keys) == 0 {
		t.Fatal(len(keys), err)
	}
	return keys
}

// unpack makes a folder of an archive.
func unpack(t *testing.T, name, folder string) {
	t.Helper()
	file, err := os.Open(filepath.Join(upgradeDir, name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := unpackTar(plain, folder); err != nil {
		t.Fatal(err)
	}
}

func unpackTar(from io.Reader, folder string) error {
	for archive := tar.NewReader(from); ; {
		h, err := archive.Next()
		switch {
		case err == io.EOF:
			return nil
		case err == nil && (h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeDir):
			err = unpackOne(filepath.Join(folder, filepath.FromSlash(h.Name)), h.FileInfo().Mode(), archive)
		}
		if err != nil {
			return err
		}
	}
}

func unpackOne(path string, mode fs.FileMode, content io.Reader) error {
	if mode.IsDir() {
		return os.MkdirAll(path, 0o755)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode.Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
