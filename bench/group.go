package main

import (
	"fmt"
	"slices"
	"strings"
)

// group is the loads of one size, which share their stored arrays.
type group struct {
	data, keys int
	alone      bool // only one server runs at a time: together they would compete for processor cache and memory
	tls        bool
	loads      []load
}

func (o *options) groups() []group {
	all := []group{
		{data: 1 << 10, keys: 100_000}, {data: 16 << 10, keys: 20_000}, {data: 256 << 10, keys: 2048, alone: true},
		{data: 4 << 20, keys: 128, alone: true}, {data: 64 << 20, keys: 8, alone: true},
		{data: 1 << 10, keys: 100_000, tls: true}, {data: 256 << 10, keys: 2048, alone: true, tls: true}, {data: 64 << 20, keys: 8, alone: true, tls: true},
	}
	if o.smoke {
		all = []group{{data: 1 << 10, keys: 100}, {data: 256 << 10, keys: 4, alone: true}, {data: 1 << 10, keys: 100, tls: true}, {data: 256 << 10, keys: 4, alone: true, tls: true}}
	}
	for i := range all {
		all[i].loads = o.loadsOf(all[i])
	}
	if o.quick && !o.smoke {
		all = slices.Delete(all, 1, 2)
	}
	return all
}

// loadsOf returns the loads of a group.
func (o *options) loadsOf(g group) (loads []load) {
	many := 50
	if g.data == 64<<20 {
		many = 4 // fifty would have 3 GiB in transit
	}
	for _, op := range []string{"SET", "GET"} {
		for _, way := range [][2]int{{1, 1}, {many, 1}, {many, 16}} {
			if way[1] > 1 && g.data > 16<<10 || (o.quick || g.tls) && way[0] == 1 || o.quick && g.tls && way[1] > 1 {
				continue
			}
			l := load{Op: op, Data: g.data, Connections: way[0], Pipeline: way[1], Keys: g.keys, TLS: g.tls}
			if strings.Contains(l.String(), o.only) {
				loads = append(loads, l)
			}
		}
	}
	return loads
}

func (o *options) group(r *report, g group) error {
	a := newArray(g.data, g.keys)
	start := func(k kind) (*process, error) {
		p, err := k.start()
		if err != nil || !k.stores {
			return p, err
		}
		if err := p.fill(a); err != nil {
			p.stop()
			return nil, fmt.Errorf("%s, %s: %w", k.name, size(g.data), err)
		}
		return p, nil
	}
	kinds := r.kinds
	if g.tls {
		kinds = secureKinds(kinds)
	}
	running := make([]*process, len(kinds))
	if !g.alone {
		for i, k := range kinds {
			p, err := start(k)
			if err != nil {
				return err
			}
			defer p.stop()
			running[i] = p
		}
	}
	for range o.rounds {
		for i, k := range kinds {
			p := running[i]
			if g.alone {
				var err error
				if p, err = start(k); err != nil {
					return err
				}
			}
			err := o.loads(r, g, p, a)
			if g.alone {
				p.stop()
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
