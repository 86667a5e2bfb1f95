package ndctl

import (
	"reflect"
	"strings"

	"github.com/spf13/cobra"
)

// jsonFields is the annotation of a command that lists the fields of its JSON, one per line: name,
// tab, meaning.
const jsonFields = "json"

// document annotates a command with the fields of its report, for docs/ndctl.md.
func document(c *cobra.Command, r report) *cobra.Command {
	var lines []string
	fieldsOf(reflect.TypeOf(r), "", func(name, doc string) { lines = append(lines, name+"\t"+doc) })
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[jsonFields] = strings.Join(lines, "\n")
	return c
}

// documentFlag adds the fields of the report that a command writes with a flag.
func documentFlag(c *cobra.Command, flag string, r report) *cobra.Command {
	lines := strings.Split(c.Annotations[jsonFields], "\n")
	fieldsOf(reflect.TypeOf(r), "", func(name, doc string) { lines = append(lines, name+"\twith "+flag+": "+doc) })
	c.Annotations[jsonFields] = strings.Join(lines, "\n")
	return c
}

// fieldsOf calls add for each field of a struct and of the structs in it.
func fieldsOf(t reflect.Type, prefix string, add func(name, doc string)) {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		if t.Kind() == reflect.Slice {
			prefix += "[]"
		}
		fieldsOf(t.Elem(), prefix, add)
		return
	case reflect.Struct:
	default:
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous {
			fieldsOf(f.Type, prefix, add)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		if prefix != "" {
			name = prefix + "." + name
		}
		add(strings.TrimPrefix(name, "."), f.Tag.Get("doc"))
		fieldsOf(f.Type, name, add)
	}
}
