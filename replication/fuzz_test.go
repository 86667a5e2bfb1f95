package replication

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// FuzzRecord reads the head of a record as it travels with large values and whole copies.
func FuzzRecord(f *testing.F) {
	for _, r := range []persistence.Record{{}, {Type: 1, Epoch: 2, Seq: 3, Key: []byte("key"), Meta: []byte("meta")}, {Type: 1, Key: bytes.Repeat([]byte("k"), 1000), Bytes: 1 << 40}} {
		var b bytes.Buffer
		if err := writeRecord(&b, &r); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		from := bytes.NewReader(b)
		r, err := readRecord(from)
		if err != nil || r == nil {
			return
		}
		var again bytes.Buffer
		if err := writeRecord(&again, r); err != nil {
			t.Fatal(err)
		}
		if back, err := readRecord(&again); err != nil || !bytes.Equal(back.Key, r.Key) || !bytes.Equal(back.Meta, r.Meta) || back.Seq != r.Seq || back.Bytes != r.Bytes {
			t.Errorf("%+v written and read again: %+v, %v", r, back, err)
		}
	})
}

// FuzzServe is a primary that sends frames with right checksums and any content: to a replica of its shard, and about shards that it
// has nothing to do with. The replica does not panic, and ends the connection or answers.
func FuzzServe(f *testing.F) {
	ask := []byte{byte(kindAsk), 0, 0, 1, 1, 0, 0, 0}
	for i := range byte(13) {
		f.Add(i%3, append(ask, i, 0, 0, 1, 1, 1, 1, 1), []byte("body"))
	}
	var record bytes.Buffer
	if err := writeRecord(&record, &persistence.Record{Type: 1, Epoch: 1, Seq: 1, Key: []byte("k"), Meta: []byte("m")}); err != nil {
		f.Fatal(err)
	}
	f.Add(byte(0), append(ask, byte(kindAppend), 0, 0, 1, 1, 1, 1, 0), record.Bytes()[4:])
	f.Add(byte(2), []byte{byte(kindUpload), 0, 0, 1, 1, 7, 0, 0}, append(record.Bytes(), make([]byte, 100)...))
	f.Add(byte(2), []byte{byte(kindInstall), 0, 0, 1, 1, 0, 0, 50}, append(record.Bytes(), 0, 0, 0, 0))
	f.Add(byte(1), []byte{byte(kindHeartbeat), 0, 0, 0, 0, 1, 0, 0}, appendRenewals(nil, []renewal{{0, 1, 1}}))
	f.Fuzz(func(t *testing.T, which byte, frames, body []byte) {
		if len(frames) > 800 {
			return
		}
		n := startNode(t, newNetwork(), "b", 1, nil)
		primary := replica.Process{Node: "a", Incarnation: 1}
		configure(t, replica.Config{Epoch: 1, Born: 1, Primary: primary, ISR: []replica.Process{primary, n.self}}, n)
		near, far := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			n.repl.Serve(primary, []Kind{Append, Heartbeat, Bulk}[which%3], Conn{far, testVersion})
		}()
		go io.Copy(io.Discard, near)
		near.SetDeadline(time.Now().Add(time.Minute)) // against a hang
		for ; len(frames) >= 8; frames = frames[8:] {
			f := frame{kind: kind(frames[0]), flags: frames[1], shard: int(frames[2]), epoch: uint64(frames[3]), leader: uint64(frames[4]),
				x: uint64(frames[5]), y: uint64(frames[6]), z: uint64(frames[7])}
			sent := body
			if f.kind != kindUpload && f.kind != kindInstall { // for those it follows the frame
				f.body, sent = body, nil
			}
			if _, err := near.Write(append(f.appendTo(nil), sent...)); err != nil {
				break
			}
		}
		near.Close()
		select {
		case <-served:
		case <-time.After(time.Minute):
			t.Fatal("the connection is served for ever")
		}
	})
}
