package command

import (
	"fmt"
	"strings"

	"github.com/ndring/ndring/protocol/resp"
)

// WriteRow writes the ten fields that COMMAND has for a command since Redis 7.0.
func WriteRow(w *resp.Writer, row *Spec) {
	w.Array(10)
	w.Text(row.Full)
	w.Int(int64(row.Arity))
	flags := row.FlagNames()
	w.Set(len(flags))
	for _, f := range flags {
		w.Simple(f)
	}
	w.Int(int64(row.Keys.First))
	w.Int(int64(row.Keys.Last))
	w.Int(int64(row.Keys.Step))
	categories := row.ACLCategories()
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
	w.Array(len(row.Sub)) // an array, not a set, as in Redis
	for _, sub := range row.Sub {
		WriteRow(w, sub)
	}
}

func writeKeySpecs(w *resp.Writer, row *Spec) {
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

// WriteDocs writes the command's name and its entry of COMMAND DOCS.
func WriteDocs(w *resp.Writer, row *Spec) {
	summary := row.Summary
	if row.Syntax != "" {
		summary = fmt.Sprintf("%s (%s %s)", summary, strings.ToUpper(strings.ReplaceAll(row.Full, "|", " ")), row.Syntax)
	}
	fields := 3
	if len(row.Tips) > 0 {
		fields++
	}
	if len(row.Sub) > 0 {
		fields++
	}
	w.Text(row.Full)
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
			WriteDocs(w, sub)
		}
	}
}
