package protocol

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
)

// What an entry shows of a command, as in Redis.
const (
	slowlogArgs     = 32  // arguments
	slowlogArgBytes = 128 // bytes of each
)

// slowlog is the latest slow commands. Only execution counts, not reading the command or sending the reply.
type slowlog struct {
	mu      sync.Mutex // guards all below
	nextID  int64
	entries []slowEntry // newest last
}

type slowEntry struct {
	id         int64
	at         time.Time
	took       time.Duration
	args       []string
	addr, name string
}

func (l *slowlog) add(entry slowEntry, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry.id = l.nextID
	l.nextID++
	l.entries = append(l.entries, entry)
	if over := len(l.entries) - limit; over > 0 {
		n := copy(l.entries, l.entries[over:])
		clear(l.entries[n:])
		l.entries = l.entries[:n]
	}
}

// shown copies the beginning of a command, without passwords.
func shown(c *call) []string { return redacted(c.row, shownArgs(c.args)) }

// shownArgs copies the beginning of each argument.
func shownArgs(args []resp.Arg) []string {
	n := len(args)
	if n > slowlogArgs {
		n = slowlogArgs - 1
	}
	shown := make([]string, 0, n+1)
	for i := range n {
		arg := args[i].Bytes()
		if more := len(arg) - slowlogArgBytes; more > 0 {
			shown = append(shown, fmt.Sprintf("%s... (%d more bytes)", arg[:slowlogArgBytes], more))
		} else {
			shown = append(shown, string(arg))
		}
	}
	if more := len(args) - n; more > 0 {
		shown = append(shown, fmt.Sprintf("... (%d more arguments)", more))
	}
	return shown
}

// redacted hides passwords in CONFIG SET, and in CLUSTER CONFIG SET, which refuses them, and keys.
func redacted(row *command.Spec, args []string) []string {
	first := len(args) // position of the first value
	switch row.Full {
	case "cluster|gossipkey":
		redactKeys(args)
	case "config|set":
		first = 3
	case "cluster|config":
		first = 4
	}
	for i := first; i < len(args); i++ { // every position: names and values do not alternate in a command that is refused
		if strings.EqualFold(args[i-1], "requirepass") {
			args[i] = "(redacted)"
		}
	}
	return args
}

// fingerprintDigits is the length of a fingerprint. Every key is longer.
const fingerprintDigits = 16

// redactKeys hides all that may be a key in CLUSTER GOSSIPKEY, also in a wrong place.
func redactKeys(args []string) {
	for i := 2; i < len(args); i++ {
		if len(args[i]) > fingerprintDigits || i == 3 && strings.EqualFold(args[2], "add") {
			args[i] = "(redacted)"
		}
	}
}

func slowlogLen(c *call, l *slowlog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.replies.Int(int64(len(l.entries)))
}

func slowlogReset(c *call, l *slowlog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
	c.replies.OK()
}

const defaultSlowlogCount = 10

func slowlogGet(c *call, l *slowlog) {
	if len(c.args) > 3 {
		c.replies.Error(c.subcommandError())
		return
	}
	count := int64(defaultSlowlogCount)
	if len(c.args) > 2 {
		n, ok := resp.ParseInt(c.arg(2))
		if !ok || n < -1 {
			c.replies.Error(errors.New("count should be greater than or equal to -1"))
			return
		}
		count = n
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if count < 0 || count > int64(len(l.entries)) {
		count = int64(len(l.entries))
	}
	c.replies.Array(int(count))
	for i := range int(count) {
		e := l.entries[len(l.entries)-1-i]
		c.replies.Array(6)
		c.replies.Int(e.id)
		c.replies.Int(e.at.Unix())
		c.replies.Int(e.took.Microseconds())
		c.replies.Array(len(e.args))
		for _, arg := range e.args {
			c.replies.Text(arg)
		}
		c.replies.Text(e.addr)
		c.replies.Text(e.name)
	}
}
