package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// kind is the type of a frame.
type kind uint8

// The kinds of frames, with what x, y and z hold.
const (
	kindAppend    kind = 1 + iota // records: epoch and seq of the record before them, commit index
	kindAsk                       // what do you have: -, -, commit index
	kindCommit                    // the commit index, without an answer: newest acknowledged heartbeat, -, commit index; body: a digest
	kindTruncate                  // the logs share what is up to: seq
	kindAck                       // written, synced; flags: replica.AckFlags
	kindSync                      // end of the log: epoch, seq; body: epoch table
	kindHeartbeat                 // number; body: renewals, or flagSame
	kindGranted                   // number; body: one bit for each renewal; flags: what is exhausted at the process
	kindUpload                    // id; then a record's head and its payload
	kindInstall                   // base: epoch, seq; bytes of the copy, 0 from programs that do not say; body: epoch table; then records
	kindDone                      // the reply on a bulk connection; body: an error; flags: what is exhausted, if that is why
)

const (
	flagSame    = 1 // of a heartbeat: the renewals are those of the one before
	flagInstall = 1 // of a sync: the member must install a whole copy
)

// headBytes is the length of a frame's head.
const headBytes = 60

// maxFrame is the length of the longest frame without records, and of one with records unless a single batch is longer.
const (
	maxFrame  = 1 << 20
	maxAppend = 1 << 30
)

// frame is a message on a connection between two nodes.
//
//	length u32 | crc32c u32 | kind u8 | flags u8 | 0 u16 | shard u32 | epoch u64 | leader epoch u64 | x u64 | y u64 | z u64 | 0 u32 | body
//
// The CRC32C is that of what follows it, without the body of an append: records have their own.
type frame struct {
	kind          kind
	flags         uint8
	shard         int
	epoch, leader uint64
	x, y, z       uint64
	body          []byte
}

var errFrame = errors.New("damaged frame")

// appendTo appends the encoded frame.
func (f *frame) appendTo(b []byte) []byte {
	at := len(b)
	var head [headBytes]byte
	b = append(b, head[:]...)
	b = append(b, f.body...)
	f.putHead(b[at:])
	return b
}

// putHead writes the head of a frame in front of its body, which ends b.
func (f *frame) putHead(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(len(b)))
	b[8], b[9] = byte(f.kind), f.flags
	le.PutUint32(b[12:], uint32(f.shard))
	le.PutUint64(b[16:], f.epoch)
	le.PutUint64(b[24:], f.leader)
	le.PutUint64(b[32:], f.x)
	le.PutUint64(b[40:], f.y)
	le.PutUint64(b[48:], f.z)
	le.PutUint32(b[4:], checksum(f.kind, b))
}

func checksum(k kind, b []byte) uint32 {
	if k == kindAppend {
		b = b[:headBytes]
	}
	return crc32c.Checksum(b[8:])
}

// parseFrame parses a whole frame, which must be b.
func parseFrame(b []byte) (f frame, err error) {
	le := binary.LittleEndian
	f = frame{
		kind: kind(b[8]), flags: b[9], shard: int(le.Uint32(b[12:])), epoch: le.Uint64(b[16:]), leader: le.Uint64(b[24:]),
		x: le.Uint64(b[32:]), y: le.Uint64(b[40:]), z: le.Uint64(b[48:]), body: b[headBytes:],
	}
	if le.Uint32(b[4:]) != checksum(f.kind, b) {
		return f, fmt.Errorf("%w: the CRC32C of kind %d differs", errFrame, f.kind)
	}
	return f, nil
}

// reader reads frames. What it returns is valid until fill is called again.
type reader struct {
	from   io.Reader
	buffer []byte // what was read and not returned is from at to end
	at     int
	end    int
}

const readBytes = 256 << 10

func newReader(from io.Reader) *reader { return &reader{from: from, buffer: make([]byte, readBytes)} }

// next returns the next frame that was read as a whole; false if there is none.
func (r *reader) next() (f frame, ok bool, err error) {
	have := r.buffer[r.at:r.end]
	if len(have) < headBytes {
		return f, false, nil
	}
	n, err := r.length(have)
	if err != nil || len(have) < n {
		return f, false, err
	}
	f, err = parseFrame(have[:n:n])
	r.at += n
	return f, err == nil, err
}

