package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// identity is what a node has promised, and what it belongs to. It is written down before anybody is told.
type identity struct {
	Cluster string `json:"cluster,omitempty"` // id; empty before the node is part of one
	Server  string `json:"server,omitempty"`  // server id as which the node became part of it
	Claim   *claim `json:"claim,omitempty"`   // that the node has given
	Round   uint64 `json:"round,omitempty"`   // of the last claim that it has asked for
	Made    *made  `json:"made,omitempty"`    // of the one node that makes the cluster
}

// claim is a node's word that it will be part of a cluster of exactly these nodes, and of no other, unless the asker gives it back.
type claim struct {
	Asker   topology.NodeID `json:"asker"`
	Store   string          `json:"store"` // of the asker
	Round   uint64          `json:"round"` // the asker's; a later one replaces an earlier one
	Cluster string          `json:"cluster"`
	Members []string        `json:"members"` // server ids, in order
}

// made is how a cluster begins.
type made struct {
	Servers []server        `json:"servers"` // of raft
	Nodes   []topology.Node `json:"nodes"`
	Keeper  topology.NodeID `json:"keeper,omitempty"` // keeps what is in its folder
	Epoch   uint64          `json:"epoch"`
}

type server struct {
	ID    string `json:"id"`
	Voter bool   `json:"voter"`
}

const identityFile = "identity.json"

func loadIdentity(files Files) (i identity, err error) {
	content, err := files.Load(identityFile)
	if errors.Is(err, fs.ErrNotExist) {
		return i, nil
	}
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(content, &i); err != nil {
		return i, fmt.Errorf("%s is damaged: %w", identityFile, err)
	}
	return i, nil
}

func (i *identity) save(files Files) error {
	content, err := json.MarshalIndent(i, "", " ")
	if err != nil {
		return err
	}
	return files.Save(identityFile, content)
}

// same reports whether two claims are one, of any round.
func (c *claim) same(d *claim) bool {
	return c.Asker == d.Asker && c.Store == d.Store && c.Cluster == d.Cluster && slices.Equal(c.Members, d.Members)
}
