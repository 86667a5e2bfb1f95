package persistence

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// node is a record in the tree of all histories that a shard's copies have ever had. Its epoch and
// seq name it, and its parents are all that precedes it.
type node struct {
	Point
	parent  *node
	kind    Type
	key     string
	payload string
	large   bool // the payload goes to a blob
	whole   bool // a batch ends here
}

// history is the tree. The root stands for an empty shard.
type history struct {
	root  *node
	nodes map[Point]*node
	epoch uint64 // the newest one
}

func newHistory() *history {
	root := &node{whole: true}
	return &history{root: root, nodes: map[Point]*node{{}: root}, epoch: 6}
}

// contains reports whether n is a or follows it.
func (n *node) contains(a *node) bool {
	for ; n != nil && n.Seq >= a.Seq; n = n.parent {
		if n == a {
			return true
		}
	}
	return false
}

// at returns the record with a seq in the history that ends with n.
func (n *node) at(seq uint64) *node {
	for n.Seq > seq {
		n = n.parent
	}
	return n
}

// path returns the records after a up to n.
func (n *node) path(a *node) []*node {
	var all []*node
	for ; n != a; n = n.parent {
		all = append(all, n)
	}
	slices.Reverse(all)
	return all
}

// values returns the record that set each value that the shard has after n.
func (h *history) values(n *node) map[string]*node {
	values := map[string]*node{}
	for _, p := range n.path(h.root) {
		p.apply(values)
	}
	return values
}

func (n *node) apply(values map[string]*node) {
	switch n.kind {
	case Put:
		values[n.key] = n
	case Delete:
		delete(values, n.key)
	case Flush:
		clear(values)
	}
}

// sorted returns the records of values in the order of their keys.
func sorted(values map[string]*node) (all []*node) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		all = append(all, values[key])
	}
	return all
}

// epochs returns the epoch table of the history that ends with n.
func (h *history) epochs(n *node) (table epochTable) {
	for _, p := range n.path(h.root) {
		table = table.extended(p.Epoch, p.Seq)
	}
	return table
}

// grow adds a batch in the newest epoch behind n, and returns its records.
func (h *history) grow(n *node, r *rand.Rand) (batch []*node) {
	for left := 1 + r.IntN(3)*r.IntN(2); left > 0; left-- {
		next := &node{Point: Point{h.epoch, n.Seq + 1}, parent: n, kind: Put, key: string(rune('a' + r.IntN(6))), whole: left == 1}
		switch r.IntN(12) {
		case 0, 1:
			next.kind = Delete
		case 2:
			next.kind, next.key = NoOp, ""
		case 3:
			if r.IntN(4) == 0 {
				next.kind, next.key = Flush, ""
			}
		}
		if next.kind == Put {
			next.large = r.IntN(4) == 0
			next.payload = fmt.Sprintf("%d-%d%*s", h.epoch, next.Seq, r.IntN(900), "")
		}
		h.nodes[next.Point] = next
		batch = append(batch, next)
		n = next
	}
	return batch
}

// record returns the record of a node.
func (n *node) record(commit uint64, blob BlobID) Record {
	r := Record{Type: n.kind, Epoch: n.Epoch, Seq: n.Seq, Commit: commit, Key: []byte(n.key)}
	switch n.kind {
	case Put:
		r.Bytes, r.CRC, r.Blob = uint64(len(n.payload)), crc32c.Checksum([]byte(n.payload)), blob
		if blob == 0 {
			r.Payload = [][]byte{[]byte(n.payload)}
		}
	case NoOp:
		r = NewNoOp(n.Epoch, n.Seq, int64(n.Seq))
		r.Commit = commit
	}
	return r
}

// journal is a Handler that keeps what a recovery gives it.
type journal struct {
	values map[string]Point
	blobs  map[Point]BlobID
	suffix []Point
	texts  map[Point]string
}

func newJournal() *journal {
	j := &journal{}
	j.Reset()
	return j
}

func (j *journal) Reset() {
	j.values, j.blobs, j.suffix, j.texts = map[string]Point{}, map[Point]BlobID{}, nil, map[Point]string{}
}

func (j *journal) Put(r *Record, read func([]byte) error) error {
	if err := j.keep(r, read); err != nil {
		return err
	}
	j.values[string(r.Key)] = Point{r.Epoch, r.Seq}
	return nil
}

