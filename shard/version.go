package shard

import (
	"fmt"
	"strconv"
	"strings"
)

// Version names the write that made a value. The version of a key never decreases.
type Version struct {
	Epoch uint64 // of the shard when it was written
	Seq   uint64 // number of the write in the shard
}

// ParseVersion parses the result of String.
func ParseVersion(s string) (Version, error) {
	epoch, seq, found := strings.Cut(s, "-")
	if found {
		e, errEpoch := strconv.ParseUint(epoch, 10, 64)
		n, errSeq := strconv.ParseUint(seq, 10, 64)
		if errEpoch == nil && errSeq == nil {
			return Version{e, n}, nil
		}
	}
	return Version{}, fmt.Errorf("%w: %.64q is not a version such as 1764012345678-17", ErrSyntax, s)
}

// String returns the version in its wire form: epoch-seq, in decimal.
func (v Version) String() string {
	return strconv.FormatUint(v.Epoch, 10) + "-" + strconv.FormatUint(v.Seq, 10)
}

// After reports whether v is newer than w.
func (v Version) After(w Version) bool {
	return v.Epoch > w.Epoch || v.Epoch == w.Epoch && v.Seq > w.Seq
}
