package ndctl

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func aclCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "acl", Short: "Show and change users",
		Long: `Shows and changes the users of the cluster (CLUSTER ACL): all nodes have them, including nodes that join later, and they survive restarts. What a
node decides about a user by itself (ACL SETUSER) lasts until it restarts, or until the cluster decides about the same user again.`,
	}
	container(c)
	c.AddCommand(aclListCommand(a), aclSetCommand(a), aclDeleteCommand(a))
	return c
}

// userReport is a user, without the hashes of its passwords.
type userReport struct {
	Name      string `json:"name" doc:"name of the user"`
	Passwords int    `json:"passwords" doc:"number of its passwords"`
	Rules     string `json:"rules" doc:"its rules in the words of Redis' ACL, without passwords"`
}

type userReports []userReport

// parseUser reads a line of ACL LIST.
func parseUser(line string) (r userReport) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return userReport{Rules: line}
	}
	r.Name = words[1]
	var rules []string
	for _, word := range words[2:] {
		if strings.HasPrefix(word, "#") {
			r.Passwords++
			continue
		}
		rules = append(rules, word)
	}
	r.Rules = strings.Join(rules, " ")
	return r
}

func (all userReports) print(p *printer) {
	t := newTable("USER", "PASSWORDS", "RULES")
	for _, r := range all {
		t.add(text(r.Name), number(int64(r.Passwords)), text(r.Rules))
	}
	t.print(p)
}

func aclListCommand(a *app) *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "list", Short: "Show users", Args: cobra.NoArgs,
		Long:    "Shows the users of the cluster, or those in effect on one node: its own, the cluster's and those of its ACL file. It shows no passwords, only how many there are.",
		Example: "  ndctl acl list\n  ndctl acl list --node node2",
	}
	a.nodeFlag(c, &node, "show the users in effect on this node")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.withSession(c.Context(), func(s *session) error {
			m, words := s.self(), []string{"CLUSTER", "ACL", "LIST"}
			if node != "" {
				found, err := s.find(node)
				if err != nil {
					return err
				}
				m, words = found, []string{"ACL", "LIST"}
			}
			reports, err := users(c.Context(), m, words)
			if err != nil {
				return a.out.failures(nodeFailures{{m, err}})
			}
			if len(reports) == 0 && !a.out.json {
				a.out.printf("the cluster has no users of its own\n")
				return nil
			}
			return a.out.show(reports)
		})
	}
	return document(c, userReports{})
}

// users asks a node for users.
func users(ctx context.Context, m *member, words []string) (userReports, error) {
	lines, err := m.do(ctx, command(words)...).StringSlice()
	reports := userReports{}
	for _, line := range lines {
		reports = append(reports, parseUser(line))
	}
	return reports, err
}

const checkUsers = "ndctl acl list shows it, and repeating the change does no harm"

func aclSetCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "set [flags] NAME RULE...", Short: "Create or change a user of the cluster", Args: cobra.MinimumNArgs(1),
		Long: `Applies rules to a user of the cluster, in the words of Redis' ACL: on, off, ~PATTERN, %R~PATTERN, +command, -command, +@category, reset and so on. A user that does
not exist is created; it is off and may do nothing. Flags come before NAME, since rules may begin with a dash. A password never stands on the command
line, where other users of the machine see it: it comes from a file, and only its hash leaves this machine.`,
		Example: "  ndctl acl set --new-password-file app.secret app on '~app:*' +@read +np.set -@dangerous\n  ndctl acl set --yes app off",
	}
	file := c.Flags().String("new-password-file", "", "give the user the password in `FILE`, in place of those that it has; - reads standard input")
	yes := yesFlag(c)
	c.Flags().SetInterspersed(false)
	c.RunE = func(c *cobra.Command, args []string) error {
		name, rules := args[0], args[1:]
		for _, rule := range rules {
			switch {
			case strings.HasPrefix(rule, ">"), strings.HasPrefix(rule, "<"):
				return usageError("a password on the command line can be seen by others: give --new-password-file FILE instead of %.1s...", rule)
			case strings.HasPrefix(rule, "--"):
				return usageError("%s stands among the rules: flags come before NAME", rule)
			}
		}
		if *file != "" {
			hash, err := a.hashOfPassword(*file)
			if err != nil {
				return err
			}
			rules = append([]string{"resetpass", "#" + hash}, rules...)
		}
		if len(rules) == 0 {
			return usageError("acl set takes rules, or --new-password-file")
		}
		return a.withSession(c.Context(), func(s *session) error { return setUser(c.Context(), a, s, *yes, name, rules) })
	}
	return document(c, userReports{})
}

