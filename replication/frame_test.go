package replication

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/ndring/ndring/replica"
)

func TestFramesInPieces(t *testing.T) {
	t.Parallel()
	frames := []frame{
		{kind: kindAsk, shard: 3, epoch: 7, leader: 5},
		{kind: kindAppend, flags: 1, shard: 15, epoch: 1 << 60, leader: 2, x: 3, y: 4, z: 5, body: bytes.Repeat([]byte("record"), 100_000)},
		{kind: kindSync, x: 9, y: 10, body: appendTable(nil, replica.EpochTable{{Epoch: 1, Seq: 1}, {Epoch: 4, Seq: 70}})},
	}
	var all []byte
	for i := range frames {
		all = frames[i].appendTo(all)
	}
	for name, from := range map[string]io.Reader{"at once": bytes.NewReader(all), "in halves": iotest.HalfReader(bytes.NewReader(all)), "by byte": iotest.OneByteReader(bytes.NewReader(all))} {
		r := newReader(from)
		for _, want := range frames {
			got, err := r.read()
			if err != nil || got.kind != want.kind || got.shard != want.shard || got.epoch != want.epoch || got.leader != want.leader ||
				got.x != want.x || got.y != want.y || got.z != want.z || got.flags != want.flags || !bytes.Equal(got.body, want.body) {
				t.Fatalf("%s: kind %d, want %d: %v", name, got.kind, want.kind, err)
			}
		}
		if _, err := r.read(); err != io.EOF {
			t.Errorf("%s: at the end %v", name, err)
		}
	}
}

// A reader of damaged bytes returns an error, and never more than was sent.
func FuzzReader(f *testing.F) {
	good := frame{kind: kindHeartbeat, x: 3, body: appendRenewals(nil, []renewal{{1, 2, 3}})}
	f.Add(good.appendTo(nil))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newReader(bytes.NewReader(b))
		for left := len(b); ; {
			got, err := r.read()
			if err != nil {
				return
			}
			if left -= headBytes + len(got.body); left < 0 {
				t.Fatal("more bytes than there were")
			}
			switch got.kind {
			case kindHeartbeat:
				list, err := parseRenewals(got.body, 64)
				if err == nil && len(list) > 64 {
					t.Errorf("%d renewals of 64 shards", len(list))
				}
			case kindSync, kindInstall:
				if _, err := parseTable(got.body); err != nil && !errors.Is(err, errFrame) {
					t.Error(err)
				}
			}
		}
	})
}

func TestDamagedFrames(t *testing.T) {
	t.Parallel()
	good := frame{kind: kindAck, shard: 1, epoch: 2, leader: 3, x: 4}
	for i := range headBytes {
		b := good.appendTo(nil)
		b[i] ^= 0x40
		if f, err := newReader(bytes.NewReader(b)).read(); err == nil {
			t.Errorf("byte %d is damaged, the frame is read as %+v", i, f)
		}
	}
	for _, table := range [][]byte{make([]byte, 15), appendTable(nil, replica.EpochTable{{Epoch: 4, Seq: 1}, {Epoch: 3, Seq: 9}}), appendTable(nil, replica.EpochTable{{Epoch: 4, Seq: 9}, {Epoch: 5, Seq: 9}})} {
		if _, err := parseTable(table); !errors.Is(err, errFrame) {
			t.Errorf("%x: %v", table, err)
		}
	}
	if _, err := parseRenewals(appendRenewals(nil, []renewal{{shard: 64}}), 64); !errors.Is(err, errFrame) {
		t.Errorf("a shard that does not exist: %v", err)
	}
}
