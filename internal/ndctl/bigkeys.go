package ndctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

func (a *app) bigkeysCommand() *cobra.Command {
	var count, most int
	var match string
	c := &cobra.Command{
		Use: "bigkeys", Short: "Find the keys that take the most memory", Args: cobra.NoArgs,
		Long: `Finds the keys that take the most memory: it walks the keys of all nodes side by side (SCAN), asks what each takes (MEMORY USAGE), and keeps
the largest. A node with more keys than --max-keys is not walked to its end; it says so.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 1 || most < 1 {
				return usageError("--count and --max-keys must be at least 1")
			}
			return a.onCluster(c.Context(), func(v *view) error { return v.bigkeys(c.Context(), count, most, match) })
		},
	}
	c.Flags().IntVarP(&count, "count", "n", 10, "how many keys to show")
	c.Flags().IntVar(&most, "max-keys", 1_000_000, "how many keys of each node to look at")
	c.Flags().StringVar(&match, "match", "", "only keys that match this `PATTERN`")
	return document(c, bigkeysReport{})
}

type bigkeysReport struct {
	Keys   []bigkey `json:"keys" doc:"the largest, in order"`
	Looked int      `json:"looked_at" doc:"keys that were looked at"`
	Cut    []string `json:"cut_short" doc:"names of the nodes that have more than --max-keys"`
}

type bigkey struct {
	Key    string  `json:"key" doc:"the key"`
	Node   string  `json:"node" doc:"name of the node that has it"`
	Memory int64   `json:"memory_bytes" doc:"memory that it takes"`
	Shape  []int64 `json:"shape,omitempty" doc:"of the array; absent if it is gone by now"`
	DType  string  `json:"dtype,omitempty" doc:"likewise, as numpy's descr"`
}

const scanCount = 1000

func (v *view) bigkeys(ctx context.Context, count, most int, match string) error {
	var mu sync.Mutex // guards r
	r := bigkeysReport{Keys: []bigkey{}, Cut: []string{}}
	failed := each(ctx, v.nodes, func(ctx context.Context, _ int, m *member) error {
		looked := 0
		for cursor := "0"; ; {
			keys, next, err := m.scan(ctx, cursor, match, scanCount)
			if err != nil {
				return err
			}
			if looked+len(keys) > most {
				keys = keys[:most-looked]
			}
			found, err := m.weigh(ctx, keys)
			if err != nil {
				return err
			}
			looked += len(keys)
			mu.Lock()
			r.add(found, count)
			r.Looked += len(keys)
			if looked >= most && next != "0" {
				r.Cut = append(r.Cut, m.label())
			}
			mu.Unlock()
			if cursor = next; cursor == "0" || looked >= most {
				return nil
			}
		}
	})
	slices.Sort(r.Cut)
	for i := range r.Keys {
		if meta, err := v.meta(ctx, r.Keys[i].Key); err == nil && meta != nil {
			r.Keys[i].Shape, r.Keys[i].DType = meta.shape, meta.dtype
		}
	}
	if err := v.app.show(r, func() { v.app.writeBigkeys(r) }); err != nil {
		return err
	}
	return v.app.partial(failed)
}

// add keeps the largest.
func (r *bigkeysReport) add(found []bigkey, count int) {
	r.Keys = append(r.Keys, found...)
	slices.SortFunc(r.Keys, func(a, b bigkey) int { return cmp.Or(cmp.Compare(b.Memory, a.Memory), cmp.Compare(a.Key, b.Key)) })
	r.Keys = r.Keys[:min(count, len(r.Keys))]
}

// scan walks on by some keys; the last call returns the cursor 0.
func (m *member) scan(ctx context.Context, cursor, match string, count int) (keys []string, next string, err error) {
	args := []any{"SCAN", cursor, "COUNT", strconv.Itoa(count)}
	if match != "" {
		args = append(args, "MATCH", match)
	}
	reply, err := m.do(ctx, args...).Slice()
	if err != nil {
		return nil, "", err
	}
	if len(reply) != 2 {
		return nil, "", errors.New("the answer to SCAN makes no sense")
	}
	all, _ := reply[1].([]any)
	for _, k := range all {
		keys = append(keys, fmt.Sprint(k))
	}
	return keys, fmt.Sprint(reply[0]), nil
}

// weigh asks what keys take. Those that are gone by now are left out.
func (m *member) weigh(ctx context.Context, keys []string) (found []bigkey, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	p := m.client.Pipeline()
	cmds := make([]*redis.IntCmd, len(keys))
	for i, k := range keys {
		cmds[i] = p.MemoryUsage(ctx, k)
	}
	if _, err := p.Exec(ctx); err != nil && lost(err) {
		return nil, err
	}
	for i, cmd := range cmds {
		switch bytes, err := cmd.Result(); {
		case err == nil:
			found = append(found, bigkey{Key: keys[i], Node: m.label(), Memory: bytes})
		case !errors.Is(err, redis.Nil) && rightsHint(err) != "":
			return nil, err
		}
	}
	return found, nil
}

func (a *app) writeBigkeys(r bigkeysReport) {
	t := newTable("MEMORY", "NODE", "DTYPE", "SHAPE", "KEY")
	for _, k := range r.Keys {
		shape := ""
		if k.DType != "" {
			shape = shapeText(k.Shape)
		}
		t.add(sizeCell(k.Memory), text(k.Node), text(k.DType), text(shape), text(k.Key))
	}
	a.writeTable(t)
	fmt.Fprintf(a.out, "\n%s looked at\n", plural(r.Looked, "key"))
	for _, name := range r.Cut {
		fmt.Fprintf(a.out, "%s has more: raise --max-keys to look at all\n", name)
	}
}
