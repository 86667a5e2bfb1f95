package ndctl

import (
	"reflect"
	"strings"

	"github.com/spf13/cobra"
)

// jsonFields is the annotation of a command with the fields of its JSON, a line each: name, tab, meaning.
const jsonFields = "json"

// document notes the fields of a command's JSON, from the struct that it writes.
func document(c *cobra.Command, report any) *cobra.Command {
	var lines []string
	fieldsOf(reflect.TypeOf(report), "", func(name, doc string) { lines = append(lines, name+"\t"+doc) })
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[jsonFields] = strings.Join(lines, "\n")
	return c
}

// fieldsOf calls tell with each field of a struct, and of those in it.
func fieldsOf(t reflect.Type, prefix string, tell func(name, doc string)) {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		if t.Kind() == reflect.Slice {
			prefix += "[]"
		}
		fieldsOf(t.Elem(), prefix, tell)
		return
	case reflect.Struct:
	default:
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous {
			fieldsOf(f.Type, prefix, tell)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		if prefix != "" {
			name = prefix + "." + name
		}
		tell(strings.TrimPrefix(name, "."), f.Tag.Get("doc"))
		fieldsOf(f.Type, name, tell)
	}
}
