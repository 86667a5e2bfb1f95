package shard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
)

// Limits of what stands beside the array.
const (
	MaxAttrs    = 64 << 10 // bytes
	MaxParts    = 4
	MaxPartName = 32 // bytes
)

// Part is a further byte string of a value, such as a mask.
type Part struct {
	Name string
	Data *memory.Buffer
}

// Value is what a client stores under a key.
type Value struct {
	NPY           []byte         // one complete .npy file; the shard copies it, unless it lies in Buffer
	Before, After []byte         // frame that a reader wants directly around NPY; at most 255 bytes each
	Buffer        *memory.Buffer // in which NPY lies, its frame around it; nil if NPY is only lent
	Attrs         []byte         // JSON object, or empty; lent
	Parts         []Part
	CRC           uint32 // CRC32C of NPY, Attrs, and each part's name and data, run together
}

// Checksum extends the CRC32C of the .npy bytes over the rest of the value.
func (v *Value) Checksum(npyCRC uint32) uint32 {
	crc := npyCRC
	if len(v.Attrs) > 0 {
		crc = crc32c.Update(crc, v.Attrs)
	}
	for _, p := range v.Parts {
		crc = crc32c.Update(crc, []byte(p.Name))
		crc = crc32c.Update(crc, p.Data.Bytes())
	}
	return crc
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

// Release gives back the references to the value's buffers.
func (v *Value) Release() {
	if v.Buffer != nil {
		v.Buffer.Release()
	}
	for _, p := range v.Parts {
		p.Data.Release()
	}
}
