package protocol

import (
	"errors"
	"net"
)

// GossipKeys are the keys of gossip on this node. The first encrypts what the node sends, all decrypt. Fingerprints name them, and
// tell nothing about them.
type GossipKeys interface {
	// GossipKeys returns the fingerprints, and whether the keys outlive the process.
	GossipKeys() (fingerprints []string, kept bool)
	// AddGossipKey adds a key, which decrypts from then on. It does nothing if the node has it.
	AddGossipKey(key string) error
	// UseGossipKey makes a key that the node has the one that encrypts.
	UseGossipKey(fingerprint string) error
	// RemoveGossipKey removes a key that does not encrypt. It does nothing if the node does not have it.
	RemoveGossipKey(fingerprint string) error
}

var errGossipKeyWord = errors.New("unknown subcommand of CLUSTER GOSSIPKEY. Try CLUSTER HELP.")

var errNotPrivate = errors.New("a gossip key must not travel over a connection that others can read: use TLS, run ndctl on the node's machine, or start the node with --insecure")

// private reports whether nobody but the client and this machine can read a connection.
func (o *origin) private() bool {
	switch remote := o.remote.(type) {
	case *net.TCPAddr:
		return remote.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// clusterGossipKey shows and changes the keys of gossip on this node.
func clusterGossipKey(c *call, s *Server) {
	keys := s.router.cluster
	var err error
	switch what := c.option(2); {
	case what == "LIST" && len(c.args) == 3:
		fingerprints, kept := keys.GossipKeys()
		c.replies.Array(2)
		c.texts(fingerprints)
		c.replies.Text(map[bool]string{true: "kept", false: "memory"}[kept])
		return
	case what != "ADD" && what != "USE" && what != "REMOVE":
		err = errGossipKeyWord // without the word: it may be a key
	case len(c.args) != 4:
		err = c.row.ArityError()
	case what == "ADD" && !c.from.private() && !s.config.Load().PlainSecrets:
		err = errNotPrivate
	case what == "ADD":
		err = keys.AddGossipKey(string(c.arg(3)))
	case what == "USE":
		err = keys.UseGossipKey(string(c.arg(3)))
	default:
		err = keys.RemoveGossipKey(string(c.arg(3)))
	}
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}
