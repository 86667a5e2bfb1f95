package ndctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/gossipkey"
)

func gossipKeyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "gossip-key", Short: "Show and change the key of gossip",
		Long: "Shows and changes the keys that encrypt gossip on the nodes. Keys are named by their fingerprints and never shown.",
	}
	container(c)
	c.AddCommand(gossipKeyShowCommand(a), gossipKeyRotateCommand(a))
	return c
}

func gossipKeyShowCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "show", Short: "Show which keys of gossip the nodes have", Args: cobra.NoArgs,
		Long:    "Shows the fingerprints of the gossip keys of each node. The first encrypts what the node sends, all decrypt. Nodes that talk with each other have at least the keys that the others encrypt with.",
		Example: "  ndctl gossip-key show",
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.withSession(c.Context(), func(s *session) error {
			rings, failed := s.rings(c.Context(), s.members)
			all := ringReports{}
			for i, m := range s.members {
				if rings[i] != nil {
					all = append(all, ringReport{m.Label(), rings[i].keys, rings[i].kept})
				}
			}
			if err := a.out.show(all); err != nil {
				return err
			}
			return a.out.failures(failed)
		})
	}
	return document(c, ringReports{})
}

// ring is the keys of a node.
type ring struct {
	keys []string // fingerprints; the first encrypts
	kept bool     // they outlive the process
}

// rings asks nodes for their keys. That of a node that does not answer is nil.
func (s *session) rings(ctx context.Context, nodes []*member) ([]*ring, nodeFailures) {
	all := make([]*ring, len(nodes))
	failed := each(ctx, nodes, func(ctx context.Context, i int, m *member) error {
		r, err := m.ring(ctx)
		all[i] = r
		return err
	})
	return all, failed
}

func (m *member) ring(ctx context.Context) (*ring, error) {
	reply, err := m.do(ctx, "CLUSTER", "GOSSIPKEY", "LIST").Slice()
	switch {
	case isEarlierVersion(err):
		return nil, errEarlierVersion
	case err != nil:
		return nil, err
	case len(reply) != 2:
		return nil, errors.New("cannot read its answer to CLUSTER GOSSIPKEY LIST")
	}
	r := &ring{kept: reply[1] == "kept"}
	names, _ := reply[0].([]any)
	for _, name := range names {
		r.keys = append(r.keys, fmt.Sprint(name))
	}
	return r, nil
}

type ringReport struct {
	Node string   `json:"node" doc:"name of the node"`
	Keys []string `json:"fingerprints" doc:"its keys: the first encrypts, all decrypt; none if gossip is not encrypted"`
	Kept bool     `json:"kept" doc:"whether its data folder keeps the keys; otherwise it starts again with those of its key file"`
}

// ringReports are the keys of nodes.
type ringReports []ringReport

func (all ringReports) print(p *printer) {
	t := newTable("NODE", "ENCRYPTS", "ALSO DECRYPTS")
	for _, r := range all {
		first, rest := "nothing", ""
		if len(r.Keys) > 0 {
			first, rest = r.Keys[0], strings.Join(r.Keys[1:], ",")
		}
		t.add(text(r.Node), text(first), text(rest))
	}
	t.print(p)
}

func gossipKeyRotateCommand(a *app) *cobra.Command {
	k := &rotation{app: a}
	c := &cobra.Command{
		Use: "rotate", Short: "Change the key of gossip on all nodes", Args: cobra.NoArgs,
		Long: `Replaces the key of gossip on all nodes while they run, in three steps: all nodes learn the new key, then all encrypt with it, then all forget the
others. Each step is done and verified on all nodes before the next begins, so that they understand each other all the time. If it is interrupted, at any point, or
if a node fails, run it again: with the same --key-file it goes on, and with another key it starts over.

Each node keeps its keys in its data folder, whatever its key file says, until that file changes. A node that starts later with an empty folder, or without one,
needs the new key in its key file: with --key-file, the new key is read from FILE, or written to it if it does not exist. Put it into the key files of the nodes afterwards.

A node that is down stops the rotation, since it could not talk with the others when it comes back. With --skip-down the rotation goes on without such nodes: give
each of them the new key in its key file before you start it. The key travels to the nodes as the connections do: by TLS (--tls), or to nodes on this machine.`,
		Example: "  ndctl gossip-key rotate --key-file gossip.key.new\n  ndctl gossip-key rotate --key-file gossip.key.new --skip-down --yes",
	}
	c.Flags().StringVar(&k.file, "key-file", "", "`FILE` with the new key; it is made if it does not exist (default: a new key, which only the nodes have)")
	c.Flags().BoolVar(&k.skipDown, "skip-down", false, "go on without nodes that are down; it needs --key-file")
	c.Flags().BoolVar(&k.insecure, "insecure", false, "send the key over connections that others may read, to nodes that were started with --insecure")
	yes := yesFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if k.skipDown && k.file == "" {
			return usageError("--skip-down needs --key-file: the nodes that are down need the new key in their key files")
		}
		return a.withSession(c.Context(), func(s *session) error { return k.run(c.Context(), s, *yes) })
	}
	return document(c, &rotationReport{})
}