// hashOfPassword reads a password from a file, or from standard input, and returns its SHA-256 in hexadecimal digits.
func (a *app) hashOfPassword(file string) (string, error) {
	var content []byte
	var err error
	if file == "-" {
		content, err = io.ReadAll(a.prompt.in)
	} else {
		content, err = os.ReadFile(file)
	}
	password := strings.TrimRight(string(content), "\r\n")
	switch {
	case err != nil:
		return "", usageError("--new-password-file: %w", err)
	case password == "":
		return "", usageError("--new-password-file: there is no password in it")
	}
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:]), nil
}

// setUser applies rules to a user of the cluster, and shows what it has become.
func setUser(ctx context.Context, a *app, s *session, yes bool, name string, rules []string) error {
	m := s.self()
	before, err := users(ctx, m, []string{"CLUSTER", "ACL", "LIST"})
	if err != nil {
		return a.out.failures(nodeFailures{{m, err}})
	}
	shown := []string{}
	for _, rule := range rules {
		if strings.HasPrefix(rule, "#") {
			rule = "a new password"
		}
		shown = append(shown, rule)
	}
	question := fmt.Sprintf("Create the user %s on all nodes, with the rules: %s?", name, strings.Join(shown, " "))
	for _, u := range before {
		if u.Name == name {
			question = fmt.Sprintf("Change the user %s on all nodes? It has %s and the rules: %s\nIt gets, in addition: %s", name, plural(u.Passwords, "password"), u.Rules, strings.Join(shown, " "))
		}
	}
	if err := a.prompt.confirm(yes, question); err != nil {
		return err
	}
	if err := s.propose(ctx, m, checkUsers, command([]string{"CLUSTER", "ACL", "SETUSER", name}, rules...)...); err != nil {
		return a.out.failures(nodeFailures{{m, err}})
	}
	after, err := users(ctx, m, []string{"CLUSTER", "ACL", "LIST"})
	if err != nil {
		return a.out.failures(nodeFailures{{m, err}})
	}
	changed := userReports{}
	for _, u := range after {
		if u.Name == name {
			changed = append(changed, u)
		}
	}
	return a.out.show(changed)
}

func aclDeleteCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "delete NAME...", Short: "Delete users of the cluster", Args: cobra.MinimumNArgs(1),
		Long: `Deletes users of the cluster on all nodes, all that are named or none, and closes their connections. A user of the same name in the ACL file of a node is in effect there again; the default user
becomes the one that each node was started with.`,
		Example: "  ndctl acl delete app\n  ndctl acl delete app report --yes",
	}
	yes := yesFlag(c)
	c.RunE = func(c *cobra.Command, names []string) error {
		return a.withSession(c.Context(), func(s *session) error {
			question := fmt.Sprintf("Delete %s on all nodes: %s? Their connections are closed.", plural(len(names), "user"), strings.Join(names, ", "))
			if err := a.prompt.confirm(*yes, question); err != nil {
				return err
			}
			m := s.self()
			if err := s.propose(c.Context(), m, checkUsers, command([]string{"CLUSTER", "ACL", "DELUSER"}, names...)...); err != nil {
				return a.out.failures(nodeFailures{{m, err}})
			}
			a.out.printf("the cluster: OK\n")
			return nil
		})
	}
	return c
}
