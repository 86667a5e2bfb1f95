package acl

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

// Hash is the SHA-256 of a password. Nothing else of a password is kept.
type Hash [sha256.Size]byte

func hashOf(password string) Hash { return sha256.Sum256([]byte(password)) }

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// parseHash reads 64 lower-case hexadecimal digits.
func parseHash(text string) (h Hash, ok bool) {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return h, false
		}
	}
	n, err := hex.Decode(h[:], []byte(text[:min(len(text), 2*len(h))]))
	return h, err == nil && n == len(h) && len(text) == 2*len(h)
}

// noSuchUser is a user whom no password lets in.
var noSuchUser = &User{on: true, passwords: []Hash{{}}}

// Authenticate returns the user with a name and a password, or nil. A name that is not known takes as long as a
// wrong password.
func (s *Users) Authenticate(name string, password []byte) *User {
	hash := Hash(sha256.Sum256(password))
	u := s.byName[name]
	if u == nil {
		u = noSuchUser
	}
	right := 0
	for i := range u.passwords {
		right |= subtle.ConstantTimeCompare(u.passwords[i][:], hash[:])
	}
	if u == noSuchUser || !u.on || !u.noPass && right == 0 {
		return nil
	}
	return u
}
