package shard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
)

// Limits of what accompanies an array.
const (
	MaxAttrs    = 64 << 10 // bytes
	MaxParts    = 4
	MaxPartName = 32 // bytes
)

// Part is a named byte string of a value beside the .npy file, such as a mask.
type Part struct {
	Name string
	Data *memory.Buffer
}

// Value is what a client stores under a key.
type Value struct {
	NPY           []byte         // one complete .npy file; the shard copies it unless it is in Buffer
	Before, After []byte         // frame that readers want directly around NPY; at most 255 bytes each
	Buffer        *memory.Buffer // holds NPY with its frame; nil if NPY is borrowed
	Attrs         []byte         // JSON object or empty; borrowed
	Parts         []Part
	CRC           uint32 // CRC32C of NPY, Attrs, and the name and data of each part, concatenated
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

// CheckExtras returns an error when attrs are not a JSON object or a part has an invalid name. The
// caller checks their sizes, before it copies anything.
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
				return fmt.Errorf("%w: %q is used twice", ErrPartName, p.Name)
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

// Release releases the buffers of the value.
func (v *Value) Release() {
	if v.Buffer != nil {
		v.Buffer.Release()
	}
	for _, p := range v.Parts {
		p.Data.Release()
	}
}
