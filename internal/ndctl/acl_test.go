package ndctl

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/redcon"
)

// usersNode is a node that records orders and has one user.
type usersNode struct {
	mu     sync.Mutex // guards orders
	orders []string
	reply  any
}

const hashOfSecret = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"

func (n *usersNode) answer(args []string) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch line := strings.Join(args, " "); {
	case strings.EqualFold(line, "CLUSTER TOPOLOGY"):
		return `{"cluster":"c1","self":"aa","leader":"aa","quorum":true,"nodes":[{"id":"aa","name":"n1","host":"10.0.0.1","port":7379,"up":true}],"shards":[{"epoch":1,"primary":"aa"}]}`
	case line == "CLUSTER ACL LIST":
		return []any{"user app on #" + hashOfSecret + " #" + hashOfSecret + " ~app:* resetchannels -@all +@read"}
	case line == "ACL LIST":
		return []any{"user default on nopass ~* &* +@all"}
	default:
		n.orders = append(n.orders, line)
		return n.reply
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	empty := filepath.Join(t.TempDir(), "empty")
	for file, text := range map[string]string{secret: "secret\n", empty: "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const app = "USER  PASSWORDS  RULES\napp           2  on ~app:* resetchannels -@all +@read\n"
	for _, tc := range []struct {
		args, in  string
		reply     any
		code      int
		out, said string
		order     string
	}{
		{args: "acl list", out: app},
		{args: "acl list --json", out: "[\n  {\n    \"name\": \"app\",\n    \"passwords\": 2,\n    \"rules\": \"on ~app:* resetchannels -@all +@read\"\n  }\n]\n"},
		{args: "acl list --node n1", out: "USER     PASSWORDS  RULES\ndefault          0  on nopass ~* &* +@all\n"},
		{args: "acl set --yes app on -@all (+get ~x)", out: app, order: "CLUSTER ACL SETUSER app on -@all (+get ~x)"},
		{args: "acl set --yes --new-password-file " + secret + " app on", out: app, order: "CLUSTER ACL SETUSER app resetpass #" + hashOfSecret + " on"},
		{args: "acl set --yes --new-password-file - app", in: "secret\n", out: app, order: "CLUSTER ACL SETUSER app resetpass #" + hashOfSecret},
		{args: "acl set --new-password-file " + secret + " app off", code: exitUsage,
			said: "Change the user app on all nodes? It has 2 passwords and the rules: on ~app:* resetchannels -@all +@read\nIt gets, in addition: resetpass a new password off"},
		{args: "acl set new on", code: exitUsage, said: "Create the user new on all nodes, with the rules: on?"},
		{args: "acl set --yes app >secret", code: exitUsage, said: "a password on the command line can be seen by others: give --new-password-file FILE instead of >..."},
		{args: "acl set app on --yes", code: exitUsage, said: "--yes stands among the rules: flags come before NAME"},
		{args: "acl set app", code: exitUsage, said: "acl set takes rules, or --new-password-file"},
		{args: "acl set --yes --new-password-file " + empty + " app", code: exitUsage, said: "--new-password-file: there is no password in it"},
		{args: "acl set --yes --new-password-file nosuch app", code: exitUsage, said: "--new-password-file: open nosuch"},
		{args: "acl set --yes app +nosuch", reply: errText("ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL"), code: exitFailure,
			said: "n1 (10.0.0.1:7379): ERR Error in ACL SETUSER modifier '+nosuch'", order: "CLUSTER ACL SETUSER app +nosuch"},
		{args: "acl delete app report --yes", out: "the cluster: OK\n", order: "CLUSTER ACL DELUSER app report"},
		{args: "acl delete app", code: exitUsage, said: "Delete 1 user on all nodes: app? Their connections are closed."},
	} {
		node := &usersNode{reply: tc.reply}
		if node.reply == nil {
			node.reply = redcon.SimpleString("OK")
		}
		r := runWith(t, map[string]string{"NDRING_ADDR": fakeServer(t, node.answer)}, tc.in, strings.Fields(tc.args)...)
		if r.code != tc.code || r.out != tc.out || !strings.Contains(r.err, tc.said) || strings.Contains(r.err, "secret\n") {
			t.Errorf("ndctl %s: %+v", tc.args, r)
		}
		if got := strings.Join(node.orders, "\n"); got != tc.order {
			t.Errorf("ndctl %s orders %q, want %q", tc.args, got, tc.order)
		}
	}
}
