package protocol

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/protocol/tracking"
	"github.com/ndring/ndring/shard"
)

// tracker tells clients of changes of keys that they keep copies of (CLIENT TRACKING). It joins the feed of what changes, the table of
// what clients have read, and their connections.
//
// A connection that executes commands tells its client itself, between two replies: what changed before a command began comes before its
// reply, and what changed after the command read it comes behind. The tracker's goroutine tells the clients whose connections rest.
type tracker struct {
	store       *shard.Store
	feed        *shard.Feed
	connections *connections
	lent        []atomic.Bool // by shard: a client may keep copies of what has been read from there
	broadcasts  atomic.Int64  // clients that are told of keys that they have not read on their connections
	kick        chan struct{} // has a token when clients are to be told of something that does not come from the feed

	mu     sync.Mutex // comes after tracked.posting, and before the lock of the feed; guards all below
	table  *tracking.Table
	owners map[*tracking.Client]*conn
	spare  []shard.KeyChange // empty; the feed collects in it next
	end    chan struct{}     // closed to end the goroutine; nil while there is none
}

const (
	currentEvery = 100 * time.Millisecond // between two looks at whether this node still hears of all changes
	postShare    = 64 << 10               // bytes of replies that may wait for a resting client that is told of changes
	maxSpare     = 4 << 10                // changes for which memory is kept
	maxDrain     = 256 << 10              // changes, for each broadcast client, that are told one by one
)

func (t *tracker) init(store *shard.Store, all *connections) {
	t.store, t.feed, t.connections = store, store.Feed(), all
	t.lent = make([]atomic.Bool, shard.Count(store))
	t.kick = make(chan struct{}, 1)
	t.table, t.owners = tracking.NewTable(0), map[*tracking.Client]*conn{}
}

func (t *tracker) configure(maxKeys int) {
	t.mu.Lock()
	defer t.unlock()
	t.table.SetMax(maxKeys)
}

func (t *tracker) sizes() tracking.Sizes {
	t.mu.Lock()
	defer t.unlock()
	t.drain()
	return t.table.Sizes()
}