// length returns the length of the frame that begins with a head.
func (r *reader) length(head []byte) (int, error) {
	n, limit := int(binary.LittleEndian.Uint32(head)), maxFrame
	if kind(head[8]) == kindAppend {
		limit = maxAppend
	}
	if n < headBytes || n > limit {
		return 0, fmt.Errorf("%w: a length of %d bytes", errFrame, n)
	}
	return n, nil
}

// fill waits for more bytes. A frame that is longer than the buffer makes it grow as its bytes arrive.
func (r *reader) fill() error {
	if r.at > 0 {
		r.end = copy(r.buffer, r.buffer[r.at:r.end])
		r.at = 0
	}
	switch {
	case r.end == len(r.buffer):
		r.buffer = append(r.buffer, make([]byte, len(r.buffer))...)
	case r.end == 0 && len(r.buffer) > readBytes:
		r.buffer = make([]byte, readBytes)
	}
	n, err := r.from.Read(r.buffer[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	return err
}

// read returns the next frame and waits for it.
func (r *reader) read() (frame, error) {
	for {
		f, ok, err := r.next()
		if ok || err != nil {
			return f, err
		}
		if err := r.fill(); err != nil {
			return f, err
		}
	}
}

// Read implements io.Reader for what follows the frames that were returned.
func (r *reader) Read(b []byte) (int, error) {
	if r.at < r.end {
		n := copy(b, r.buffer[r.at:r.end])
		r.at += n
		return n, nil
	}
	return r.from.Read(b)
}

// appendTable appends an epoch table.
func appendTable(b []byte, t replica.EpochTable) []byte {
	for _, start := range t {
		b = binary.LittleEndian.AppendUint64(b, start.Epoch)
		b = binary.LittleEndian.AppendUint64(b, start.Seq)
	}
	return b
}

// parseTable parses what appendTable wrote. Epochs and seqs rise.
func parseTable(b []byte) (t replica.EpochTable, err error) {
	if len(b)%16 != 0 {
		return nil, fmt.Errorf("%w: an epoch table of %d bytes", errFrame, len(b))
	}
	for ; len(b) > 0; b = b[16:] {
		start := replica.EpochStart{Epoch: binary.LittleEndian.Uint64(b), Seq: binary.LittleEndian.Uint64(b[8:])}
		if n := len(t); n > 0 && (t[n-1].Epoch >= start.Epoch || t[n-1].Seq >= start.Seq) {
			return nil, fmt.Errorf("%w: an epoch table that does not rise", errFrame)
		}
		t = append(t, start)
	}
	return t, nil
}

// digestBytes is the length of an encoded digest.
const digestBytes = 16

// appendDigest appends the digest of a copy.
func appendDigest(b []byte, d shard.Digest) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, d.Seq), d.Sum)
}

// parseDigest parses what appendDigest wrote. If b is empty, the sender had no digest, and found is false.
func parseDigest(b []byte) (d shard.Digest, found bool, err error) {
	switch len(b) {
	case 0:
		return d, false, nil
	case digestBytes:
		return shard.Digest{Seq: binary.LittleEndian.Uint64(b), Sum: binary.LittleEndian.Uint64(b[8:])}, true, nil
	}
	return d, false, fmt.Errorf("%w: a digest of %d bytes", errFrame, len(b))
}

// renewal is a shard that the sender of a heartbeat leads.
type renewal struct {
	shard         int
	epoch, leader uint64
}

const renewalBytes = 20

func appendRenewals(b []byte, list []renewal) []byte {
	for _, r := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(r.shard))
		b = binary.LittleEndian.AppendUint64(b, r.epoch)
		b = binary.LittleEndian.AppendUint64(b, r.leader)
	}
	return b
}

func parseRenewals(b []byte, shards int) (list []renewal, err error) {
	if len(b)%renewalBytes != 0 || len(b)/renewalBytes > shards {
		return nil, fmt.Errorf("%w: renewals of %d bytes", errFrame, len(b))
	}
	for ; len(b) > 0; b = b[renewalBytes:] {
		r := renewal{int(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:])}
		if r.shard >= shards {
			return nil, fmt.Errorf("%w: shard %d", errFrame, r.shard)
		}
		list = append(list, r)
	}
	return list, nil
}
