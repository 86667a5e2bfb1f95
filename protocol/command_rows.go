package protocol

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ndring/ndring/protocol/resp"
)

// writeRow writes the ten fields of COMMAND's reply since Redis 7.0.
func writeRow(w *resp.Writer, row *Command) {
	w.Array(10)
	w.Text(row.full)
	w.Int(int64(row.Arity))
	flags := row.flagNames()
	w.Set(len(flags))
	for _, f := range flags {
		w.Simple(f)
	}
	w.Int(int64(row.Keys.First))
	w.Int(int64(row.Keys.Last))
	w.Int(int64(row.Keys.Step))
	categories := row.categories()
	w.Set(len(categories))
	for _, category := range categories {
		w.Simple("@" + category)
	}
	w.Set(len(row.Tips))
	for _, tip := range row.Tips {
		w.Text(tip)
	}
	writeKeySpecs(w, row)
	if len(row.Sub) == 0 {
		w.Set(0)
		return
	}
	w.Array(len(row.Sub)) // and not a set, as in Redis
	for _, sub := range row.Sub {
		writeRow(w, sub)
	}
}

func (c *Command) flagNames() (names []string) {
	for _, f := range flagNames {
		if c.Flags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// categories returns those of Redis' ACL, in its order.
func (c *Command) categories() (names []string) {
	for _, category := range []struct {
		name string
		in   bool
	}{
		{"keyspace", c.Group == groupGeneric},
		{"read", c.Flags&ReadOnly != 0},
		{"write", c.Flags&Write != 0},
		{"admin", c.Flags&Admin != 0},
		{"fast", c.Flags&Fast != 0},
		{"slow", c.Flags&Fast == 0},
		{"dangerous", c.Flags&Admin != 0},
		{"connection", c.Group == groupConnection},
		{"transaction", c.Group == groupTransactions},
	} {
		byGroup := category.name == "keyspace" || category.name == "connection" || category.name == "transaction"
		if byGroup && (c.Categories != nil || len(c.Sub) > 0) { // a container has nothing of its subcommands
			category.in = false
		}
		if category.in || slices.Contains(c.Categories, category.name) {
			names = append(names, category.name)
		}
	}
	return names
}

func writeKeySpecs(w *resp.Writer, row *Command) {
	if row.Keys.Step == 0 {
		w.Set(0)
		return
	}
	lastKey := row.Keys.Last
	if lastKey > 0 {
		lastKey -= row.Keys.First // Redis counts from the first key here
	}
	w.Set(1)
	w.Map(3)
	w.Text("flags")
	w.Set(len(row.KeyUse))
	for _, use := range row.KeyUse {
		w.Simple(use)
	}
	w.Text("begin_search")
	w.Map(2)
	w.Text("type")
	w.Text("index")
	w.Text("spec")
	w.Map(1)
	w.Text("index")
	w.Int(int64(row.Keys.First))
	w.Text("find_keys")
	w.Map(2)
	w.Text("type")
	w.Text("range")
	w.Text("spec")
	w.Map(3)
	w.Text("lastkey")
	w.Int(int64(lastKey))
	w.Text("keystep")
	w.Int(int64(row.Keys.Step))
	w.Text("limit")
	w.Int(0)
}

func writeDocs(w *resp.Writer, row *Command) {
	summary := row.Summary
	if row.Syntax != "" {
		summary = fmt.Sprintf("%s (%s %s)", summary, strings.ToUpper(strings.ReplaceAll(row.full, "|", " ")), row.Syntax)
	}
	fields := 3
	if len(row.Tips) > 0 {
		fields++
	}
	if len(row.Sub) > 0 {
		fields++
	}
	w.Text(row.full)
	w.Map(fields)
	for _, field := range [][2]string{{"summary", summary}, {"since", row.Since}, {"group", row.Group}} {
		w.Text(field[0])
		w.Text(field[1])
	}
	if len(row.Tips) > 0 {
		w.Text("tips")
		w.Array(len(row.Tips))
		for _, tip := range row.Tips {
			w.Text(tip)
		}
	}
	if len(row.Sub) > 0 {
		w.Text("subcommands")
		w.Map(len(row.Sub))
		for _, sub := range row.Sub {
			writeDocs(w, sub)
		}
	}
}
