package persistence

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/ndring/ndring/persistence/vfs"
)

const (
	lockName       = "LOCK"
	manifestName   = "MANIFEST"
	claimsName     = "MANIFEST-claims.tmp"
	marksName      = "MARKS"
	reserveName    = "RESERVE"
	shardsDir      = "shards"
	filesDir       = "cluster"
	blobsDir       = "blobs"
	quarantineName = "quarantine"
	tempSuffix     = vfs.TempSuffix
)

func shardDir(dir string, shard int) string {
	return path.Join(dir, shardsDir, fmt.Sprintf("%05d", shard))
}

func segmentName(seq uint64) string { return fmt.Sprintf("seg-%020d.log", seq) }

func snapshotName(epoch, seq uint64) string {
	return fmt.Sprintf("snap-%020d-%020d.snap", epoch, seq)
}

// baseTempName returns the name that the file of an installed copy has at first. A snapshot of the
// own copy may have the same name in the end.
func baseTempName(snapshot string) string { return snapshot + ".base" + tempSuffix }

func blobName(id BlobID) string { return path.Join(blobsDir, id.String()) }

func parseSegmentName(name string) (seq uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, "seg-")
	digits, ok2 := strings.CutSuffix(digits, ".log")
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, ok && ok2 && err == nil && name == segmentName(seq)
}

func parseSnapshotName(name string) (epoch, seq uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, "snap-")
	digits, ok2 := strings.CutSuffix(digits, ".snap")
	first, second, ok3 := strings.Cut(digits, "-")
	epoch, err := strconv.ParseUint(first, 10, 64)
	seq, err2 := strconv.ParseUint(second, 10, 64)
	return epoch, seq, ok && ok2 && ok3 && err == nil && err2 == nil && name == snapshotName(epoch, seq)
}

func parseBlobName(name string) (BlobID, bool) {
	id, err := strconv.ParseUint(name, 16, 64)
	return BlobID(id), err == nil && id != 0 && name == BlobID(id).String()
}

// isRecordFile reports whether a file of that name has records.
func isRecordFile(name string) bool {
	_, segment := parseSegmentName(name)
	_, _, snapshot := parseSnapshotName(name)
	return segment || snapshot
}
