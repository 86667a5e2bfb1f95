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

// addressBook has the last known addresses of the members. It is on disk, so a restarted cluster
// finds itself without seeds.
type addressBook struct {
	files Files

	mu    sync.Mutex // guards all below
	nodes map[topology.NodeID]entry
	dirty bool
}

// entry is where a node was last seen.
type entry struct {
	Gossip string `json:"gossip"`
	Bus    string `json:"bus"`
	Name   string `json:"name,omitempty"`
}

const (
	bookFile  = "book.json"
	maxBooked = 4096
)

func newAddressBook(files Files) *addressBook {
	return &addressBook{files: files, nodes: map[topology.NodeID]entry{}}
}

// openAddressBook returns the address book of a data folder.
func openAddressBook(files Files) (*addressBook, error) {
	b := newAddressBook(files)
	return b, b.load()
}

// load reads the file, if there is one.
func (b *addressBook) load() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	content, err := b.files.Load(bookFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, &b.nodes); err != nil {
		return fmt.Errorf("the address book %s is damaged (you can delete it): %w", bookFile, err)
	}
	return nil
}

func (b *addressBook) get(id topology.NodeID) (entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.nodes[id]
	return e, ok
}

// all returns a copy.
func (b *addressBook) all() map[topology.NodeID]entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.nodes)
}

// put records where a node is.
func (b *addressBook) put(id topology.NodeID, e entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, known := b.nodes[id]; old != e && (known || len(b.nodes) < maxBooked) {
		b.nodes[id], b.dirty = e, true
	}
}

// retain drops all nodes for which keep returns false.
func (b *addressBook) retain(keep func(topology.NodeID) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.nodes {
		if !keep(id) {
			delete(b.nodes, id)
			b.dirty = true
		}
	}
}

// save writes the file if an address has changed.
func (b *addressBook) save() error {
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
