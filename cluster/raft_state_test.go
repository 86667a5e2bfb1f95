package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/internal/uuid"
)

// failsToStart starts a node that must report that it has lost its raft state.
func (nw *network) failsToStart(t *testing.T, c Config, what string) {
	t.Helper()
	n := nw.start(t, c)
	err := readyError(t, n)
	var lost *LostError
	if !errors.As(err, &lost) {
		t.Fatalf("%s: the node does not report that it has lost its raft state: %v", what, err)
	}
	for _, part := range []string{c.RaftDir, "lost its raft votes", "ndctl raft rejoin --dir " + filepath.Dir(c.RaftDir)} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %q is not in %q", what, part, err)
		}
	}
	n.stop()
}

func raftPath(c Config) string { return filepath.Join(storeDir(c.RaftDir, c.Self.Store), raftFile) }

// damages are what can happen to raft's file, except that it is replaced by an older copy.
var damages = map[string]func(path string) error{
	"removed":                      os.Remove,
	"emptied":                      func(path string) error { return os.Truncate(path, 0) },
	"zeroed":                       func(path string) error { return zero(path, 0) },
	"cut off":                      func(path string) error { return os.Truncate(path, int64(3*os.Getpagesize())) },
	"zeroed except its meta pages": func(path string) error { return zero(path, 2*os.Getpagesize()) },
	"its folder removed":           func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
	"all folders removed":          func(path string) error { return os.RemoveAll(filepath.Dir(filepath.Dir(path))) },
	"recreated": func(path string) error { // a state with its own id
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			return err
		}
		return makeStores(filepath.Dir(path), uuid.New().String(), nil)
	},
}

// zero overwrites a file with zeros from an offset on.
func zero(path string, from int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	clear(b[from:])
	return os.WriteFile(path, b, 0o600)
}

// Of three voters one is behind. Changes that the other two committed survive although one of them
// loses its votes: that one must not elect the one that is behind.
func TestVoterWithoutItsLogDoesNotVote(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"removed", "cut off", "recreated"} { // the rest are tested on a lone node
		damage := damages[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nw := newNetwork()
			nodes, configs := bootstrap(t, nw, 3, onDisk)
			nodes[2].stop()
			eventually(t, "one of the two remaining nodes leads", func() bool { return leads(nodes[0]) != leads(nodes[1]) })
			late := onDisk(t, testConfig(t, "d", 0, nodes[0].seed()))
			d := nw.start(t, late)
			ready(t, d)
			decide(t, nodes[0], "decided", "1")
			setOn(t, []*testNode{nodes[0], nodes[1], d}, "decided", "1")
			for _, n := range []*testNode{nodes[0], nodes[1], d} {
				n.kill()
			}
			if err := damage(raftPath(configs[1])); err != nil {
				t.Fatal(err)
			}
			c := nw.start(t, configs[2])
			again := configs[1]
			again.Join = []string{c.seed()}
			nw.failsToStart(t, again, name)
			if c.Status().Quorum {
				t.Error("one of three voters has a quorum")
			}
			back := configs[0]
			back.Join, late.Join = []string{c.seed()}, []string{c.seed()}
			all := []*testNode{nw.start(t, back), c, nw.start(t, late)}
			ready(t, all...)
			setOn(t, all, "decided", "1")
			if _, member := c.Topology().Node(d.self.ID); !member {
				t.Error("a member is lost")
			}
		})
	}
}

func leads(n *testNode) bool { return n.Status().Leader == n.self.ID && n.Status().Quorum }

// The settings of a cluster of one are not silently lost either.
func TestLoneNodeWithoutItsLogFails(t *testing.T) {
	t.Parallel()
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nw, c := newNetwork(), onDisk(t, testConfig(t, "a", 0))
			n := nw.start(t, c)
			ready(t, n)
			decide(t, n, "decided", "1")
			n.stop()
			if err := damage(raftPath(c)); err != nil {
				t.Fatal(err)
			}
			nw.failsToStart(t, c, name)
		})
	}
}

