package main

import (
	"bytes"
	"fmt"
	"html"
	"slices"
)

// Plots are groups of bars, one bar per server.

var colours = map[string]string{"ndring": "#1b6ca8", "redis": "#c0392b", "valkey": "#8e44ad", "memcached": "#27ae60", "null": "#95a5a6"}

type bars struct {
	title  string
	groups []string
	names  []string
	values map[string][]float64 // by name, one per group; 0: none
}

// plots draws the plots of a report, by name.
func (r *report) plots() map[string][]byte {
	all := map[string][]byte{}
	for _, op := range []string{"SET", "GET"} {
		rate := bars{title: op + ", MB/s, many connections", values: map[string][]float64{}}
		cpu := bars{title: op + ", seconds of the server's CPU per GB, many connections", values: map[string][]float64{}}
		for _, l := range r.loads {
			if l.Op != op || l.Connections == 1 || l.Pipeline > 1 || l.TLS {
				continue
			}
			for _, b := range []*bars{&rate, &cpu} {
				b.groups = append(b.groups, size(l.Data))
			}
			for _, k := range r.kinds {
				rate.add(k.name, r.of(l, k.name, func(s sample) float64 { return s.MB }).Median)
				cpu.add(k.name, r.of(l, k.name, cpuPerGB).Median)
			}
		}
		if len(rate.groups) > 0 {
			all["rate-"+op] = rate.svg()
			all["cpu-"+op] = cpu.svg()
		}
	}
	memory := bars{title: "process memory per stored byte, after 4 s of overwrites", values: map[string][]float64{}}
	for _, m := range r.memory {
		if name := size(m.Data); !slices.Contains(memory.groups, name) {
			memory.groups = append(memory.groups, name)
		}
		memory.add(m.server, m.Overwritten)
	}
	if len(memory.groups) > 0 {
		all["memory"] = memory.svg()
	}
	return all
}

func (b *bars) add(name string, value float64) {
	if !slices.Contains(b.names, name) {
		b.names = append(b.names, name)
	}
	b.values[name] = append(b.values[name], value)
}

func (b *bars) svg() []byte {
	const barWidth, gap, height, top, left = 26, 30, 240, 60, 20
	groupWidth := len(b.names)*barWidth + gap
	width := left + len(b.groups)*groupWidth + 20
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", max(width, 480), top+height+40)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="20" font-size="14">%s</text>`+"\n", left, html.EscapeString(b.title))
	for i, name := range b.names {
		fmt.Fprintf(&out, `<rect x="%d" y="30" width="10" height="10" fill="%s"/><text x="%d" y="39">%s</text>`+"\n", left+i*90, colours[name], left+14+i*90, name)
	}
	for g, group := range b.groups {
		most := 0.0 // of the group: sizes are not compared with one another
		for _, name := range b.names {
			if g < len(b.values[name]) {
				most = max(most, b.values[name][g])
			}
		}
		x := left + g*groupWidth
		for i, name := range b.names {
			if g >= len(b.values[name]) || b.values[name][g] == 0 {
				continue
			}
			v := b.values[name][g]
			h := int(v / most * (height - 20))
			fmt.Fprintf(&out, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`, x+i*barWidth, top+height-h, barWidth-3, h, colours[name])
			fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="middle" font-size="9">%.3g</text>`+"\n", x+i*barWidth+barWidth/2-1, top+height-h-3, v)
		}
		fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", x+len(b.names)*barWidth/2, top+height+16, group)
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}
