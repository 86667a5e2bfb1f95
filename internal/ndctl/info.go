package ndctl

import (
	"context"
	"strconv"
	"strings"
)

// info is what INFO, or CLUSTER INFO, says, by field.
type info map[string]string

func parseInfo(text string) info {
	fields := info{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// number returns a field that is a number; 0 if it is not there.
func (i info) number(name string) int64 {
	n, _ := strconv.ParseInt(i[name], 10, 64)
	return n
}

// pointer returns the number as what JSON writes as null where there is none.
func pointer[T int64 | uint64](n T) *T { return &n }

// keys is how many keys there are.
func (i info) keys() int64 {
	for part := range strings.SplitSeq(i["db0"], ",") {
		if text, ok := strings.CutPrefix(part, "keys="); ok {
			n, _ := strconv.ParseInt(text, 10, 64)
			return n
		}
	}
	return 0
}

// ask returns what a node says of itself.
func (m *member) ask(ctx context.Context, command ...any) (info, error) {
	text, err := m.do(ctx, command...).Text()
	return parseInfo(text), err
}

// infos asks all nodes for what they say of themselves. Those that do not answer have said nothing.
func (v *view) infos(ctx context.Context, command ...any) ([]info, []failure) {
	all := make([]info, len(v.nodes))
	failed := each(ctx, v.nodes, func(ctx context.Context, i int, m *member) error {
		found, err := m.ask(ctx, command...)
		if err == nil {
			all[i] = found
		}
		return err
	})
	return all, failed
}
