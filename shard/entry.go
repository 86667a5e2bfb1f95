package shard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"unicode/utf8"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/memory"
)

// Limits of what stands beside the array.
const (
	MaxAttrs    = 64 << 10 // bytes
	MaxParts    = 4
	MaxPartName = 32 // bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Part is a further byte string of a value, such as a mask.
type Part struct {
	Name string
	Data *memory.Buffer
}

// Value is what a client stores under a key.
type Value struct {
	NPY    *memory.Buffer // one complete .npy file
	Header *array.Header  // of NPY
	Attrs  []byte         // JSON object, or empty
	Parts  []Part
	CRC    uint32 // CRC32C of NPY, Attrs, and each part's name and data, run together
}

// Entry is a stored value. Nothing but its time of use ever changes; a write replaces it.
type Entry struct {
	Value
	Version  Version
	ExpireAt int64 // Unix time in ms from which nobody sees it; 0 means never

	used uint32 // Unix time in s of the last use; only touched atomically, since readers write it
}

// Checksum extends the CRC32C of the .npy bytes over the rest of the value.
func (v *Value) Checksum(npyCRC uint32) uint32 {
	crc := crc32.Update(npyCRC, castagnoli, v.Attrs)
	for _, p := range v.Parts {
		crc = crc32.Update(crc, castagnoli, []byte(p.Name))
		crc = crc32.Update(crc, castagnoli, p.Data.Bytes())
	}
	return crc
}

// Verify computes the CRC32C from the bytes and returns ErrCorrupt if it is another.
func (v *Value) Verify() error {
	if got := v.Checksum(crc32.Checksum(v.NPY.Bytes(), castagnoli)); got != v.CRC {
		return fmt.Errorf("%w: expected %d, the bytes have %d", ErrCorrupt, v.CRC, got)
	}
	return nil
}

// CheckExtras returns an error when attrs are no JSON object or a part has no proper name. The limits of their sizes are the caller's to keep,
// before it copies anything.
func (v *Value) CheckExtras() error {
	if len(v.Attrs) > 0 {
		trimmed := bytes.TrimLeft(v.Attrs, " \t\r\n")
		if !bytes.HasPrefix(trimmed, []byte("{")) || !utf8.Valid(v.Attrs) || !json.Valid(v.Attrs) {
			return ErrAttrs
		}
	}
	for i, p := range v.Parts {
		if err := checkPartName(p.Name); err != nil {
			return err
		}
		for _, earlier := range v.Parts[:i] {
			if earlier.Name == p.Name {
				return fmt.Errorf("%w: %q stands twice", ErrPartName, p.Name)
			}
		}
	}
	return nil
}

func checkPartName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: it is empty", ErrPartName)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return fmt.Errorf("%w: %q has characters other than a-z 0-9 _ -", ErrPartName, name)
		}
	}
	return nil
}

// Release gives back the references to the value's bytes.
func (v *Value) Release() {
	v.NPY.Release()
	for _, p := range v.Parts {
		p.Data.Release()
	}
}

func (v *Value) retain() {
	v.NPY.Retain()
	for _, p := range v.Parts {
		p.Data.Retain()
	}
}

func (e *Entry) expired(now int64) bool { return e.ExpireAt != 0 && now >= e.ExpireAt }
