package protocol

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/ndring/ndring/protocol/acl"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
)

func aclWhoAmI(c *call, x *conn) { c.replies.Text(x.login.user.Load().Name()) }

func aclUsers(c *call, s *Server) {
	users := s.accounts.users.Load().All()
	c.replies.Array(len(users))
	for _, u := range users {
		c.replies.Text(u.Name())
	}
}

func aclList(c *call, s *Server) {
	users := s.accounts.users.Load().All()
	c.replies.Array(len(users))
	for _, u := range users {
		c.replies.Text(u.String())
	}
}

func aclGetUser(c *call, s *Server) {
	u := s.accounts.users.Load().Get(string(c.arg(2)))
	if u == nil {
		c.replies.Null()
		return
	}
	own, selectors := u.Rights()
	w := c.replies
	w.Map(6)
	w.Text("flags")
	flags := u.Flags()
	w.Set(len(flags))
	for _, flag := range flags {
		w.Text(flag)
	}
	w.Text("passwords")
	c.texts(u.Passwords())
	writeRights(w, own)
	w.Text("selectors")
	w.Array(len(selectors))
	for _, rights := range selectors {
		w.Map(3)
		writeRights(w, rights)
	}
}

func writeRights(w *resp.Writer, r acl.Rights) {
	for _, field := range [][2]string{{"commands", r.Commands}, {"keys", r.Keys}, {"channels", r.Channels}} {
		w.Text(field[0])
		w.Text(field[1])
	}
}

// rulesFrom returns the rules that begin at an argument.
func (c *call) rulesFrom(from int) (rules []string) {
	for i := from; i < len(c.args); i++ {
		rules = append(rules, string(c.arg(i)))
	}
	return rules
}

func aclSetUser(c *call, s *Server) {
	name, rules := string(c.arg(2)), c.rulesFrom(3)
	if err := s.accounts.change(func(l *acl.Layers) error { return l.Set(name, rules) }); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

var errKeepDefault = errors.New("The 'default' user cannot be removed")

func aclDelUser(c *call, x *conn, _ *connections) {
	names := c.rulesFrom(2)
	deleted := map[string]bool{}
	for _, name := range names {
		if name == acl.DefaultName {
			c.replies.Error(errKeepDefault)
			return
		}
		deleted[name] = true
	}
	n := 0
	x.server.accounts.change(func(l *acl.Layers) error { // returns no error
		n = l.Delete(names)
		return nil
	})
	x.server.connections.killUsers(x, func(u *acl.User) bool { return deleted[u.Name()] })
	c.replies.Int(int64(n))
}

func aclCat(c *call, s *Server) {
	switch len(c.args) {
	case 2:
		c.texts(command.Categories)
	case 3:
		rows, known := s.accounts.commands.Category(strings.ToLower(string(c.arg(2))))
		if !known {
			c.replies.Error(fmt.Errorf("Unknown category '%.128s'", c.arg(2)))
			return
		}
		c.replies.Array(len(rows))
		for _, row := range rows {
			c.replies.Text(row.Full)
		}
	default:
		c.replies.Error(errors.New("unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP."))
	}
}

// maxPasswordBits is the longest password that ACL GENPASS makes.
const maxPasswordBits = 4096

func aclGenPass(c *call) {
	bits := int64(256)
	switch {
	case len(c.args) > 3:
		c.replies.Error(errors.New("unknown subcommand or wrong number of arguments for 'GENPASS'. Try ACL HELP."))
		return
	case len(c.args) == 3:
		n, ok := resp.ParseInt(c.arg(2))
		if !ok {
			c.replies.Error(errInteger)
			return
		}
		if n <= 0 || n > maxPasswordBits {
			c.replies.Error(errors.New("ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"))
			return
		}
		bits = n
	}
	digits := (bits + 3) / 4
	random := make([]byte, (digits+1)/2)
	rand.Read(random) // never fails
	c.replies.Text(hex.EncodeToString(random)[:digits])
}

// aclDryRun says whether a user may execute a command, without executing it.
func aclDryRun(c *call, s *Server) {
	u := s.accounts.users.Load().Get(string(c.arg(2)))
	args := c.args[3:]
	row, err := s.table.LookUp(args)
	switch {
	case u == nil:
		c.replies.Error(fmt.Errorf("User '%.128s' not found", c.arg(2)))
		return
	case err != nil && (len(args) > 1 || s.table.Find(args[0].Bytes()) == nil):
		c.replies.Error(fmt.Errorf("Command '%.128s' not found", args[0].Bytes()))
		return
	case err == nil && !row.ArityMatches(len(args)):
		err = row.ArityError()
	}
	if err != nil {
		c.replies.Error(err)
		return
	}
	var first []byte
	if len(args) > 1 {
		first = args[1].Bytes()
	}
	keys := row.AppendKeys(nil, args)
	switch denial := u.Check(row, first, keys); denial.Kind {
	case acl.Command:
		c.replies.Text(deniedCommand(u, row))
	case acl.Key:
		c.replies.Text(fmt.Sprintf("User %s has no permissions to access the '%s' key", u.Name(), keys[denial.Key]))
	default:
		c.replies.OK()
	}
}

func aclLoad(c *call, x *conn) {
	if err := loadUsers(x.server, x); err != nil {
		var wrong *acl.FileError
		if errors.As(err, &wrong) {
			err = fmt.Errorf("%w WARNING: ACL errors detected, no change to the previously active ACL rules was performed", err)
		}
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

// aclSave writes the users of this node to the ACL file. Those of the cluster are the cluster's to keep.
func aclSave(c *call, s *Server) {
	err := s.accounts.change(func(l *acl.Layers) error { return s.host.WriteUsers(acl.FormatFile(l.Saved())) })
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}
