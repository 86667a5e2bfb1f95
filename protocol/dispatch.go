package protocol

import (
	"fmt"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/shard"
)

// call is one command on its way through a handler.
type call struct {
	*conn
	row   *Command
	args  []Arg        // with the name
	shard *shard.Shard // of the keys; nil for a command without keys
}

// arg returns the bytes of argument i.
func (c *call) arg(i int) []byte { return c.args[i].Bytes() }

// keys returns the bytes of the arguments that are keys.
func (c *call) keys() [][]byte {
	first, last, step := c.row.Keys.positions(len(c.args))
	keys := make([][]byte, 0, len(c.args))
	for i := first; i <= last; i += step {
		keys = append(keys, c.arg(i))
	}
	return keys
}

// admit refuses, before it is read, an argument that no command could want.
func (s *Server) admit(before []Arg, total int, n int64) error {
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
	return fmt.Errorf("%w: an argument of %d bytes, the limit here is %d", ErrTooLarge, n, maxPlainArg)
}

// dispatch executes one command and writes its reply.
func (s *Server) dispatch(c *conn, args []Arg) {
	row, err := lookUp(args)
	if err == nil && !row.arityFits(len(args)) {
		err = row.arityError()
	}
	if !c.authenticated && (row == nil || row.Flags&NoAuth == 0) {
		err = ErrNoAuth
	}
	request := call{conn: c, row: row, args: args}
	if err == nil && row.Keys.Step > 0 {
		request.shard, err = s.route(&request)
	}
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.used(row)
	row.Handler(&request)
}

// lookUp returns the row of a command, of which at least the name is there.
func lookUp(args []Arg) (*Command, error) {
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

// unknownCommand is worded as Redis words it, which shows the first arguments, up to 128 bytes of them.
func unknownCommand(args []Arg) error {
	shown := ""
	for _, a := range args[1:] {
		if len(shown) >= 128 {
			break
		}
		shown += fmt.Sprintf("'%.*s' ", 128-len(shown), a.Bytes())
	}
	return fmt.Errorf("unknown command '%.128s', with args beginning with: %s", args[0].Bytes(), shown)
}

// route returns the shard of the command's keys if this node serves it, and otherwise the error that sends the client on.
func (s *Server) route(c *call) (*shard.Shard, error) {
	first, last, step := c.row.Keys.positions(len(c.args))
	slot := -1
	for i := first; i <= last; i += step {
		key := c.arg(i)
		if len(key) == 0 {
			return nil, fmt.Errorf("a key must not be empty")
		}
		if len(key) > maxKey {
			return nil, fmt.Errorf("%w: a key of %d bytes, the limit is %d", ErrTooLarge, len(key), maxKey)
		}
		switch of := topology.Slot(key); slot {
		case -1:
			slot = of
		case of:
		default:
			return nil, ErrCrossSlot
		}
	}
	topo := s.cluster.Topology()
	owner, ok := topo.Owner(slot)
	if !ok {
		return nil, ErrNoOwner
	}
	if owner.ID != s.cluster.Self() {
		return nil, s.moved(c.conn, owner, slot)
	}
	return s.store.Shard(int(topo.ShardOf(slot))), nil
}

// redirect is an error that is a prefix of its own.
type redirect struct {
	slot int
	to   topology.Address
}

func (r redirect) Error() string {
	return fmt.Sprintf("%d %s:%d", r.slot, r.to.Host, r.to.Port)
}

func (s *Server) moved(c *conn, owner topology.Node, slot int) error {
	address, ok := c.addressOf(owner)
	if !ok { // it has no listener in this client's network
		return ErrNoOwner
	}
	return redirect{slot, address}
}
