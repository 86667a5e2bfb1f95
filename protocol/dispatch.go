package protocol

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// keyspace is a shard, or one that is held for a transaction.
type keyspace interface {
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

// noSlot is the slot of a command without keys.
const noSlot = -1

// call is one command on its way through a handler.
type call struct {
	*conn
	row   *Command
	args  []resp.Arg // with the name
	slot  int        // of the keys, or noSlot
	place place      // of the slot, as it was when the command came
	shard keyspace   // of the keys, which the command is within; nil for a command without keys
}

// arg returns the bytes of argument i.
func (c *call) arg(i int) []byte { return c.args[i].Bytes() }

// option returns argument i in upper case.
func (c *call) option(i int) string { return upper(string(c.arg(i))) }

// keys returns the bytes of the arguments that are keys.
func (c *call) keys() [][]byte {
	keys := c.row.appendKeys(c.keyScratch[:0], c.args)
	if cap(keys) <= maxKeyScratch {
		c.keyScratch = keys
	}
	return keys
}

// maxKeyScratch is how many keys' places a connection keeps between commands.
const maxKeyScratch = 64

// appendKeys appends the bytes of those arguments of the command that are keys.
func (c *Command) appendKeys(keys [][]byte, args []resp.Arg) [][]byte {
	first, last, step := c.Keys.positions(len(args))
	for i := first; i <= last; i += step {
		keys = append(keys, args[i].Bytes())
	}
	return keys
}

// admit refuses, before it is read, an argument that no command could want.
func (s *Server) admit(before []resp.Arg, total int, n int64) error {
	if n <= maxPlainArg {
		return nil
	}
	if len(before) > 0 {
		row, err := lookUp(before)
		switch {
		case err != nil:
			return err
		case !row.arityFits(total):
			return row.arityError()
		case row.Flags&Uploads != 0:
			return nil
		}
	}
	return fmt.Errorf("%w: an argument of %d bytes, the limit here is %d", resp.ErrTooLarge, n, maxPlainArg)
}

// reserve frees memory for an argument of n bytes that is to be stored. During a pause it waits instead of
// evicting, before the bytes arrive.
func (c *conn) reserve(before []resp.Arg, n int64) error {
	if len(before) > 0 {
		if row, err := lookUp(before); err == nil && row.Flags&DenyOOM != 0 {
			c.server.pause.wait(c, row)
			return c.server.evictFor(n)
		}
	}
	return nil
}

func (s *Server) evictFor(n int64) error {
	if s.store.EvictFor(n) {
		return nil
	}
	s.counters.denyOOM.Add(1)
	return ErrOOM
}

// dispatch does one command, or queues it within a transaction, and writes its reply.
func (s *Server) dispatch(c *conn, args []resp.Arg) {
	request, err := s.prepare(c, args)
	if err != nil && request.row == nil && speaksHTTP(args[0].Bytes()) {
		s.endHTTP(c)
		return
	}
	if err != nil {
		c.reject(request.row, err)
		return
	}
	if c.tx.open && request.row.Flags&Control == 0 {
		c.queue(request.row)
		return
	}
	if request.slot == noSlot {
		s.execute(request)
		return
	}
	s.executeInside(request)
}

// reject answers a command that is not done, row nil if there is no such. It fails the transaction that it was to be a part of.
func (c *conn) reject(row *Command, err error) {
	c.tx.failed = c.tx.open
	if row != nil {
		c.server.statistics.commands[row.index].rejected.Add(1)
		if row.Name == "exec" && !errors.Is(err, ErrNoAuth) {
			c.endTransaction()
			err = fmt.Errorf("%w: %s", errExecRejected, strings.TrimPrefix(wireError(err), "ERR "))
		}
	}
	c.replies.Error(err)
}

// prepare finds out what a command is, and refuses what cannot be done.
func (s *Server) prepare(c *conn, args []resp.Arg) (*call, error) {
	request := &c.request
	*request = call{conn: c, args: args, slot: noSlot}
	row, err := lookUp(args)
	if err == nil {
		request.row = row
		if !row.arityFits(len(args)) {
			err = row.arityError()
		}
	}
	switch {
	case !c.authenticated && (row == nil || row.Flags&NoAuth == 0):
		return request, ErrNoAuth
	case err != nil:
		return request, err
	case c.tx.open && row.Flags&NoMulti != 0:
		return request, errNoMulti
	}
	s.pause.wait(c, row)
	switch {
	case row.Flags&DenyOOM != 0:
		if err := s.evictFor(resp.SmallBytes(args)); err != nil {
			return request, err
		}
	case row.Name == "exec" && c.tx.stores > 0:
		if err := s.evictFor(c.tx.stores); err != nil {
			return request, err
		}
	}
	if row.Keys.Step == 0 {
		if row.Flags&Loading == 0 && s.store.Disk().Loading() {
			return request, ErrLoading
		}
		return request, nil
	}
	slot, err := slotOf(request.keys())
	if err == nil && slot != noSlot {
		request.slot = slot
		request.place, err = s.locate(c, slot)
	}
	return request, err
}

// execute calls the handler of a command, which is within its shard, and notes what it took.
func (s *Server) execute(c *call) {
	began := c.now
	if began.IsZero() { // otherwise the command came together with the last one, which has just ended
		began = time.Now()
	}
	c.used(c.row, began)
	failedBefore, sentBefore := c.replies.Errors(), c.replies.Out.Len()
	c.row.Handler(c)
	took := time.Since(began)
	c.now = began.Add(took) // cheaper than to ask for the time of day again
	failed := c.replies.Errors() > failedBefore
	s.statistics.observe(c, took, failed, c.replies.Out.Len()-sentBefore)
	if c.row.Flags&Audited != 0 {
		s.audit(c, failed)
	}
	config := s.config.Load()
	if config.SlowlogSlowerThan >= 0 && took >= config.SlowlogSlowerThan && c.row.Flags&NoSlowlog == 0 {
		s.slowlog.add(c, began, took, config.SlowlogMaxLen)
	}
	if config.LatencyThreshold > 0 && took >= config.LatencyThreshold {
		s.latency.add(c.row, began, took)
	}
}

// lookUp returns the row of a command, of which at least the name is there.
func lookUp(args []resp.Arg) (*Command, error) {
	row := commands.find(args[0].Bytes())
	if row == nil {
		return nil, unknownCommand(args)
	}
	if len(row.Sub) == 0 || len(args) == 1 {
		if row.Handler == nil {
			return nil, row.arityError()
		}
		return row, nil
	}
	sub := row.sub(args[1].Bytes())
	if sub == nil {
		return nil, fmt.Errorf("unknown subcommand '%.128s'. Try %s HELP.", args[1].Bytes(), upper(row.Name))
	}
	return sub, nil
}

// subcommandError is what Redis says of a subcommand with too many arguments.
func (c *call) subcommandError() error {
	return fmt.Errorf("unknown subcommand or wrong number of arguments for '%.128s'. Try %s HELP.", c.arg(1), upper(string(c.arg(0))))
}

func checkKey(key []byte) error {
	if len(key) == 0 {
		return errEmptyKey
	}
	if len(key) > maxKey {
		return fmt.Errorf("%w: a key of %d bytes, the limit is %d", resp.ErrTooLarge, len(key), maxKey)
	}
	return nil
}