// unlock unlocks mu, and lets the goroutine tell the clients that there is something new for.
func (t *tracker) unlock() {
	fresh := t.table.Fresh()
	t.mu.Unlock()
	if !fresh {
		return
	}
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// drain takes what has changed from the feed to the table. A client then reads: it need not be told of changes that it sees. The
// caller holds mu.
func (t *tracker) drain() {
	changes, rest := t.feed.Take(t.spare)
	if int64(len(changes))*t.broadcasts.Load() > maxDrain { // to tell them would take longer than a client waits for the reply to PING
		rest = true
	}
	for i := 0; i < len(changes) && !rest; i++ {
		t.table.Changed(changes[i].Key, changes[i].By, changes[i].Served)
	}
	if rest {
		t.table.ChangedAll()
	}
	clear(changes)
	if t.spare = changes[:0]; cap(changes) > maxSpare {
		t.spare = nil
	}
}

// start makes a connection track keys, or changes how it does.
func (t *tracker) start(c *conn, o trackingOptions) {
	t.mu.Lock()
	defer t.unlock()
	t.drain()
	client := c.track.client
	if client == nil {
		client = &tracking.Client{By: c.id}
		if c.track.client = client; len(t.owners) == 0 {
			t.feed.Start()
			t.begin()
		}
		t.table.Enter(client)
		t.owners[client] = c
	}
	if o.broadcast && !client.Broadcast {
		t.broadcasts.Add(1)
	}
	client.Broadcast, client.NoLoop = o.broadcast, o.noLoop
	client.Copies = client.Copies || c.identity.Load().readOnly
	for _, prefix := range o.prefixes {
		t.table.Broadcast(client, prefix)
	}
	c.track.optIn, c.track.optOut = o.optIn, o.optOut
	c.change(func(id *identity) { id.tracking, id.broadcast = true, o.broadcast })
}

// stop ends start.
func (t *tracker) stop(c *conn) {
	client := c.track.client
	if client == nil {
		return
	}
	t.mu.Lock()
	defer t.unlock()
	t.table.Leave(client)
	delete(t.owners, client)
	if client.Broadcast {
		t.broadcasts.Add(-1)
	}
	c.track.client, c.track.optIn, c.track.optOut, c.track.caching = nil, false, false, false
	c.change(func(id *identity) { id.tracking, id.broadcast = false, false })
	if len(t.owners) == 0 {
		t.feed.Stop()
		close(t.end)
		t.end = nil
	}
}

// begin starts the goroutine. The caller holds mu.
func (t *tracker) begin() {
	end := make(chan struct{})
	t.end = end
	t.connections.done.Go(func() { t.run(end) })
}

// readsCopies notes that a connection may read from copies of other nodes' shards.
func (t *tracker) readsCopies(c *conn) {
	if c.track.client == nil || !c.identity.Load().readOnly {
		return
	}
	t.mu.Lock()
	defer t.unlock()
	c.track.client.Copies = true
}

// reads notes that a connection is about to execute a command in a shard, which the caller holds unless it is a copy.
//
// A client with a Broadcast connection keeps what it has read on others, which do not track.
func (t *tracker) reads(c *conn, k *call, inside *shard.Shard) {
	if k.row.Flags&command.ReadOnly == 0 {
		return
	}
	client := c.track.client
	if client != nil && !client.Broadcast && c.track.wanted() {
		t.readKeys(client, k.keys)
	} else if (client == nil || !client.Broadcast) && t.broadcasts.Load() == 0 {
		return
	}
	// Last, so that checkLent, which takes the mark away, has told the client of all keys that are in the table without it.
	if lent := &t.lent[inside.Copies().ID()]; !lent.Load() {
		lent.Store(true)
	}
}

func (t *tracker) readKeys(client *tracking.Client, keys [][]byte) {
	t.mu.Lock()
	defer t.unlock()
	t.drain()
	for _, key := range keys {
		t.table.Read(client, key)
	}
}

// take returns what a client is to be told now.
func (t *tracker) take(client *tracking.Client) (keys []string, all bool) {
	t.mu.Lock()
	defer t.unlock()
	t.drain()
	return t.table.Told(client)
}

// tell writes what a client is to be told behind the replies so far. The connection calls it between two replies.
func (t *tracker) tell(c *conn) {
	if c.track.client == nil || c.replyMode.suppressing {
		return
	}
	keys, all := t.take(c.track.client)
	writeInvalidation(&c.replies, c.login.mayLearn(keys), all)
}

// rest lets the goroutine tell the client of a connection that waits and has no reply to send.
func (t *tracker) rest(c *conn) {
	if c.track.client == nil || c.replyMode.suppressing {
		return
	}
	c.track.setResting(true)
	if !t.post(c.track.client, c) { // what the goroutine has left to the connection before that
		t.mu.Lock()
		defer t.unlock()
		t.table.Retry(c.track.client)
	}
}

// resume ends rest. What the goroutine has taken by then is sent.
func (t *tracker) resume(c *conn) {
	if c.track.client != nil {
		c.track.setResting(false)
	}
}

// run is the goroutine.
func (t *tracker) run(end <-chan struct{}) {
	ticker := time.NewTicker(currentEvery)
	defer ticker.Stop()
	late := map[*tracking.Client]*conn{} // clients for which too many replies wait
	for {
		select {
		case <-end:
			t.leaveTo(late)
			return
		case <-t.connections.closed:
			return
		case <-t.feed.Added():
		case <-t.kick:
		case <-ticker.C:
			t.checkLent()
		}
		t.touched(late)
		for client, c := range late {
			if t.post(client, c) {
				delete(late, client)
			}
		}
	}
}

// leaveTo leaves clients that are yet to be told to the goroutine that comes next.
func (t *tracker) leaveTo(late map[*tracking.Client]*conn) {
	t.mu.Lock()
	defer t.unlock()
	for client, c := range late {
		if t.owners[client] == c {
			t.table.Retry(client)
		}
	}
}

// touched adds the clients that there is something new for.
func (t *tracker) touched(to map[*tracking.Client]*conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drain()
	for _, client := range t.table.Touched() {
		to[client] = t.owners[client]
	}
}

// checkLent tells all clients that anything may have changed, if this node may not hear any more of changes in a shard that they have
// read.
func (t *tracker) checkLent() {
	now, lost := t.store.Monotonic(), false
	for i := range t.lent {
		switch {
		case !t.lent[i].Swap(false):
		case t.store.Shard(i).Copies().Current(now):
			t.lent[i].Store(true)
		default:
			lost = true
		}
	}
	if lost {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.table.ChangedAll()
	}
}

// post tells a client if its connection rests; otherwise the connection does it soon. It returns false if the client has not read
// enough of its replies.
func (t *tracker) post(client *tracking.Client, c *conn) bool {
	c.track.posting.Lock()
	defer c.track.posting.Unlock()
	if !c.track.resting {
		return true
	}
	if c.out.Waiting() > postShare {
		return false
	}
	keys, all := t.take(client)
	keys = c.login.mayLearn(keys)
	if len(keys) == 0 && !all {
		return true
	}
	b := resp.Encode(true, func(w *resp.Writer) { writeInvalidation(w, keys, all) })
	c.server.counters.bytesOut.Add(int64(len(b)))
	if c.out.Post(b) != nil {
		c.cut()
	}
	return true
}

// writeInvalidation writes the push that tells of keys that have changed, or that any key may have; nothing if there are none.
func writeInvalidation(w *resp.Writer, keys []string, all bool) {
	if len(keys) == 0 && !all {
		return
	}
	w.Push(2)
	w.Text("invalidate")
	if all {
		w.Null()
		return
	}
	w.Array(len(keys))
	for _, key := range keys {
		w.Text(key)
	}
}
