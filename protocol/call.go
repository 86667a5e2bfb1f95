package protocol

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/glob"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// noSlot is the slot of a command without keys.
const noSlot = -1

// call is one command: what every handler gets. Anything else that a handler may touch is an argument of
// its own, which its type in the command table names (see handler.go).
type call struct {
	row     *command.Spec
	args    []resp.Arg // names included
	keys    [][]byte   // the arguments that are keys
	slot    int        // of the keys, or noSlot
	replies *resp.Writer
	from    *origin
	close   bool // set by a handler: the connection is closed once the replies are sent

	// For conn.settle. All are zero if nothing is to be waited for.
	future  shard.Future   // of what the command changed in a shard
	futures []shard.Future // of a command that changes several shards
	read    *shard.Shard   // that the command only read, if its lease must be checked
	copy    shardRef       // of another node's shard, that the command read; else zero
}

// begin begins a command in the call of the one before. It keeps replies and from.
func (c *call) begin(args []resp.Arg) {
	c.row, c.args, c.keys, c.slot, c.close = nil, args, nil, noSlot, false
	c.futures, c.read, c.copy = nil, nil, shardRef{}
	if c.future.Shard() != nil {
		c.future = shard.Future{}
	}
}

// origin is where a client comes from. It does not change.
type origin struct {
	listener      string // name of the listener that accepted the client
	local, remote net.Addr
	encrypted     bool // the client speaks TLS
}

// address returns the client's address, as CLIENT LIST shows it.
func (o *origin) address() string { return o.remote.String() }

// arg returns the bytes of argument i.
func (c *call) arg(i int) []byte { return c.args[i].Bytes() }

// option returns argument i in upper case.
func (c *call) option(i int) string { return upper(string(c.arg(i))) }

// subcommandError is Redis' error for a subcommand with too many arguments.
func (c *call) subcommandError() error {
	return fmt.Errorf("unknown subcommand or wrong number of arguments for '%.128s'. Try %s HELP.", c.arg(1), upper(string(c.arg(0))))
}

// texts writes an array of bulk strings.
func (c *call) texts(all []string) {
	c.replies.Array(len(all))
	for _, text := range all {
		c.replies.Text(text)
	}
}

// keyspace is a shard, or a shard within a transaction.
type keyspace interface {
	Now() int64
	Get(key []byte, touch bool) *shard.Entry
	GetAll(keys [][]byte, touch bool) []*shard.Entry
	Peek(key []byte) *shard.Entry
	Exists(keys [][]byte, touch bool) int
	Deadline(key []byte) (at, now int64)
	Mark(key []byte) shard.Mark
	Set(shard.Write) (shard.Outcome, error)
	SetAll([]shard.Write) error
	Delete(keys [][]byte) (int, error)
	Expire(key []byte, at int64, condition shard.ExpireCondition) (bool, error)
	Persist(key []byte) (bool, error)
}

var errEmptyKey = errors.New("a key must not be empty")

func checkKey(key []byte) error {
	if len(key) == 0 {
		return errEmptyKey
	}
	if len(key) > maxKey {
		return fmt.Errorf("%w: a key of %d bytes, the limit is %d", resp.ErrTooLarge, len(key), maxKey)
	}
	return nil
}

// settingPairs returns the names and values that begin at an argument.
func (c *call) settingPairs(from int) (changes []Setting) {
	for i := from; i < len(c.args); i += 2 {
		changes = append(changes, Setting{strings.ToLower(string(c.arg(i))), string(c.arg(i + 1))})
	}
	return changes
}

// settingNames returns the names that begin at an argument.
func (c *call) settingNames(from int) (names []string) {
	for i := from; i < len(c.args); i++ {
		names = append(names, strings.ToLower(string(c.arg(i))))
	}
	return names
}

// showSettings writes the settings that match one of the patterns, which begin at an argument.
func (c *call) showSettings(settings []Setting, from int) {
	var found []Setting
	for _, setting := range settings {
		for i := from; i < len(c.args); i++ {
			pattern := string(c.arg(i))
			if !glob.Match([]byte(strings.ToLower(pattern)), []byte(setting.Name)) {
				continue
			}
			if strings.EqualFold(pattern, setting.Name) {
				setting.Name = pattern // the name as the client spelled it, as in Redis
			}
			found = append(found, setting)
			break
		}
	}
	c.replies.Map(len(found))
	for _, setting := range found {
		c.replies.Text(setting.Name)
		c.replies.Text(setting.Value)
	}
}
