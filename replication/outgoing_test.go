package replication

import (
	"bytes"
	"testing"

	"github.com/ndring/ndring/shard"
)

// read returns the frames of a queue, and takes them.
func (o *outgoing) read(t *testing.T) (kinds []kind, all [][]byte) {
	t.Helper()
	all = o.take()
	r := newReader(bytes.NewReader(bytes.Join(all, nil)))
	for {
		f, err := r.read()
		if err != nil {
			return kinds, all
		}
		kinds = append(kinds, f.kind)
	}
}

func TestOutgoingKeepsTheOrder(t *testing.T) {
	o := outgoing{linked: true}
	batch := &shard.Batch{Bytes: bytes.Repeat([]byte{7}, 1000)}
	o.add(&frame{kind: kindAsk})
	o.addPrepared(&frame{kind: kindAppend}, prepare(batch))
	o.addPrepared(&frame{kind: kindAppend}, prepare(batch))
	o.add(&frame{kind: kindCommit})
	o.add(&frame{kind: kindTruncate})
	kinds, _ := o.read(t)
	if want := []kind{kindAsk, kindAppend, kindAppend, kindCommit, kindTruncate}; !bytes.Equal(kindBytes(kinds), kindBytes(want)) {
		t.Errorf("%v, want %v", kinds, want)
	}
	if !o.empty() {
		t.Error("what was taken is still queued")
	}
}

func kindBytes(kinds []kind) (b []byte) {
	for _, k := range kinds {
		b = append(b, byte(k))
	}
	return b
}

func TestOutgoingCopiesNoPreparedBatch(t *testing.T) {
	o := outgoing{linked: true}
	o.add(&frame{kind: kindAsk})
	prepared := prepare(&shard.Batch{Bytes: make([]byte, 1000)})
	o.addPrepared(&frame{kind: kindAppend}, prepared)
	if all := o.take(); len(all) != 2 || &all[1][0] != &prepared[0] {
		t.Errorf("%d pieces", len(all))
	}
}

func TestOutgoingPiecesStayShort(t *testing.T) {
	o := outgoing{linked: true}
	f := frame{kind: kindAppend, body: make([]byte, pieceBytes/4)}
	for range 100 {
		o.add(&f)
	}
	kinds, all := o.read(t)
	if len(kinds) != 100 {
		t.Errorf("%d frames, want 100", len(kinds))
	}
	for _, piece := range all {
		if len(piece) > pieceBytes+headBytes+len(f.body) {
			t.Errorf("a piece of %d bytes", len(piece))
		}
	}
}

// Memory of what was sent takes later frames.
func TestOutgoingUsesMemoryAgain(t *testing.T) {
	o := outgoing{linked: true}
	f := frame{kind: kindAsk}
	o.add(&f)
	first := o.take()[0]
	o.giveBack(first)
	o.take() // the next last is the memory of the first
	o.addPrepared(&frame{kind: kindAppend}, prepare(&shard.Batch{Bytes: make([]byte, 1000)}))
	if all := o.take(); len(all) != 1 {
		t.Fatalf("%d pieces", len(all))
	}
	o.add(&f)
	if all := o.take(); len(all) != 1 || &all[0][0] != &first[0] {
		t.Error("memory that was given back is not used")
	}
	o.giveBack(make([]byte, maxKept+1))
	if o.spare != nil {
		t.Errorf("%d bytes are kept", cap(o.spare))
	}
}
