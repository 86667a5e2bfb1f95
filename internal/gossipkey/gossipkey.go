// Package gossipkey reads and makes the keys that encrypt gossip, for nodes and for ndctl. It must never know how they are used.
package gossipkey

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Max is the most keys that a node has at a time. A rotation needs two.
const Max = 8

// Fingerprint names a key without telling it.
func Fingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("ndring gossip key "), key...))
	return hex.EncodeToString(sum[:8])
}

// New returns a random key of 32 bytes.
func New() []byte {
	key := make([]byte, 32)
	rand.Read(key) // it never fails
	return key
}

// Text returns a key as Parse reads it.
func Text(key []byte) string { return hex.EncodeToString(key) }

// Parse reads a key. Its error does not contain the text.
func Parse(text string) ([]byte, error) {
	key, err := hex.DecodeString(text)
	if err != nil {
		key, err = base64.StdEncoding.Strict().DecodeString(text)
	}
	if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
		return nil, errors.New("a gossip key has 16, 24 or 32 bytes, in base64 or hexadecimal digits (openssl rand -hex 32 makes one)")
	}
	return key, nil
}

// ParseFile reads the keys of a file, a line each: the first encrypts, and all decrypt. Empty lines and those that begin with # do not count.
func ParseFile(content []byte) (keys [][]byte, err error) {
	line := 0
	for text := range strings.Lines(string(content)) {
		line++
		text = strings.TrimSpace(text)
		if text == "" || text[0] == '#' {
			continue
		}
		key, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if Has(keys, key) {
			continue
		}
		if keys = append(keys, key); len(keys) > Max {
			return nil, fmt.Errorf("it has more than %d keys", Max)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key")
	}
	return keys, nil
}

// Has reports whether a key is among others.
func Has(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

// Named returns the place of the key with a fingerprint; -1 if there is none.
func Named(keys [][]byte, fingerprint string) int {
	return slices.IndexFunc(keys, func(k []byte) bool { return Fingerprint(k) == fingerprint })
}

// Fingerprints returns the fingerprints of keys.
func Fingerprints(keys [][]byte) []string {
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = Fingerprint(k)
	}
	return all
}
