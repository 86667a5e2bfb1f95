package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/persistence/vfs"
)

// fileHeader is the start of a segment or a snapshot.
type fileHeader struct {
	magic   string
	format  uint32
	shard   uint32
	cluster uuid.UUID
	epoch   uint64
	seq     uint64 // of the first record of a segment, or of the last one that a snapshot has
	time    int64  // Unix time in ms
	salt    uint64 // random
	epochs  epochTable
}

const (
	segmentMagic  = "NDRLOG\r\n"
	snapshotMagic = "NDRSNAP\n"

	// formatVersion is the version of the format that the program writes. It reads all from
	// oldestVersion on.
	formatVersion = 2
	oldestVersion = 1

	fixedHeader = 80 // bytes before the epoch table
	headerCRC   = 76
	epochBytes  = 16
)

// errNoHeader is returned for a file without a valid header of its kind, shard and cluster.
var errNoHeader = errors.New("no valid header")

func (h *fileHeader) encode() []byte {
	b := make([]byte, fixedHeader+epochBytes*len(h.epochs))
	copy(b, h.magic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], h.format)
	le.PutUint32(b[12:], h.shard)
	copy(b[16:], h.cluster[:])
	le.PutUint64(b[32:], h.epoch)
	le.PutUint64(b[40:], h.seq)
	le.PutUint64(b[48:], uint64(h.time))
	le.PutUint64(b[56:], h.salt)
	le.PutUint32(b[64:], uint32(len(h.epochs)))
	for i, e := range h.epochs {
		le.PutUint64(b[fixedHeader+epochBytes*i:], e.Epoch)
		le.PutUint64(b[fixedHeader+epochBytes*i+8:], e.Seq)
	}
	le.PutUint32(b[headerCRC:], headerSum(b))
	return b
}

func headerSum(b []byte) uint32 {
	return crc32c.Update(crc32c.Checksum(b[:headerCRC]), b[fixedHeader:])
}

// seed returns what the CRCs of the file's records start from.
func (h *fileHeader) seed() uint32 { return headCRC(h.encode()[headerCRC-crcAt:]) }

func (h *fileHeader) bytes() int64 { return int64(fixedHeader + epochBytes*len(h.epochs)) }

// readHeader reads the header of a file, which must be of that kind, shard and cluster.
func readHeader(f vfs.File, magic string, cluster uuid.UUID, shard int) (*fileHeader, error) {
	b := make([]byte, fixedHeader+epochBytes*maxEpochs)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	b = b[:n]
	h, err := parseHeader(b, magic)
	switch {
	case err != nil:
		return nil, err
	case h.cluster != cluster:
		return nil, fmt.Errorf("%w: the file belongs to cluster %v, not %v", errNoHeader, h.cluster, cluster)
	case h.shard != uint32(shard):
		return nil, fmt.Errorf("%w: the file belongs to shard %d, not %d", errNoHeader, h.shard, shard)
	}
	return h, nil
}

func parseHeader(b []byte, magic string) (*fileHeader, error) {
	if len(b) < fixedHeader || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: the file does not begin with %q", errNoHeader, magic)
	}
	le := binary.LittleEndian
	format := le.Uint32(b[8:])
	if format < oldestVersion || format > formatVersion {
		return nil, fmt.Errorf("%w: the file has format %d, this program reads formats %d to %d", errNoHeader, format, oldestVersion, formatVersion)
	}
	n := int(le.Uint32(b[64:]))
	if n > maxEpochs {
		return nil, fmt.Errorf("%w: it has an epoch table of %d rows", errNoHeader, n)
	}
	if len(b) < fixedHeader+epochBytes*n {
		return nil, fmt.Errorf("%w: it is cut off", errNoHeader)
	}
	b = b[:fixedHeader+epochBytes*n]
	if headerSum(b) != le.Uint32(b[headerCRC:]) {
		return nil, fmt.Errorf("%w: its CRC32C differs", errNoHeader)
	}
	h := &fileHeader{
		magic: magic, format: format, shard: le.Uint32(b[12:]), cluster: uuid.UUID(b[16:32]),
		epoch: le.Uint64(b[32:]), seq: le.Uint64(b[40:]), time: int64(le.Uint64(b[48:])), salt: le.Uint64(b[56:]),
	}
	for i := range n {
		e := b[fixedHeader+epochBytes*i:]
		h.epochs = append(h.epochs, EpochStart{le.Uint64(e), le.Uint64(e[8:])}) // all: they decide where the records begin, and their CRCs
	}
	return h, nil
}

// endsInHeader reports whether a segment ends before its header does, as a write leaves it that did
// not finish. A header whose number of epochs is damaged does not pass for that: what follows the
// table is not part of one.
func (r *Reader) endsInHeader(info fileInfo) bool {
	if info.bytes < fixedHeader {
		return true
	}
	b, err := vfs.ReadFile(r.fs, r.path(info.name), fixedHeader+epochBytes*maxEpochs)
	if err != nil || len(b) < fixedHeader {
		return err == nil
	}
	le := binary.LittleEndian
	epoch, seq, n := le.Uint64(b[32:]), le.Uint64(b[40:]), int64(le.Uint32(b[64:]))
	if string(b[:len(segmentMagic)]) != segmentMagic || seq != info.seq || n > maxEpochs || info.bytes >= fixedHeader+epochBytes*n {
		return false
	}
	last := EpochStart{}
	for b = b[fixedHeader:]; len(b) >= epochBytes; b = b[epochBytes:] {
		row := EpochStart{le.Uint64(b), le.Uint64(b[8:])}
		if row.Epoch <= last.Epoch || row.Seq < last.Seq || row.Epoch > epoch || row.Seq > seq {
			return false
		}
		last = row
	}
	return true
}
