package ndctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

func slotCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "slot KEY", Short: "Show the slot of a key", Args: cobra.ExactArgs(1),
		Long:    "Shows the slot of a key, as CLUSTER KEYSLOT does, without asking a node.",
		Example: "  ndctl slot user:{42}:features",
		RunE: func(_ *cobra.Command, args []string) error {
			return a.out.show(slotReport{args[0], topology.Slot([]byte(args[0]))})
		},
	}
	return document(c, slotReport{})
}

type slotReport struct {
	Key  string `json:"key" doc:"the key"`
	Slot int    `json:"slot" doc:"its slot, from 0 to 16383"`
}

func (r slotReport) print(p *printer) { p.printf("%d\n", r.Slot) }

func whereCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "where KEY", Short: "Show which nodes hold a key, and whether it exists", Args: cobra.ExactArgs(1),
		Long: "Shows the slot and the shard of a key, the nodes that hold the shard, whether the key exists, and what the array looks like. The exit code is 1 if the primary does not answer.",
		RunE: func(c *cobra.Command, args []string) error {
			return a.withSession(c.Context(), func(s *session) error { return showWhere(c.Context(), s, a.out, args[0]) })
		},
	}
	return document(c, whereReport{})
}

type whereReport struct {
	Key      string         `json:"key" doc:"the key"`
	Slot     int            `json:"slot" doc:"its slot"`
	Shard    int            `json:"shard" doc:"its shard"`
	Primary  holderReport   `json:"primary" doc:"node that serves it; without a name if the shard has no primary"`
	Replicas []holderReport `json:"replicas" doc:"other nodes with an in-sync copy"`
	Exists   *bool          `json:"exists" doc:"null if the primary does not answer"`
	Shape    []int64        `json:"shape,omitempty" doc:"shape of the array, if it exists"`
	DType    string         `json:"dtype,omitempty" doc:"its dtype as numpy's descr, if it exists"`
	Bytes    int64          `json:"nbytes,omitempty" doc:"bytes of its data"`
	Version  string         `json:"version,omitempty" doc:"version of the value"`
	TTL      *int64         `json:"pttl,omitempty" doc:"time to live in ms; -1 if it does not expire"`
	Error    string         `json:"error,omitempty" doc:"why the primary does not answer"`
}

type holderReport struct {
	Name    string `json:"name" doc:"name of the node"`
	ID      string `json:"id" doc:"its node id"`
	Address string `json:"address" doc:"its client address"`
	Up      bool   `json:"up" doc:"whether the node that was asked sees it alive"`
}

func newHolderReport(s *session, id topology.NodeID) holderReport {
	r := holderReport{Name: s.cluster.Label(id), ID: string(id)}
	if m := s.member(id); m != nil {
		r.Address, r.Up = m.address, m.Up
	}
	return r
}

func showWhere(ctx context.Context, s *session, p *printer, key string) error {
	slot, shard := s.cluster.Locate(key)
	row := s.cluster.Shards[shard]
	r := whereReport{Key: key, Slot: slot, Shard: shard, Primary: newHolderReport(s, row.Primary), Replicas: []holderReport{}}
	for _, id := range row.InSync {
		if id != row.Primary {
			r.Replicas = append(r.Replicas, newHolderReport(s, id))
		}
	}
	meta, err := s.meta(ctx, key)
	if err != nil {
		r.Error = explain(err)
	} else {
		exists := meta != nil
		r.Exists = &exists
		if exists {
			r.Shape, r.DType, r.Bytes, r.Version, r.TTL = meta.shape, meta.dtype, meta.nbytes, meta.version, &meta.pttl
		}
	}
	if shown := p.show(r); shown != nil {
		return shown
	}
	if err != nil {
		return &exitError{max(exitFailure, exitCode(err)), fmt.Errorf("cannot tell whether the key exists: %s", r.Error)}
	}
	return nil
}

func (r whereReport) print(p *printer) {
	holder := func(h holderReport) string {
		if h.Name == "" {
			return "none: the shard has no primary"
		}
		text := fmt.Sprintf("%s (%s)", h.Name, view.ShortID(topology.NodeID(h.ID)))
		if h.Address != "" {
			text += " at " + h.Address
		}
		if !h.Up {
			text += ", down"
		}
		return text
	}
	p.fact("key", "%s", view.OneLine(r.Key))
	p.fact("slot", "%d", r.Slot)
	p.fact("shard", "%d", r.Shard)
	p.fact("primary", "%s", holder(r.Primary))
	var replicas []string
	for _, h := range r.Replicas {
		replicas = append(replicas, holder(h))
	}
	if len(replicas) == 0 {
		replicas = []string{"none"}
	}
	p.fact("replicas", "%s", strings.Join(replicas, "; "))
	switch {
	case r.Exists == nil:
		p.fact("exists", "unknown")
	case !*r.Exists:
		p.fact("exists", "no")
	default:
		expiry := "does not expire"
		if *r.TTL >= 0 {
			expiry = "expires in " + ttlText(time.Duration(*r.TTL)*time.Millisecond)
		}
		p.fact("exists", "yes, %s", expiry)
		p.fact("array", "%s of shape %s, %s", r.DType, shapeText(r.Shape), bytesText(r.Bytes))
		p.fact("version", "%s", r.Version)
	}
}

// ttlText returns a time to live as people read it.
func ttlText(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return view.Duration(d)
}

// shapeText returns a shape as Python writes it.
func shapeText(shape []int64) string {
	var parts []string
	for _, n := range shape {
		parts = append(parts, fmt.Sprint(n))
	}
	if len(parts) == 1 {
		return "(" + parts[0] + ",)"
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
