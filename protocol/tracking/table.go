package tracking

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Table knows which clients have read which keys, and what each client is yet to be told. One goroutine uses it at a time.
//
// Invariant: a client is in entry.clients if and only if the entry is in its keys; items is the number of these pairs; and
// order[e.at] is e for each entry.
type Table struct {
	max int // keys that clients have read; 0 for no limit

	keys     map[string]*entry
	order    []*entry // in any order, to find one at random
	items    int
	bytes    int // of the keys
	clients  map[*Client]struct{}
	prefixes map[string]map[*Client]struct{}
	lengths  []prefixLength // of the prefixes, sorted
	touched  []*Client
}

// prefixLength counts the prefixes of a length.
type prefixLength struct{ length, count int }

func (p prefixLength) compare(length int) int { return cmp.Compare(p.length, length) }

// entry is a key that clients have read.
type entry struct {
	key     string
	at      int // its place in Table.order
	clients []*Client
}

// Client is one client that tracks keys.
type Client struct {
	// By is the client as changes name it.
	By int64
	// Broadcast says that the client is told of all keys with its prefixes, whether it has read them or not.
	Broadcast bool
	// NoLoop says that the client is not told of its own changes.
	NoLoop bool
	// Copies says that a Broadcast client may have read from copies of shards that other nodes serve.
	Copies bool

	keys     map[*entry]struct{}
	prefixes []string

	pending  []string            // keys that it is yet to be told of
	told     map[string]struct{} // of a Broadcast client: the same keys
	bytes    int                 // of pending
	all      bool                // it is yet to be told that any key may have changed
	touching bool                // it is in Table.touched
}

// Prefixes returns the prefixes of a Broadcast client, sorted. The caller must not change them.
func (c *Client) Prefixes() []string { return c.prefixes }

// The limits that follow from the limit of keys, for each key of it.
const (
	itemsEach = 4   // pairs of client and key
	bytesEach = 128 // bytes of keys
)

// What one client may be yet to be told of. Beyond it the client is told that any key may have changed.
const (
	maxPending      = 4 << 10  // keys
	maxPendingBytes = 64 << 10 // of keys
)

// NewTable returns a table of at most max keys that clients have read; 0 for no limit.
func NewTable(max int) *Table {
	return &Table{max: max, keys: map[string]*entry{}, clients: map[*Client]struct{}{}, prefixes: map[string]map[*Client]struct{}{}}
}

// SetMax changes the limit of keys.
func (t *Table) SetMax(max int) {
	t.max = max
	t.evict(nil)
}

// Sizes are the counts of a table, as Redis names them.
type Sizes struct{ Clients, Keys, Items, Prefixes int }

// Sizes returns the counts.
func (t *Table) Sizes() Sizes { return Sizes{len(t.clients), len(t.keys), t.items, len(t.prefixes)} }

// Enter adds a client that tracks nothing yet.
func (t *Table) Enter(c *Client) { t.clients[c] = struct{}{} }

// Leave removes a client and all that it tracks. What it is yet to be told is lost.
func (t *Table) Leave(c *Client) {
	delete(t.clients, c)
	t.forget(c)
	for _, prefix := range c.prefixes {
		delete(t.prefixes[prefix], c)
		if len(t.prefixes[prefix]) == 0 {
			delete(t.prefixes, prefix)
			at, _ := slices.BinarySearchFunc(t.lengths, len(prefix), prefixLength.compare)
			if t.lengths[at].count--; t.lengths[at].count == 0 {
				t.lengths = slices.Delete(t.lengths, at, at+1)
			}
		}
	}
	c.prefixes = nil
	c.settle()
	t.touched = slices.DeleteFunc(t.touched, func(other *Client) bool { return other == c })
	c.touching = false
}

// Broadcast adds a prefix to a Broadcast client.
func (t *Table) Broadcast(c *Client, prefix string) {
	at, found := slices.BinarySearch(c.prefixes, prefix)
	if found {
		return
	}
	c.prefixes = slices.Insert(c.prefixes, at, prefix)
	if t.prefixes[prefix] == nil {
		t.prefixes[prefix] = map[*Client]struct{}{}
		at, found := slices.BinarySearchFunc(t.lengths, len(prefix), prefixLength.compare)
		if !found {
			t.lengths = slices.Insert(t.lengths, at, prefixLength{length: len(prefix)})
		}
		t.lengths[at].count++
	}
	t.prefixes[prefix][c] = struct{}{}
}

// Read says that a client, not a Broadcast one, is about to read a key.
func (t *Table) Read(c *Client, key []byte) {
	e := t.keys[string(key)]
	if e == nil {
		e = &entry{key: string(key), at: len(t.order)}
		t.keys[e.key] = e
		t.order = append(t.order, e)
		t.bytes += len(e.key)
	}
	if _, found := c.keys[e]; !found {
		if c.keys == nil {
			c.keys = map[*entry]struct{}{}
		}
		c.keys[e] = struct{}{}
		e.clients = append(e.clients, c)
		t.items++
	}
	t.evict(e)
}

