package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"

	"github.com/ndring/ndring/cluster/topology"
)

// book is where the nodes were that this one has ever seen in its cluster. It outlives the process, so that a cluster finds itself again without
// any seed.
type book struct {
	files Files

	mu    sync.Mutex // guards all below
	nodes map[topology.NodeID]entry
	dirty bool
}

// entry is where a node was last.
type entry struct {
	Gossip string `json:"gossip"`
	Bus    string `json:"bus"`
	Name   string `json:"name,omitempty"`
}

const (
	bookFile  = "book.json"
	maxBooked = 4096
)

func openBook(files Files) (*book, error) {
	b := &book{files: files, nodes: map[topology.NodeID]entry{}}
	content, err := files.Load(bookFile)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(content, &b.nodes); err != nil {
		return nil, fmt.Errorf("the address book %s is damaged; it may be removed: %w", bookFile, err)
	}
	return b, nil
}

func (b *book) get(id topology.NodeID) (entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.nodes[id]
	return e, ok
}

// all returns a copy.
func (b *book) all() map[topology.NodeID]entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.nodes)
}

// put notes where a node is.
func (b *book) put(id topology.NodeID, e entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, known := b.nodes[id]; old != e && (known || len(b.nodes) < maxBooked) {
		b.nodes[id], b.dirty = e, true
	}
}

// forget drops all nodes but those of which keep is true.
func (b *book) forget(keep func(topology.NodeID) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.nodes {
		if !keep(id) {
			delete(b.nodes, id)
			b.dirty = true
		}
	}
}

// save writes the book if it has changed.
func (b *book) save() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.dirty {
		return nil
	}
	content, err := json.MarshalIndent(b.nodes, "", " ")
	if err != nil {
		return err
	}
	if err := b.files.Save(bookFile, content); err != nil {
		return err
	}
	b.dirty = false
	return nil
}
