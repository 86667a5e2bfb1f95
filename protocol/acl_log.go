package protocol

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ndring/ndring/protocol/resp"
)

// Why a client was denied, as ACL LOG says it.
const (
	reasonCommand = "command"
	reasonKey     = "key"
	reasonAuth    = "auth"
)

// deniedBy is what was denied to whom.
type deniedBy struct {
	reason, object string
	user           string // for reasonAuth, the name that was tried
}

// denials are the latest denials, for ACL LOG.
type denials struct {
	mu      sync.Mutex // guards all below; a leaf
	nextID  int64
	entries []*deniedEntry // newest first
}

// deniedEntry is an entry of ACL LOG: denials of the same kind.
type deniedEntry struct {
	deniedBy
	id              int64
	count           int64
	context         string
	client          string // the last one
	created, latest time.Time
}

// Denials of the same kind make one entry if they are among the latest groupAmong and came within groupWithin, as in Redis.
const (
	groupAmong  = 10
	groupWithin = time.Minute
)

// shortened returns the beginning of a text that a client chose.
func shortened(text string) string {
	if more := len(text) - slowlogArgBytes; more > 0 {
		return fmt.Sprintf("%s... (%d more bytes)", text[:slowlogArgBytes], more)
	}
	return text
}

func (d *denials) add(by deniedBy, multi bool, client string, now time.Time, limit int) {
	by.object, by.user = shortened(by.object), shortened(by.user)
	context := "toplevel"
	if multi {
		context = "multi"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	at := slices.IndexFunc(d.entries[:min(groupAmong, len(d.entries))], func(e *deniedEntry) bool {
		return e.deniedBy == by && e.context == context && now.Sub(e.latest) <= groupWithin
	})
	var entry *deniedEntry
	if at >= 0 {
		entry = d.entries[at]
		d.entries = slices.Delete(d.entries, at, at+1)
	} else {
		entry = &deniedEntry{deniedBy: by, id: d.nextID, context: context, created: now}
		d.nextID++
	}
	entry.count++
	entry.client, entry.latest = client, now
	d.entries = slices.Insert(d.entries, 0, entry)
	if len(d.entries) > limit {
		clear(d.entries[limit:])
		d.entries = d.entries[:limit]
	}
}

func (d *denials) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = nil
}

// aclLog writes the latest denials, or clears them.
func aclLog(c *call, s *Server) {
	d := &s.accounts.denials
	count := int64(10)
	switch {
	case len(c.args) > 3:
		c.replies.Error(errors.New("unknown subcommand or wrong number of arguments for 'LOG'. Try ACL HELP."))
		return
	case len(c.args) == 3 && c.option(2) == "RESET":
		d.reset()
		c.replies.OK()
		return
	case len(c.args) == 3:
		n, ok := resp.ParseInt(c.arg(2))
		if !ok {
			c.replies.Error(errInteger)
			return
		}
		count = max(n, 0)
	}
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	entries := d.entries[:min(count, int64(len(d.entries)))]
	c.replies.Array(len(entries))
	for _, e := range entries {
		e.write(c.replies, now)
	}
}

func (e *deniedEntry) write(w *resp.Writer, now time.Time) {
	w.Map(10)
	w.Text("count")
	w.Int(e.count)
	for _, field := range [][2]string{{"reason", e.reason}, {"context", e.context}, {"object", e.object}, {"username", e.user}} {
		w.Text(field[0])
		w.Text(field[1])
	}
	w.Text("age-seconds")
	resp.Double(w, strconv.FormatFloat(float64(now.Sub(e.created).Milliseconds())/1000, 'f', -1, 64))
	w.Text("client-info")
	w.Text(e.client)
	for _, field := range []struct {
		name  string
		value int64
	}{{"entry-id", e.id}, {"timestamp-created", e.created.UnixMilli()}, {"timestamp-last-updated", e.latest.UnixMilli()}} {
		w.Text(field.name)
		w.Int(field.value)
	}
}