// evict removes random keys, and tells their clients, until the table is within its limits. It keeps one, unless that is nil.
func (t *Table) evict(keep *entry) {
	for t.max > 0 && len(t.order) > 0 && (len(t.order) > t.max || t.items > itemsEach*t.max || t.bytes > bytesEach*t.max) {
		e := t.order[rand.IntN(len(t.order))]
		if e == keep {
			if len(t.order) == 1 {
				return
			}
			continue
		}
		for _, c := range e.clients {
			t.tell(c, e.key)
		}
		t.remove(e, nil)
	}
}

// Changed says that a key has changed. By is the client that changed it. Served says that this node serves the key; otherwise it
// applied the change of another node to its copy, and only clients that may read from copies need to know.
func (t *Table) Changed(key string, by int64, served bool) {
	if e := t.keys[key]; e != nil {
		t.changed(e, by)
	}
	for _, p := range t.lengths {
		if p.length > len(key) {
			break
		}
		for c := range t.prefixes[key[:p.length]] {
			if (served || c.Copies) && !c.own(by) {
				t.tell(c, key)
			}
		}
	}
}

// changed tells the clients that have read a key, and removes it. A NoLoop client goes on to track a key that it has changed
// itself: it may know the value.
func (t *Table) changed(e *entry, by int64) {
	var stays *Client
	for _, c := range e.clients {
		if c.own(by) {
			stays = c
			continue
		}
		t.tell(c, e.key)
	}
	t.remove(e, stays)
}

// own reports whether a change is the client's own, of which it is not told.
func (c *Client) own(by int64) bool { return c.NoLoop && c.By == by }

// remove removes the clients of a key except one, nil for none; and the key, if that leaves none.
func (t *Table) remove(e *entry, stays *Client) {
	for _, c := range e.clients {
		if c != stays {
			delete(c.keys, e)
			t.items--
		}
	}
	if stays != nil {
		e.clients = append(e.clients[:0:0], stays)
		return
	}
	e.clients = nil
	t.drop(e)
}

// drop removes a key that no client tracks.
func (t *Table) drop(e *entry) {
	delete(t.keys, e.key)
	t.bytes -= len(e.key)
	last := len(t.order) - 1
	t.order[e.at] = t.order[last]
	t.order[e.at].at = e.at
	t.order[last] = nil
	t.order = t.order[:last]
}

// forget makes a client track none of the keys that it has read.
func (t *Table) forget(c *Client) {
	for e := range c.keys {
		e.clients = slices.DeleteFunc(e.clients, func(other *Client) bool { return other == c })
		if len(e.clients) == 0 {
			t.drop(e)
		}
	}
	t.items -= len(c.keys)
	c.keys = nil
}

// ChangedAll says that any key may have changed. The clients will drop all that they have, so they track nothing.
func (t *Table) ChangedAll() {
	for c := range t.clients {
		c.keys = nil
		c.settle()
		c.all = true
		t.touch(c)
	}
	t.keys, t.order, t.items, t.bytes = map[string]*entry{}, nil, 0, 0
}

// tell makes a client be told of a key.
func (t *Table) tell(c *Client, key string) {
	if c.all {
		return
	}
	if c.Broadcast {
		if _, found := c.told[key]; found {
			return
		}
		if c.told == nil {
			c.told = map[string]struct{}{}
		}
		c.told[key] = struct{}{}
	}
	c.pending = append(c.pending, key)
	c.bytes += len(key)
	t.touch(c)
	if len(c.pending) > maxPending || c.bytes > maxPendingBytes && len(c.pending) > 1 {
		t.overflow(c)
	}
}

// overflow makes a client be told that any key may have changed, instead of many keys. The caller walks over the clients of a key,
// so what this client has read stays tracked.
func (t *Table) overflow(c *Client) {
	c.settle()
	c.all = true
}

// settle forgets what a client is yet to be told.
func (c *Client) settle() { c.pending, c.told, c.bytes, c.all = nil, nil, 0, false }

func (t *Table) touch(c *Client) {
	if !c.touching {
		c.touching = true
		t.touched = append(t.touched, c)
	}
}

// Fresh reports whether Touched returns a client.
func (t *Table) Fresh() bool { return len(t.touched) > 0 }

// Retry makes Touched return a client that could not be told yet.
func (t *Table) Retry(c *Client) {
	if c.all || len(c.pending) > 0 {
		t.touch(c)
	}
}

// Touched returns the clients that have something new to be told since the last call.
func (t *Table) Touched() []*Client {
	touched := t.touched
	t.touched = nil
	for _, c := range touched {
		c.touching = false
	}
	return touched
}

// Told returns what a client is to be told, and takes that for told: that any key may have changed, or keys that have.
func (t *Table) Told(c *Client) (keys []string, all bool) {
	keys, all = c.pending, c.all
	c.settle()
	return keys, all
}