func (j *journal) keep(r *Record, read func([]byte) error) error {
	b := make([]byte, r.Bytes)
	if err := read(b); err != nil {
		return err
	}
	if read(make([]byte, 1)) != io.ErrUnexpectedEOF {
		return errors.New("the payload is longer than its record says")
	}
	at := Point{r.Epoch, r.Seq}
	j.texts[at] = string(b)
	if r.Blob != 0 {
		j.blobs[at] = r.Blob
	}
	return nil
}

func (j *journal) Suffix(r *Record, read func([]byte) error) error {
	if r.Type == Put {
		if err := j.keep(r, read); err != nil {
			return err
		}
	}
	j.suffix = append(j.suffix, Point{r.Epoch, r.Seq})
	return nil
}

func (j *journal) Delete(key []byte)                              { delete(j.values, string(key)) }
func (j *journal) Flush()                                         { clear(j.values) }
func (j *journal) Observe(*Record)                                {}
func (j *journal) Expire(key []byte, epoch, seq uint64, at int64) {}

// expectation is what a start may find.
type expectation struct {
	floor  *node   // it has at least this,
	tips   []*node // and a part of one of these;
	other  *node   // or it is exactly this copy, if it is being installed
	commit *node   // nothing after it is committed
}

// explain returns why a start may not have found this; nil if it may.
func (x *expectation) explain(h *history, j *journal, report *Report) error {
	if len(report.Damage) > 0 {
		return fmt.Errorf("damage: %v", report.Damage)
	}
	has := h.nodes[report.Has]
	if has == nil {
		return fmt.Errorf("the log ends with %v, which never was", report.Has)
	}
	old := has.contains(x.floor) && slices.ContainsFunc(x.tips, func(tip *node) bool { return tip.contains(has) })
	if !old && has != x.other {
		return fmt.Errorf("the log ends with %v: it must have %v, and belong to one of %v", has.Point, x.floor.Point, points(x.tips))
	}
	at := has.at(report.Commit)
	if committed := x.commit.contains(at) || x.other != nil && x.other.contains(at); !committed {
		return fmt.Errorf("shows %v, but only %v is committed", at.Point, x.commit.Point)
	}
	want := map[string]Point{}
	for key, n := range h.values(at) {
		want[key] = n.Point
	}
	if !maps.Equal(want, j.values) {
		return fmt.Errorf("has the values %v, after %v it must have %v", j.values, at.Point, want)
	}
	if suffix := points(has.path(at)); !slices.Equal(suffix, j.suffix) {
		return fmt.Errorf("has the suffix %v, want %v", j.suffix, suffix)
	}
	for at, text := range j.texts {
		if h.nodes[at].payload != text {
			return fmt.Errorf("the value of %v is %.20q, want %.20q", at, text, h.nodes[at].payload)
		}
	}
	return nil
}

func points(nodes []*node) (all []Point) {
	for _, n := range nodes {
		all = append(all, n.Point)
	}
	return all
}

// describe lists the records of a shard's segments, and its manifest.
func describe(fs vfs.FS, dir string) string {
	var b strings.Builder
	files, _ := fs.List(dir)
	for _, info := range files {
		fmt.Fprintf(&b, "%s, %d bytes\n", info.Name, info.Size)
		text, _ := vfs.ReadFile(fs, dir+"/"+info.Name, 1<<20)
		if info.Name == manifestName {
			b.Write(text)
		}
		f, err := fs.Open(dir + "/" + info.Name)
		h, headerErr := parseHeader(text, segmentMagic)
		if err != nil || headerErr != nil {
			continue
		}
		fmt.Fprintf(&b, "  epochs %v\n", h.epochs)
		for s := newScanner(f, h.seed(), h.bytes(), info.Size); ; {
			r, n, err := s.next()
			if err != nil {
				fmt.Fprintln(&b, "  ", err)
				break
			}
			fmt.Fprintf(&b, "  %d: %d-%d, type %d, commit %d, blob %v, %d left\n", s.at-n, r.Epoch, r.Seq, r.Type, r.Commit, r.Blob, r.Count)
		}
	}
	return b.String()
}
