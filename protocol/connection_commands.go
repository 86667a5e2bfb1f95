package protocol

import (
	"errors"
	"fmt"

	"github.com/ndring/ndring/protocol/resp"
)

func ping(c *call) {
	switch len(c.args) {
	case 1:
		c.replies.Simple("PONG")
	case 2:
		c.replies.Bulk(c.arg(1))
	default:
		c.replies.Error(c.row.ArityError())
	}
}

func echo(c *call) { c.replies.Bulk(c.arg(1)) }

func quit(c *call) {
	c.replies.OK()
	c.close = true
}

func selectDB(c *call) {
	switch n, ok := resp.ParseInt(c.arg(1)); {
	case !ok:
		c.replies.Error(errInteger)
	case n != 0:
		c.replies.Error(errors.New("SELECT is not allowed in cluster mode"))
	default:
		c.replies.OK()
	}
}

func hello(c *call, x *conn) {
	proto, name, err := parseHello(c, x)
	if err != nil {
		c.replies.ErrorText(err.Error())
		return
	}
	if proto == 2 { // which has no pushes
		x.server.tracker.stop(x)
	}
	c.replies.RESP3 = proto == 3
	x.change(func(id *identity) {
		id.proto = proto
		if name != nil {
			id.name = *name
		}
	})
	w := c.replies
	w.Map(7)
	for _, field := range [][2]string{{"server", "ndring"}, {"version", redisVersion}} {
		w.Text(field[0])
		w.Text(field[1])
	}
	w.Text("proto")
	w.Int(int64(proto))
	w.Text("id")
	w.Int(x.id)
	for _, field := range [][2]string{{"mode", "cluster"}, {"role", "master"}} {
		w.Text(field[0])
		w.Text(field[1])
	}
	w.Text("modules")
	w.Array(0)
}

// parseHello returns errors with their prefix: HELLO has some of its own.
func parseHello(c *call, x *conn) (proto int, name *string, err error) {
	proto = x.identity.Load().proto
	if len(c.args) > 1 {
		n, ok := resp.ParseInt(c.arg(1))
		if !ok {
			return 0, nil, errors.New("ERR Protocol version is not an integer or out of range")
		}
		if n != 2 && n != 3 {
			return 0, nil, errors.New("NOPROTO unsupported protocol version")
		}
		proto = int(n)
	}
	for i := 2; i < len(c.args); i++ {
		left := len(c.args) - 1 - i
		switch option := upper(string(c.arg(i))); {
		case option == "AUTH" && left >= 2:
			if !x.login.try(c, string(c.arg(i+1)), c.arg(i+2)) {
				return 0, nil, errors.New(wireError(errWrongPass))
			}
			i += 2
		case option == "SETNAME" && left >= 1:
			i++
			if err := checkName(c.arg(i)); err != nil {
				return 0, nil, errors.New("ERR " + err.Error())
			}
			s := string(c.arg(i))
			name = &s
		default:
			return 0, nil, fmt.Errorf("ERR Syntax error in HELLO option '%.128s'", c.arg(i))
		}
	}
	if !x.authenticated {
		return 0, nil, errors.New(wireError(errHelloAuth))
	}
	return proto, name, nil
}

func checkName(name []byte) error {
	for _, b := range name {
		if b < '!' || b > '~' {
			return errors.New("Client names cannot contain spaces, newlines or special characters.")
		}
	}
	return nil
}

func clientID(c *call, x *conn) { c.replies.Int(x.id) }

func clientGetName(c *call, x *conn) {
	name := x.identity.Load().name
	if name == "" {
		c.replies.Null()
		return
	}
	c.replies.Text(name)
}

func clientSetName(c *call, x *conn) {
	if err := checkName(c.arg(2)); err != nil {
		c.replies.Error(err)
		return
	}
	name := string(c.arg(2))
	x.change(func(id *identity) { id.name = name })
	c.replies.OK()
}

func clientSetInfo(c *call, x *conn) {
	option, value := upper(string(c.arg(2))), string(c.arg(3))
	if option != "LIB-NAME" && option != "LIB-VER" {
		c.replies.Error(fmt.Errorf("Unrecognized option '%.128s'", c.arg(2)))
		return
	}
	if checkName(c.arg(3)) != nil {
		c.replies.Error(fmt.Errorf("%s cannot contain spaces, newlines or special characters.", c.arg(2)))
		return
	}
	x.change(func(id *identity) {
		if option == "LIB-NAME" {
			id.library = value
		} else {
			id.libraryVersion = value
		}
	})
	c.replies.OK()
}

// readOnly returns the handler of READONLY or READWRITE: see router.locateCopy.
func readOnly(on bool) onConn {
	return func(c *call, x *conn) {
		x.change(func(id *identity) { id.readOnly = on })
		x.server.tracker.readsCopies(x)
		c.replies.OK()
	}
}

// asking has no effect: slots do not migrate.
func asking(c *call) { c.replies.OK() }