// rotation brings a new key to all nodes.
type rotation struct {
	*app
	file     string
	skipDown bool
	insecure bool

	key     []byte
	name    string // its fingerprint
	nodes   []*member
	skipped []*member
}

type rotationReport struct {
	Key     string   `json:"fingerprint" doc:"fingerprint of the new key"`
	Nodes   []string `json:"nodes" doc:"names of the nodes that have only the new key now"`
	Skipped []string `json:"skipped" doc:"names of nodes that were down: each needs the new key in its key file before it starts"`
	Unkept  []string `json:"unkept" doc:"names of nodes without a data folder: each needs the new key in its key file before it restarts"`
}

// steps are what a rotation does on each node. Wrong says what is not as it should be afterwards; it is empty once the step is done.
var rotationSteps = []struct {
	title string
	do    func(ctx context.Context, k *rotation, m *member, r *ring) error
	wrong func(k *rotation, r *ring) string
}{
	{"all nodes have the new key", func(ctx context.Context, k *rotation, m *member, _ *ring) error {
		return m.do(ctx, "CLUSTER", "GOSSIPKEY", "ADD", gossipkey.Text(k.key)).Err()
	}, func(k *rotation, r *ring) string {
		if !slices.Contains(r.keys, k.name) {
			return "it does not have the new key"
		}
		return ""
	}},
	{"all nodes encrypt with it", func(ctx context.Context, k *rotation, m *member, _ *ring) error {
		return m.do(ctx, "CLUSTER", "GOSSIPKEY", "USE", k.name).Err()
	}, func(k *rotation, r *ring) string {
		if len(r.keys) == 0 || r.keys[0] != k.name {
			return "it does not encrypt with the new key"
		}
		return ""
	}},
	{"no node has another key", func(ctx context.Context, k *rotation, m *member, r *ring) error {
		for _, old := range r.keys {
			if old == k.name {
				continue
			}
			if err := m.do(ctx, "CLUSTER", "GOSSIPKEY", "REMOVE", old).Err(); err != nil {
				return err
			}
		}
		return nil
	}, func(k *rotation, r *ring) string {
		if len(r.keys) != 1 || r.keys[0] != k.name {
			return "it has other keys than the new one"
		}
		return ""
	}},
}

const rotateAgain = "nothing is lost: run the rotation again when that is mended"

func (k *rotation) run(ctx context.Context, s *session, yes bool) error {
	rings, err := k.choose(ctx, s)
	if err != nil {
		return err
	}
	if err := k.checkPrivacy(s); err != nil {
		return err
	}
	if err := k.prompt.confirm(yes, fmt.Sprintf("Change the gossip key of %s?", plural(len(k.nodes), "node"))); err != nil {
		return err
	}
	if err := k.loadKey(); err != nil {
		return err
	}
	for _, step := range rotationSteps {
		if err := k.sameNodes(ctx, s); err != nil {
			return err
		}
		failed := each(ctx, k.nodes, func(ctx context.Context, i int, m *member) error {
			if step.wrong(k, rings[i]) == "" {
				return nil
			}
			return step.do(ctx, k, m, rings[i])
		})
		if len(failed) > 0 {
			return k.stopped(failed)
		}
		if rings, failed = s.rings(ctx, k.nodes); len(failed) == 0 {
			failed = each(ctx, k.nodes, func(_ context.Context, i int, _ *member) error {
				if wrong := step.wrong(k, rings[i]); wrong != "" {
					return errors.New(wrong)
				}
				return nil
			})
		}
		if len(failed) > 0 {
			return k.stopped(failed)
		}
		if !k.out.json {
			k.out.printf("%s\n", step.title)
		}
	}
	return k.report(rings)
}