// An older copy of raft's files is complete but lacks what was written since.
func TestOlderLogIsRejected(t *testing.T) {
	t.Parallel()
	nw, c := newNetwork(), onDisk(t, testConfig(t, "a", 0))
	run := func(name string) {
		t.Helper()
		n := nw.start(t, c)
		ready(t, n)
		decide(t, n, name, "1")
		at := n.Topology().Index
		eventually(t, "the mark is written", func() bool {
			m, err := loadMark(c.Files)
			return err == nil && m.Index >= at && m.Term > 0
		})
		n.stop()
	}
	run("first")
	old, err := os.ReadFile(raftPath(c))
	if err != nil {
		t.Fatal(err)
	}
	run("second")
	newer, err := os.ReadFile(raftPath(c))
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		if err := os.WriteFile(raftPath(c), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(old)
	nw.failsToStart(t, c, "an older copy")
	write(newer)
	n := nw.start(t, c)
	ready(t, n)
	setOn(t, []*testNode{n}, "second", "1")
}

// A snapshot holds what the log no longer has.
func TestLostSnapshotIsDetected(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(dir string) error{
		"the folder": os.RemoveAll,
		"its content": func(dir string) error {
			return eachFile(dir, func(path string) error { return os.Truncate(path, 0) })
		},
		"a bit": func(dir string) error {
			return eachFile(dir, func(path string) error {
				b, err := os.ReadFile(path)
				if err != nil || len(b) == 0 {
					return err
				}
				b[len(b)/2] ^= 4
				return os.WriteFile(path, b, 0o600)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nw := newNetwork()
			nodes, configs := bootstrap(t, nw, 3, onDisk)
			decide(t, nodes[0], "decided", "1")
			for _, n := range nodes {
				n.stop()
			}
			recoverFolder(t, configs[0]) // which leaves only a snapshot
			n := nw.start(t, configs[0])
			ready(t, n)
			n.stop()
			if err := damage(filepath.Join(storeDir(configs[0].RaftDir, configs[0].Self.Store), "snapshots")); err != nil {
				t.Fatal(err)
			}
			nw.failsToStart(t, configs[0], name)
		})
	}
}

func eachFile(dir string, do func(path string) error) error {
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return do(path)
	})
}

// Whatever is in raft's file, a start ends with an error or continues with everything that was
// committed.
func TestDamagedLogIsDetected(t *testing.T) {
	t.Parallel()
	nw, c := newNetwork(), onDisk(t, testConfig(t, "a", 0))
	n := nw.start(t, c)
	ready(t, n)
	for i := range 40 {
		decide(t, n, fmt.Sprint("decided-", i), strings.Repeat("x", 200))
	}
	n.stop()
	whole, err := os.ReadFile(raftPath(c))
	if err != nil {
		t.Fatal(err)
	}
	state, err := c.Files.Load(stateFile)
	if err != nil {
		t.Fatal(err)
	}
	read := func(content []byte) (string, error) {
		f := &raftFolder{dir: t.TempDir(), store: c.Self.Store, known: string(state), files: c.Files, log: testLog(t, "a"), logger: raftLogger(testLog(t, "a"))}
		if err := newFile(f.path(), content); err != nil {
			t.Fatal(err)
		}
		s, err := f.open(&identity{})
		if err != nil {
			return "", err
		}
		defer s.close()
		return contentOf(t, s), nil
	}
	want, err := read(whole)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	refused, size := 0, os.Getpagesize()
	const rounds = 200
	for round := range rounds {
		got, err := read(damagePage(r, round, whole, size))
		var lost *LostError
		switch {
		case errors.As(err, &lost):
			refused++
		case err != nil:
			t.Errorf("seed %d, round %d: %v", seed, round, err)
		case got != want:
			t.Errorf("seed %d, round %d: continues with %.2000s, not with %.2000s", seed, round, got, want)
		}
	}
	if refused < rounds/4 {
		t.Errorf("seed %d: only %d of %d damaged files are detected", seed, refused, rounds)
	}
}

// damagePage returns a copy of a file with one damaged page.
func damagePage(r *rand.Rand, round int, whole []byte, size int) []byte {
	bad := slices.Clone(whole)
	page := bad[size*r.IntN(len(bad)/size):][:size]
	switch round % 4 {
	case 0:
		clear(page)
	case 1:
		for i := range page {
			page[i] = byte(r.Uint32())
		}
	case 2: // replaced by another page
		copy(page, whole[size*r.IntN(len(bad)/size):])
	case 3: // a wrong byte in its header
		page[r.IntN(64)] ^= byte(1 + r.IntN(255))
	}
	return bad
}

