package ndctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
)

func (a *app) slotCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "slot KEY", Short: "Show the slot of a key", Args: cobra.ExactArgs(1),
		Long:    "Shows the slot of a key, as CLUSTER KEYSLOT does. No node is asked.",
		Example: "  ndctl slot user:{42}:features",
		RunE: func(_ *cobra.Command, args []string) error {
			slot := topology.Slot([]byte(args[0]))
			return a.show(slotReport{args[0], slot}, func() { fmt.Fprintln(a.out, slot) })
		},
	}
	return document(c, slotReport{})
}

type slotReport struct {
	Key  string `json:"key" doc:"the key"`
	Slot int    `json:"slot" doc:"its slot, from 0 to 16383"`
}

func (a *app) whereCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "where KEY", Short: "Show where a key is, and whether it exists", Args: cobra.ExactArgs(1),
		Long: "Shows the slot of a key, its shard, the nodes that have it, and whether it exists, with what is known of the array. Exit code 1 if nobody can tell whether it exists.",
		RunE: func(c *cobra.Command, args []string) error {
			return a.onCluster(c.Context(), func(v *view) error { return v.where(c.Context(), args[0]) })
		},
	}
	return document(c, whereReport{})
}

type whereReport struct {
	Key      string        `json:"key" doc:"the key"`
	Slot     int           `json:"slot" doc:"its slot"`
	Shard    int           `json:"shard" doc:"its shard"`
	Primary  placeReport   `json:"primary" doc:"who serves it; without a name if nobody may"`
	Replicas []placeReport `json:"replicas" doc:"the other nodes with a copy in step"`
	Exists   *bool         `json:"exists" doc:"null if the primary could not be asked"`
	Shape    []int64       `json:"shape,omitempty" doc:"of the array, if it exists"`
	DType    string        `json:"dtype,omitempty" doc:"likewise, as numpy's descr"`
	Bytes    int64         `json:"nbytes,omitempty" doc:"bytes of its data"`
	Version  string        `json:"version,omitempty" doc:"of the value"`
	TTL      *int64        `json:"pttl,omitempty" doc:"ms that it has to live; -1 for ever"`
	Error    string        `json:"error,omitempty" doc:"why the primary could not be asked"`
}

type placeReport struct {
	Name    string `json:"name" doc:"of the node"`
	ID      string `json:"id" doc:"its id"`
	Address string `json:"address" doc:"where clients reach it"`
	Up      bool   `json:"up" doc:"whether it lives, as the node sees it that was asked"`
}

func (v *view) place(id string) placeReport {
	p := placeReport{Name: v.nameOf(id), ID: id}
	if m := v.byID(id); m != nil {
		p.Address, p.Up = m.address, m.Up
	}
	return p
}

func (v *view) where(ctx context.Context, key string) error {
	slot, shard, row := v.shardOf(key)
	r := whereReport{Key: key, Slot: slot, Shard: shard, Primary: v.place(row.Primary), Replicas: []placeReport{}}
	for _, id := range row.InSync {
		if id != row.Primary {
			r.Replicas = append(r.Replicas, v.place(id))
		}
	}
	meta, err := v.meta(ctx, key)
	if err != nil {
		r.Error = words(err)
	} else {
		exists := meta != nil
		r.Exists = &exists
		if exists {
			r.Shape, r.DType, r.Bytes, r.Version, r.TTL = meta.shape, meta.dtype, meta.nbytes, meta.version, &meta.pttl
		}
	}
	if shown := v.app.show(r, func() { v.app.writeWhere(r) }); shown != nil {
		return shown
	}
	if err != nil {
		return &exitError{max(exitFailure, codeOf(err)), fmt.Errorf("nobody can tell whether the key exists: %s", r.Error)}
	}
	return nil
}

func (a *app) writeWhere(r whereReport) {
	place := func(p placeReport) string {
		if p.Name == "" {
			return "none: nobody may serve the shard"
		}
		text := fmt.Sprintf("%s (%s)", p.Name, short(p.ID))
		if p.Address != "" {
			text += " at " + p.Address
		}
		if !p.Up {
			text += ", down"
		}
		return text
	}
	a.fact("key", "%s", oneLine(r.Key))
	a.fact("slot", "%d", r.Slot)
	a.fact("shard", "%d", r.Shard)
	a.fact("primary", "%s", place(r.Primary))
	var replicas []string
	for _, p := range r.Replicas {
		replicas = append(replicas, place(p))
	}
	if len(replicas) == 0 {
		replicas = []string{"none"}
	}
	a.fact("replicas", "%s", strings.Join(replicas, "; "))
	switch {
	case r.Exists == nil:
		a.fact("exists", "not known")
	case !*r.Exists:
		a.fact("exists", "no")
	default:
		lives := "for ever"
		if *r.TTL >= 0 {
			lives = "for " + lifetimeText(time.Duration(*r.TTL)*time.Millisecond)
		}
		a.fact("exists", "yes, %s", lives)
		a.fact("array", "%s of shape %s, %s", r.DType, shapeText(r.Shape), bytesText(r.Bytes))
		a.fact("version", "%s", r.Version)
	}
}

// lifetimeText writes for how long a key is there.
func lifetimeText(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return durationText(d)
}

// shapeText writes a shape as Python does.
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