// choose finds out which nodes take part, and returns their keys.
func (k *rotation) choose(ctx context.Context, s *session) ([]*ring, error) {
	var down []string
	for _, m := range s.members {
		switch {
		case m.Up:
			k.nodes = append(k.nodes, m)
		case k.skipDown:
			k.skipped = append(k.skipped, m)
		default:
			down = append(down, m.Label())
		}
	}
	if len(down) > 0 {
		return nil, failure("down: %s. They could not talk with the others afterwards, so nothing was changed. Start them, remove them for good (ndctl forget), or go on without them (--skip-down)", strings.Join(down, ", "))
	}
	rings, failed := s.rings(ctx, k.nodes)
	if len(failed) > 0 {
		return nil, k.out.failures(failed)
	}
	for i, r := range rings {
		if len(r.keys) == 0 {
			return nil, failure("%s does not encrypt gossip: it was started without --gossip-key-file, which a running node cannot change", k.nodes[i].Label())
		}
		if !r.kept && k.file == "" {
			return nil, usageError("%s has no data folder and would start again with the old key of its key file: give --key-file, and put the new key into that file afterwards", k.nodes[i].Label())
		}
	}
	return rings, nil
}

// checkPrivacy refuses to send the key where others may read it.
func (k *rotation) checkPrivacy(s *session) error {
	if k.insecure || s.options.encrypted() {
		return nil
	}
	for _, m := range k.nodes {
		address := m.address
		if m.self {
			address = s.entry
		}
		host, _, _ := net.SplitHostPort(address)
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return failure("the key would travel to %s (%s) in plain text: give --tls, or --insecure in a network that you trust", m.Label(), address)
		}
	}
	return nil
}

// loadKey reads the new key, or makes it.
func (k *rotation) loadKey() error {
	k.key = gossipkey.New()
	if k.file != "" {
		content, err := os.ReadFile(k.file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := writeSecret(k.file, []byte(gossipkey.Text(k.key)+"\n")); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			keys, err := gossipkey.ParseFile(content)
			if err != nil {
				return failure("--key-file %s: %w", k.file, err)
			}
			k.key = keys[0]
		}
	}
	k.name = gossipkey.Fingerprint(k.key)
	return nil
}

// sameNodes returns an error if nodes have joined or gone down since the rotation began.
func (k *rotation) sameNodes(ctx context.Context, s *session) error {
	now, err := fetchCluster(ctx, s.self().client)
	if err != nil {
		return k.stopped(nodeFailures{{s.self(), err}})
	}
	var were, are []topology.NodeID
	for _, m := range k.nodes {
		were = append(were, m.ID)
	}
	for _, n := range now.Nodes {
		if n.Up {
			are = append(are, n.ID)
		}
	}
	slices.Sort(were)
	slices.Sort(are)
	if !slices.Equal(were, are) {
		return failure("other nodes are up than when the rotation began: %s", rotateAgain)
	}
	return nil
}

// stopped says that the rotation does not go on.
func (k *rotation) stopped(failed nodeFailures) error {
	err := k.out.failures(failed)
	k.out.warn("the rotation has stopped: %s", rotateAgain)
	return err
}

func (k *rotation) report(rings []*ring) error {
	r := &rotationReport{Key: k.name, Nodes: []string{}, Skipped: []string{}, Unkept: []string{}}
	for i, m := range k.nodes {
		r.Nodes = append(r.Nodes, m.Label())
		if !rings[i].kept {
			r.Unkept = append(r.Unkept, m.Label())
		}
	}
	for _, m := range k.skipped {
		r.Skipped = append(r.Skipped, m.Label())
	}
	return k.out.show(r)
}

func (r *rotationReport) print(p *printer) {
	p.printf("%s: gossip is encrypted with the key %s only\n", strings.Join(r.Nodes, ", "), r.Key)
	if len(r.Unkept) > 0 {
		p.printf("Put the new key into the key files of these nodes before they restart, since they have no data folders: %s\n", strings.Join(r.Unkept, ", "))
	}
	if len(r.Skipped) > 0 {
		p.printf("Put the new key into the key files of these nodes before you start them: %s\n", strings.Join(r.Skipped, ", "))
	}
	p.printf("Put it into the key files of the other nodes too, for the day when one starts with an empty folder.\n")
}