// contentOf returns everything in a state as text.
func contentOf(t *testing.T, s *stores) string {
	t.Helper()
	var all strings.Builder
	for _, key := range []string{keyTerm, "LastVoteTerm", "LastVoteCand", keyRaftID} {
		value, err := s.stable.Get([]byte(key))
		fmt.Fprintln(&all, key, value, err)
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for i := range last {
		var entry raft.Log
		err := s.logs.GetLog(i+1, &entry)
		fmt.Fprintln(&all, entry.Index, entry.Term, entry.Type, string(entry.Data), err)
	}
	return all.String()
}

// A member's identity can be restored from other files.
func TestMemberWithoutItsIdentityFile(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(map[string][]byte){
		"removed": func(files map[string][]byte) { delete(files, identityFile) },
		"emptied": func(files map[string][]byte) { files[identityFile] = nil },
		"damaged": func(files map[string][]byte) { files[identityFile] = []byte(`{"cluster": 7`) },
		"reset":   func(files map[string][]byte) { files[identityFile] = []byte(`{}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nw := newNetwork()
			nodes, configs := bootstrap(t, nw, 3, onDisk)
			decide(t, nodes[0], "decided", "1")
			cluster := nodes[0].ID()
			nodes[1].stop()
			configs[1].HasData, configs[1].NewClusterID = true, cluster
			damage(configs[1].Files.(*memoryFiles).files)
			nodes[1] = nw.start(t, configs[1])
			ready(t, nodes...)
			if nodes[1].ID() != cluster {
				t.Errorf("it belongs to cluster %s, not to %s", nodes[1].ID(), cluster)
			}
			setOn(t, nodes, "decided", "1")
			nodes[1].stop()

			// Not without raft's files.
			damage(configs[1].Files.(*memoryFiles).files)
			if err := os.RemoveAll(configs[1].RaftDir); err != nil {
				t.Fatal(err)
			}
			nw.failsToStart(t, configs[1], name)
		})
	}
}

// A folder of a version without state ids keeps working, and gets an id.
func TestFolderWithoutAStateID(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 3, onDisk)
	decide(t, nodes[0], "decided", "1")
	for i, n := range nodes {
		n.stop()
		forgetStateID(t, configs[i])
		configs[i].HasData = true
		nodes[i] = nw.start(t, configs[i])
	}
	ready(t, nodes...)
	setOn(t, nodes, "decided", "1")
	for i, n := range nodes {
		n.stop()
		if state, _ := configs[i].Files.Load(stateFile); len(state) != uuid.Digits {
			t.Errorf("%s: the state has the id %q", n.self.Name, state)
		}
	}
	if err := os.Remove(raftPath(configs[0])); err != nil {
		t.Fatal(err)
	}
	nw.failsToStart(t, configs[0], "a folder that got an id")

	// A folder that lost its log before it got an id has arrays but no bootstrap record.
	forgetStateID(t, configs[1])
	if err := os.Truncate(raftPath(configs[1]), 0); err != nil {
		t.Fatal(err)
	}
	nw.failsToStart(t, configs[1], "an old folder")
	forgetStateID(t, configs[2])
	if err := os.RemoveAll(configs[2].RaftDir); err != nil {
		t.Fatal(err)
	}
	nw.failsToStart(t, configs[2], "an old folder without raft's files")
}

// forgetStateID turns a folder into one of an older version.
func forgetStateID(t *testing.T, c Config) {
	t.Helper()
	delete(c.Files.(*memoryFiles).files, stateFile)
	delete(c.Files.(*memoryFiles).files, markFile)
	s, err := openStores(storeDir(c.RaftDir, c.Self.Store), raftLogger(testLog(t, c.Self.Name)))
	if err != nil {
		t.Fatal(err)
	}
	g := s.file.(*guarded)
	if err := errors.Join(g.Set([]byte(keyRaftID), nil), s.close()); err != nil {
		t.Fatal(err)
	}
}

// A crash can happen at any moment of the first start.
func TestCrashWhileTheStateIsCreated(t *testing.T) {
	t.Parallel()
	of := func(t *testing.T) (*raftFolder, *string) {
		known := new(string)
		return &raftFolder{
			dir: filepath.Join(t.TempDir(), "raft"), store: fmt.Sprintf("%032x", 7), files: &memoryFiles{}, setState: func(id string) error { *known = id; return nil },
			log: testLog(t, "a"), logger: raftLogger(testLog(t, "a")),
		}, known
	}
	for name, before := range map[string]func(f *raftFolder) error{
		"nothing":         func(*raftFolder) error { return nil },
		"an empty folder": func(f *raftFolder) error { return os.MkdirAll(storeDir(f.dir, f.store), 0o700) },
		"an empty file": func(f *raftFolder) error {
			return newFile(filepath.Join(storeDir(f.dir, f.store)+".new", raftFile), nil)
		},
		"part of the file": func(f *raftFolder) error {
			return newFile(filepath.Join(storeDir(f.dir, f.store)+".new", raftFile), make([]byte, 5000))
		},
		"everything except its id in the manifest": func(f *raftFolder) error {
			return makeStores(storeDir(f.dir, f.store), uuid.New().String(), f.logger)
		},
		"an empty state of an older version": func(f *raftFolder) error {
			s, err := openStores(storeDir(f.dir, f.store), f.logger)
			if err != nil {
				return err
			}
			return s.close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, known := of(t)
			if err := before(f); err != nil {
				t.Fatal(err)
			}
			s, err := f.open(&identity{})
			if err != nil {
				t.Fatal(err)
			}
			id, err := s.id()
			if err := errors.Join(err, s.close()); err != nil || id == "" || id != *known {
				t.Errorf("the state has the id %q, the manifest %q: %v", id, *known, err)
			}
		})
	}
}

func newFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}
