package resp

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// counted is a reference that counts how often it was given back.
type counted struct{ released int }

func (r *counted) Release() { r.released++ }

// bytesOf joins the bytes of pieces.
func bytesOf(pieces []Piece) (all []byte) {
	for _, p := range pieces {
		all = append(all, p.b...)
	}
	return all
}

// checkReplace writes replies with the given sizes, replaces those that fails names, and compares the
// result with the same done to plain bytes. A size of at least ByReference makes a reply by reference.
func checkReplace(t *testing.T, sizes []int, fails func(i int) bool) {
	t.Helper()
	w := NewWriter(func(err error) string { return err.Error() }, nil)
	var want []byte
	var edits []Edit
	var refs []*counted
	for i, size := range sizes {
		from := w.Out.Len()
		reply := bytes.Repeat([]byte{byte('a' + i%26)}, size)
		if size >= ByReference {
			refs = append(refs, new(counted))
			w.Framed(reply, refs[len(refs)-1])
		} else {
			w.Encoded(reply)
		}
		if !fails(i) {
			want = append(want, reply...)
			continue
		}
		edits = append(edits, Edit{from, w.Out.Len(), errors.New("UNCERTAIN lost")})
		want = append(want, "-UNCERTAIN lost\r\n"...)
	}
	w.ReplaceWithErrors(edits)
	if got := w.Out.Len(); got != int64(len(want)) {
		t.Errorf("Len() = %d, want %d", got, len(want))
	}
	if got := w.Errors(); got != int64(len(edits)) {
		t.Errorf("Errors() = %d, want %d", got, len(edits))
	}
	w.OK() // what follows comes behind
	want = append(want, "+OK\r\n"...)
	pieces := w.Out.Take()
	if got := bytesOf(pieces); !bytes.Equal(got, want) {
		t.Errorf("replies of %v are %.200q, want %.200q", sizes, got, want)
	}
	Release(pieces)
	for i, r := range refs {
		if r.released != 1 {
			t.Errorf("reference %d was given back %d times", i, r.released)
		}
	}
}

func TestReplaceWithErrors(t *testing.T) {
	const big = ByReference
	for _, sizes := range [][]int{{5}, {5, 5, 5}, {5, big, 5}, {big, big, big}, {5, 5, big, 5, 5}, {big, 5, 5, 5, big}, {0, 5, 0}} {
		for mask := range 1 << len(sizes) {
			checkReplace(t, sizes, func(i int) bool { return mask>>i&1 == 1 })
		}
	}
}

// A reply that consists of several pieces, such as NP.MGET's, is replaced as a whole.
func TestReplaceAReplyOfSeveralPieces(t *testing.T) {
	w := NewWriter(func(err error) string { return err.Error() }, nil)
	kept, lost := new(counted), new(counted)
	large := bytes.Repeat([]byte("x"), ByReference)
	w.Framed(large, kept)
	from := w.Out.Len()
	w.Array(3)
	w.Framed(large, lost)
	w.OK()
	w.Framed(large, lost)
	to := w.Out.Len()
	w.Int(7)
	w.ReplaceWithErrors([]Edit{{from, to, errors.New("TRYAGAIN no lease")}})
	if kept.released != 0 || lost.released != 2 {
		t.Errorf("given back: %d of the kept reference, %d of the two lost; want 0 and 2", kept.released, lost.released)
	}
	pieces := w.Out.Take()
	if got, want := bytesOf(pieces), append(large, "-TRYAGAIN no lease\r\n:7\r\n"...); !bytes.Equal(got, want) {
		t.Errorf("replies are %.100q...%q", got, got[len(got)-30:])
	}
	Release(pieces)
	if kept.released != 1 {
		t.Errorf("the kept reference was given back %d times", kept.released)
	}
}

// The bytes of a tail that is cut in two stay as they are until the last run of it is given back.
func TestReplaceKeepsTheTailUntilItsLastRun(t *testing.T) {
	w := NewWriter(func(err error) string { return err.Error() }, nil)
	w.Simple("one")
	from := w.Out.Len()
	w.Simple("two")
	to := w.Out.Len()
	w.Simple("three")
	w.ReplaceWithErrors([]Edit{{from, to, errors.New("ERR x")}})
	pieces := w.Out.Take()
	holders := 0
	for i, p := range pieces {
		if p.held == nil {
			continue
		}
		holders++
		if i != len(pieces)-1 {
			t.Errorf("piece %d of %d holds the tail", i, len(pieces))
		}
	}
	if holders != 1 {
		t.Errorf("%d pieces hold the tail, want 1", holders)
	}
	Release(pieces)
}

func FuzzReplaceWithErrors(f *testing.F) {
	f.Add(uint64(1), uint8(10))
	f.Add(uint64(2), uint8(255))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		random := rand.New(rand.NewPCG(seed, 0))
		sizes := make([]int, n)
		for i := range sizes {
			switch random.IntN(4) {
			case 0:
				sizes[i] = ByReference + random.IntN(100)
			case 1:
				sizes[i] = 5
			default:
				sizes[i] = random.IntN(ByReference)
			}
		}
		failing := random.IntN(5)
		checkReplace(t, sizes, func(int) bool { return random.IntN(5) < failing })
	})
}
