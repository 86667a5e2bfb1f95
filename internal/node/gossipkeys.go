package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/internal/follow"
	"github.com/ndring/ndring/internal/gossipkey"
)

// gossipRing is the keys of gossip: the first encrypts, all decrypt. They come from the key file, and operators change them while the
// node runs; the data folder keeps them. The newer change wins: a key file that has another content than the one that the ring in
// the folder was made beside takes its place. The node never writes the key file.
type gossipRing struct {
	file  string        // the key file; empty: gossip is not encrypted
	files cluster.Files // of the data folder; nil without one
	log   *slog.Logger

	mu    sync.Mutex // guards all below, and serializes changes
	keys  [][]byte
	seen  string                    // digest of the content of the key file that was read last
	apply func(keys [][]byte) error // gives the keys to gossip; nil before it runs
}

// ringFile is the ring in the data folder. Like the whole folder, only the node's user may read it.
const ringFile = "gossip-keys.json"

// keptRing is the content of ringFile.
type keptRing struct {
	Seen string   `json:"seen"` // digest of the key file beside which the ring was made
	Keys []string `json:"keys"`
}

// openGossipRing returns the ring; without keys if there is no key file.
func openGossipRing(file string, files cluster.Files, log *slog.Logger) (*gossipRing, error) {
	r := &gossipRing{file: file, files: files, log: log}
	if file == "" {
		return r, nil
	}
	keys, seen, err := r.readFile()
	if err != nil {
		return nil, err
	}
	kept, err := r.load()
	if err != nil {
		return nil, err
	}
	if r.keys, r.seen = kept.keys(), kept.Seen; len(r.keys) > 0 && kept.Seen == seen {
		if !slices.EqualFunc(r.keys, keys, bytes.Equal) {
			log.Info("gossip uses the keys of the data folder: an operator changed them after the key file was read", "keys", gossipkey.Fingerprints(r.keys))
		}
		return r, nil
	}
	r.keys, r.seen = keys, seen
	return r, r.save(keys, seen)
}

// keys returns the keys that the folder has; none if one is damaged.
func (k *keptRing) keys() (keys [][]byte) {
	for _, text := range k.Keys {
		key, err := gossipkey.Parse(text)
		if err != nil {
			return nil
		}
		keys = append(keys, key)
	}
	return keys
}

// readFile reads the key file, and returns the digest of its content too.
func (r *gossipRing) readFile() (keys [][]byte, digest string, err error) {
	content, err := os.ReadFile(r.file)
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the gossip key: %w", err)
	}
	if keys, err = gossipkey.ParseFile(content); err != nil {
		return nil, "", fmt.Errorf("%s does not hold gossip keys, a line each (--gossip-key-file): %w", r.file, err)
	}
	sum := sha256.Sum256(content)
	return keys, hex.EncodeToString(sum[:]), nil
}

func (r *gossipRing) load() (kept keptRing, err error) {
	if r.files == nil {
		return kept, nil
	}
	content, err := r.files.Load(ringFile)
	if errors.Is(err, fs.ErrNotExist) {
		return kept, nil
	}
	if err != nil {
		return kept, err
	}
	if err := json.Unmarshal(content, &kept); err != nil {
		r.log.Warn("the gossip keys in the data folder are damaged: those of the key file count", "file", ringFile)
		return keptRing{}, nil
	}
	return kept, nil
}

// save keeps keys in the data folder.
func (r *gossipRing) save(keys [][]byte, seen string) error {
	if r.files == nil {
		return nil
	}
	kept := keptRing{Seen: seen}
	for _, key := range keys {
		kept.Keys = append(kept.Keys, gossipkey.Text(key))
	}
	content, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return r.files.Save(ringFile, content)
}

// current returns the keys.
func (r *gossipRing) current() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.keys)
}

// use gives the keys to gossip from now on.
func (r *gossipRing) use(apply func([][]byte) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apply = apply
}

// change makes keys the ring: it is in the folder before it counts. It must be called with mu held.
func (r *gossipRing) change(keys [][]byte, seen string) error {
	if r.file == "" || r.apply == nil {
		return cluster.ErrNoGossipKey
	}
	if err := r.save(keys, seen); err != nil {
		return fmt.Errorf("the gossip keys are as before, because the data folder cannot keep others: %w", err)
	}
	if err := r.apply(keys); err != nil {
		return errors.Join(err, r.save(r.keys, r.seen))
	}
	r.keys, r.seen = keys, seen
	return nil
}

// GossipKeys implements protocol.Cluster.
func (r *gossipRing) GossipKeys() (fingerprints []string, kept bool) {
	return gossipkey.Fingerprints(r.current()), r.files != nil
}

// AddGossipKey implements protocol.Cluster.
func (r *gossipRing) AddGossipKey(text string) error {
	key, err := gossipkey.Parse(text)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case gossipkey.Has(r.keys, key):
		return nil
	case len(r.keys) >= gossipkey.Max:
		return fmt.Errorf("the node has %d gossip keys, and no room for more: remove some", len(r.keys))
	}
	return r.change(append(slices.Clone(r.keys), key), r.seen)
}

// UseGossipKey implements protocol.Cluster.
func (r *gossipRing) UseGossipKey(fingerprint string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := gossipkey.Named(r.keys, strings.ToLower(fingerprint))
	if i < 0 {
		return errors.New("the node has no gossip key with that fingerprint: add it first") // which may be a key
	}
	if i == 0 {
		return nil
	}
	return r.change(append([][]byte{r.keys[i]}, slices.Delete(slices.Clone(r.keys), i, i+1)...), r.seen)
}

// RemoveGossipKey implements protocol.Cluster.
func (r *gossipRing) RemoveGossipKey(fingerprint string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch i := gossipkey.Named(r.keys, strings.ToLower(fingerprint)); {
	case i < 0:
		return nil
	case i == 0:
		return errors.New("this gossip key encrypts what the node sends: let it use another one first")
	default:
		return r.change(slices.Delete(slices.Clone(r.keys), i, i+1), r.seen)
	}
}

// watch reads the key file again when it changes, until ctx is done.
func (r *gossipRing) watch(ctx context.Context) {
	if r.file == "" {
		return
	}
	follow.Until(ctx, follow.Interval, r.reread, func(err error) { r.log.Warn("keeping the gossip keys as they are", "err", err) })
}

// reread takes the keys of the key file if its content has changed.
func (r *gossipRing) reread() error {
	keys, seen, err := r.readFile()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if seen == r.seen {
		return nil
	}
	if err := r.change(keys, seen); err != nil {
		return err
	}
	r.log.Info("read the gossip keys again", "file", r.file, "keys", gossipkey.Fingerprints(keys))
	return nil
}
