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

func bigkeysCommand(a *app) *cobra.Command {
	var o bigkeysOptions
	c := &cobra.Command{
		Use: "bigkeys", Short: "Find the keys that use the most memory", Args: cobra.NoArgs,
		Long: `Finds the keys that use the most memory: it scans all nodes concurrently (SCAN), asks for the memory of every key (MEMORY USAGE), and keeps
the largest. It stops on a node after --max-keys keys, and says so.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.count < 1 || o.maxKeys < 1 {
				return usageError("--count and --max-keys must be at least 1")
			}
			return a.withSession(c.Context(), func(s *session) error { return showBigkeys(c.Context(), s, a.out, o) })
		},
	}
	c.Flags().IntVarP(&o.count, "count", "n", 10, "how many keys to show")
	c.Flags().IntVar(&o.maxKeys, "max-keys", 1_000_000, "how many keys to scan on each node")
	c.Flags().StringVar(&o.match, "match", "", "only keys that match `PATTERN`")
	return document(c, bigkeysReport{})
}

// bigkeysOptions are the flags of bigkeys.
type bigkeysOptions struct {
	count, maxKeys int
	match          string
}

type bigkeysReport struct {
	Keys   []bigkey `json:"keys" doc:"the largest keys, in order"`
	Looked int      `json:"looked_at" doc:"keys that were scanned"`
	Cut    []string `json:"cut_short" doc:"names of the nodes with more than --max-keys keys"`
}

type bigkey struct {
	Key    string  `json:"key" doc:"the key"`
	Node   string  `json:"node" doc:"name of the node that serves it"`
	Memory int64   `json:"memory_bytes" doc:"memory that it uses"`
	Shape  []int64 `json:"shape,omitempty" doc:"shape of the array; absent if the key no longer exists"`
	DType  string  `json:"dtype,omitempty" doc:"its dtype as numpy's descr; absent if the key no longer exists"`
}

const scanCount = 1000

func showBigkeys(ctx context.Context, s *session, p *printer, o bigkeysOptions) error {
	var mu sync.Mutex // guards r
	r := bigkeysReport{Keys: []bigkey{}, Cut: []string{}}
	failed := each(ctx, s.members, func(ctx context.Context, _ int, m *member) error {
		looked := 0
		for cursor := "0"; ; {
			keys, next, err := scan(ctx, m, cursor, o.match)
			if err != nil {
				return err
			}
			if looked+len(keys) > o.maxKeys {
				keys = keys[:o.maxKeys-looked]
			}
			found, err := memoryOf(ctx, m, keys)
			if err != nil {
				return err
			}
			looked += len(keys)
			mu.Lock()
			r.add(found, o.count)
			r.Looked += len(keys)
			if looked >= o.maxKeys && next != "0" {
				r.Cut = append(r.Cut, m.Label())
			}
			mu.Unlock()
			if cursor = next; cursor == "0" || looked >= o.maxKeys {
				return nil
			}
		}
	})
	slices.Sort(r.Cut)
	for i := range r.Keys {
		if meta, err := s.meta(ctx, r.Keys[i].Key); err == nil && meta != nil {
			r.Keys[i].Shape, r.Keys[i].DType = meta.shape, meta.dtype
		}
	}
	if err := p.show(r); err != nil {
		return err
	}
	return p.failures(failed)
}

// add adds keys and keeps the largest.
func (r *bigkeysReport) add(found []bigkey, count int) {
	r.Keys = append(r.Keys, found...)
	slices.SortFunc(r.Keys, func(a, b bigkey) int { return cmp.Or(cmp.Compare(b.Memory, a.Memory), cmp.Compare(a.Key, b.Key)) })
	r.Keys = r.Keys[:min(count, len(r.Keys))]
}

// scan returns the next keys of a node and the next cursor, which is 0 at the end.
func scan(ctx context.Context, m *member, cursor, match string) (keys []string, next string, err error) {
	args := []any{"SCAN", cursor, "COUNT", strconv.Itoa(scanCount)}
	if match != "" {
		args = append(args, "MATCH", match)
	}
	reply, err := m.do(ctx, args...).Slice()
	if err != nil {
		return nil, "", err
	}
	if len(reply) != 2 {
		return nil, "", fmt.Errorf("its answer to SCAN has %d elements instead of 2", len(reply))
	}
	all, _ := reply[1].([]any)
	for _, k := range all {
		keys = append(keys, fmt.Sprint(k))
	}
	return keys, fmt.Sprint(reply[0]), nil
}

// memoryOf returns the keys with the memory that they use. It leaves out keys that no longer exist.
func memoryOf(ctx context.Context, m *member, keys []string) (found []bigkey, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	p := m.client.Pipeline()
	cmds := make([]*redis.IntCmd, len(keys))
	for i, k := range keys {
		cmds[i] = p.MemoryUsage(ctx, k)
	}
	if _, err := p.Exec(ctx); err != nil && isConnectionError(err) {
		return nil, err
	}
	for i, cmd := range cmds {
		switch bytes, err := cmd.Result(); {
		case err == nil:
			found = append(found, bigkey{Key: keys[i], Node: m.Label(), Memory: bytes})
		case !errors.Is(err, redis.Nil) && rightsHint(err) != "":
			return nil, err
		}
	}
	return found, nil
}

func (r bigkeysReport) print(p *printer) {
	t := newTable("MEMORY", "NODE", "DTYPE", "SHAPE", "KEY")
	for _, k := range r.Keys {
		shape := ""
		if k.DType != "" {
			shape = shapeText(k.Shape)
		}
		t.add(size(k.Memory), text(k.Node), text(k.DType), text(shape), text(k.Key))
	}
	t.print(p)
	p.printf("\n%s scanned\n", plural(r.Looked, "key"))
	for _, name := range r.Cut {
		p.printf("%s has more keys: raise --max-keys to scan them all\n", name)
	}
}
