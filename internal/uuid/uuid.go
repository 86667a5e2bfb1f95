// Package uuid is the 128-bit id of a cluster, a store or raft's files. It is random and carries no
// meaning; on the wire it is 16 bytes, in text 32 hexadecimal digits.
package uuid

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// UUID names one thing. The zero UUID names nothing.
type UUID [16]byte

// Digits is the length of a UUID in text.
const Digits = 2 * len(UUID{})

// New returns a random UUID.
func New() (u UUID) {
	rand.Read(u[:]) // never fails: crypto/rand ends the process first
	return u
}

// Parse reads what String writes of a UUID that is not zero.
func Parse(text string) (u UUID, err error) {
	if len(text) != Digits {
		return UUID{}, fmt.Errorf("%.64q is not an id: it has %d characters, not %d hexadecimal digits", text, len(text), Digits)
	}
	if _, err := hex.Decode(u[:], []byte(text)); err != nil {
		return UUID{}, fmt.Errorf("%q is not an id of %d hexadecimal digits: %w", text, Digits, err)
	}
	return u, nil
}

// ParseOptional reads what String writes: an empty text is the zero UUID.
func ParseOptional(text string) (UUID, error) {
	if text == "" {
		return UUID{}, nil
	}
	return Parse(text)
}

// IsZero reports whether the UUID names nothing.
func (u UUID) IsZero() bool { return u == UUID{} }

// String returns 32 hexadecimal digits, or an empty text for the zero UUID.
func (u UUID) String() string {
	if u.IsZero() {
		return ""
	}
	return hex.EncodeToString(u[:])
}

// MarshalText writes what String returns, for logs in JSON.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
