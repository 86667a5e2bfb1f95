package protocol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/pagetest"
	"github.com/ndring/ndring/protocol/command"
)

func TestPageOfCommandsIsTheTable(t *testing.T) { pagetest.Check(t, 1, "commands.md", markdownOfAll()) }

// markdownOfAll returns docs/commands.md.
func markdownOfAll() string {
	var b strings.Builder
	b.WriteString(`# Commands

Generated from the command table (` + "`protocol/commands.go`" + `) by ` + "`go test ./protocol -run Page -update`" + `. Commands that Redis has, too, work as Redis documents
them; ndring's own are described in [protocol.md](protocol.md). All keys of a command must be in one slot. Tips tell clients to which nodes a command
goes, and how to merge the replies of several nodes: see [Command tips](https://redis.io/docs/latest/develop/reference/command-tips/).
`)
	for _, group := range []struct{ name, title string }{
		{command.GroupArray, "Arrays"}, {command.GroupGeneric, "Keys"}, {command.GroupTransactions, "Transactions"}, {command.GroupConnection, "Connection"}, {command.GroupServer, "Server"}, {command.GroupCluster, "Cluster"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| command | what it does | flags | tips | since |\n| --- | --- | --- | --- | --- |\n", group.title)
		for _, row := range commands.Commands() {
			if row.Group != group.name {
				continue
			}
			if row.Handler != nil {
				b.WriteString(markdown(row))
			}
			for _, sub := range row.Sub {
				b.WriteString(markdown(sub))
			}
		}
	}
	return b.String()
}

func markdown(c *command.Spec) string {
	name := strings.ToUpper(strings.ReplaceAll(c.Full, "|", " "))
	call := strings.ReplaceAll(strings.TrimSpace(name+" "+c.Syntax), "|", "\\|")
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", call, c.Summary, strings.Join(c.FlagNames(), " "), strings.Join(c.Tips, " "), c.Since)
}
