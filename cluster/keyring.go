package cluster

import (
	"errors"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"

	"github.com/ndring/ndring/internal/gossipkey"
)

// ErrNoGossipKey is returned for a change of keys on a node whose gossip is not encrypted.
var ErrNoGossipKey = errors.New("gossip is not encrypted on this node, which was started without --gossip-key-file")

// keyring holds the keys of gossip, which change while it runs.
type keyring struct {
	mu   sync.Mutex // serializes set
	ring *memberlist.Keyring
}

// newKeyring returns a ring; nil without keys.
func newKeyring(keys [][]byte) (*keyring, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ring, err := memberlist.NewKeyring(keys, keys[0])
	return &keyring{ring: ring}, err
}

// set makes keys the ring: the first encrypts, all decrypt. A key that is in the ring before and after decrypts all the time, unless it
// stands behind one that goes. Memberlist reads the list of keys without a lock and removes a key in place, which is safe only for
// the last one.
func (k *keyring) set(keys [][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range keys {
		if err := k.ring.AddKey(key); err != nil {
			return err
		}
	}
	if err := k.ring.UseKey(keys[0]); err != nil {
		return err
	}
	unwanted := func(key []byte) bool { return !gossipkey.Has(keys, key) }
	var again [][]byte
	for have := k.ring.GetKeys(); slices.ContainsFunc(have, unwanted); have = k.ring.GetKeys() {
		last := have[len(have)-1]
		if err := k.ring.RemoveKey(last); err != nil {
			return err
		}
		if !unwanted(last) {
			again = append(again, last)
		}
	}
	for _, key := range again {
		if err := k.ring.AddKey(key); err != nil {
			return err
		}
	}
	return nil
}

// SetGossipKeys changes the keys of gossip: the first encrypts, all decrypt.
func (c *Cluster) SetGossipKeys(keys [][]byte) error {
	if c.gossip.keys == nil || len(keys) == 0 {
		return ErrNoGossipKey
	}
	return c.gossip.keys.set(keys)
}
