package ndctl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func certsCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "certs", Short: "Make and renew the certificates of a cluster",
		Long: `Makes all that a cluster needs to encrypt what its nodes and clients say: a CA, a certificate for each node and client, and the gossip key.
They are files in one folder, the set; no node is asked. Keep the set, and above all ca/ca.key, on a machine that is not a node: anyone with
that key can add a node to the cluster. Copy to each machine only the folder of its node.`,
	}
	container(c)
	c.AddCommand(certsInitCommand(a), certsNodeCommand(a), certsClientCommand(a), certsRenewCommand(a), certsShowCommand(a))
	return c
}

// setFlag adds --out, the folder of the set.
func setFlag(c *cobra.Command) *string {
	return c.Flags().String("out", "ndring-certs", "`FOLDER` of the set")
}

// daysFlag adds --days.
func daysFlag(c *cobra.Command, usual int, usage string) *int {
	return c.Flags().Int("days", usual, usage)
}

func checkDays(days int) error {
	if days < 1 || days > caDays {
		return usageError("--days must be from 1 to %d", caDays)
	}
	return nil
}

func certsInitCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "init", Short: "Make a CA, a gossip key and a cluster id, and certificates of nodes", Args: cobra.NoArgs,
		Long: `Makes a new set: a CA, a gossip key and a cluster id, and with --node the folders of nodes. The folder must be empty or missing. Certificates of nodes
name their cluster: new nodes bootstrap the cluster of their certificates. Make one set for each cluster. For a cluster that exists, give its id.`,
		Example: "  ndctl certs init --out certs --node node1=10.0.0.1 --node node2=10.0.0.2 --node node3=10.0.0.3,node3.example\n  ndctl certs init --cluster-id 92bc6c447f52f0270eee816809685500",
	}
	out := setFlag(c)
	cluster := c.Flags().String("cluster-id", "", "`ID` of the cluster, as ndctl status shows it (default: a new one)")
	nodes := c.Flags().StringArray("node", nil, "make the folder of a node too: `NAME[=HOST,...]`; repeatable")
	days := daysFlag(c, leafDays, "how long the certificates of the nodes are valid, in days")
	c.RunE = func(*cobra.Command, []string) error {
		if err := checkDays(*days); err != nil {
			return err
		}
		return makeSet(a, *out, *cluster, *nodes, *days)
	}
	return document(c, certReports{})
}

// makeSet makes a set beside its folder, so that the folder has all of it or nothing.
func makeSet(a *app, out, cluster string, nodes []string, days int) error {
	type wanted struct {
		name  string
		hosts []string
	}
	var all []wanted
	for _, given := range nodes {
		name, hosts, listed := strings.Cut(given, "=")
		w := wanted{name: name}
		if listed {
			w.hosts = strings.Split(hosts, ",")
		}
		if err := errors.Join(checkCertName(name), checkHosts(w.hosts)); err != nil {
			return usageError("--node %s: %w", given, err)
		}
		all = append(all, w)
	}
	if entries, err := os.ReadDir(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	} else if len(entries) > 0 {
		return failure("%s is not empty: nothing is replaced there. Choose another folder with --out; ndctl certs node adds nodes to a set", out)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(out)), 0o755); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(filepath.Clean(out)), ".new-certs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made) // of what is left after an error
	s, err := newCertSet(made, cluster)
	if err != nil {
		return err
	}
	for _, w := range all {
		if err := s.addNode(w.name, w.hosts, days); err != nil {
			return err
		}
	}
	if err := os.Rename(made, filepath.Clean(out)); err != nil {
		return err
	}
	s.dir = out
	reports, err := s.reports()
	if err != nil {
		return err
	}
	return a.showMade(s, reports)
}

func checkHosts(hosts []string) error {
	for _, host := range hosts {
		if err := checkHost(host); err != nil {
			return err
		}
	}
	return nil
}

func certsNodeCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "node NAME", Short: "Make the certificates of a node", Args: cobra.ExactArgs(1),
		Long: `Makes the folder of a node in the set, with all that the node needs: a certificate for its clients, which names its hosts, one for the other nodes,
which names the node and its cluster, the CA and the gossip key. NAME is the node's --node-id. HOST is a name or an address at which clients reach the node; localhost,
127.0.0.1 and ::1 are always among them.`,
		Example: "  ndctl certs node node4 --host 10.0.0.4,node4.example",
	}
	out := setFlag(c)
	hosts := c.Flags().StringSlice("host", nil, "`HOST`,... at which clients reach the node (default: its name)")
	days := daysFlag(c, leafDays, "how long the certificates are valid, in days")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if err := errors.Join(checkDays(*days), checkCertName(args[0]), checkHosts(*hosts)); err != nil {
			return err
		}
		return a.addToSet(*out, args[0], func(s *certSet) error { return s.addNode(args[0], *hosts, *days) })
	}
	return document(c, certReports{})
}

func certsClientCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "client NAME", Short: "Make the certificate of a client", Args: cobra.ExactArgs(1),
		Long: `Makes the folder of a client in the set, with the certificate by which it proves to nodes who it is (--tls-client-auth), and the CA by which it
recognizes them. It names no node, so nodes refuse it on the bus.`,
		Example: "  ndctl certs client training\n  ndctl --tls --cacert ca.crt --cert tls.crt --key tls.key status",
	}
	out := setFlag(c)
	days := daysFlag(c, leafDays, "how long the certificate is valid, in days")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if err := errors.Join(checkDays(*days), checkCertName(args[0])); err != nil {
			return err
		}
		return a.addToSet(*out, args[0], func(s *certSet) error { return s.addClient(args[0], *days) })
	}
	return document(c, certReports{})
}

// addToSet adds a folder to a set, and shows what was made.
func (a *app) addToSet(out, name string, add func(*certSet) error) error {
	s, err := openCertSet(out)
	if err != nil {
		return err
	}
	if err := add(s); err != nil {
		return err
	}
	reports, err := s.reportsOf(name)
	if err != nil {
		return err
	}
	return a.showMade(s, reports)
}

func certsRenewCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "renew [NAME...]", Short: "Renew certificates", ValidArgsFunction: completeSet,
		Long: `Gives the nodes and clients of a set, or those that are named, new certificates and keys for the same names and hosts, which are valid as long as those before
were. Copy them to the machines, over those that are there: running nodes read them again within about a second, and their connections stay. The CA is not renewed.`,
		Example: "  ndctl certs renew\n  ndctl certs renew node1 --days 90",
	}
	out := setFlag(c)
	days := daysFlag(c, 0, "how long the certificates are valid, in days (default: as long as before)")
	c.RunE = func(c *cobra.Command, names []string) error {
		if c.Flags().Changed("days") {
			if err := checkDays(*days); err != nil {
				return err
			}
		}
		return renewSet(a, *out, names, *days)
	}
	return document(c, certReports{})
}

func renewSet(a *app, out string, names []string, days int) error {
	s, err := openCertSet(out)
	if err != nil {
		return err
	}
	known, err := s.names()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = known
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return failure("%s has no folder %q; there are %s", out, name, strings.Join(known, ", "))
		}
	}
	reports := certReports{}
	for _, name := range names {
		if err := s.renew(name, days); err != nil {
			return err
		}
		of, err := s.reportsOf(name)
		if err != nil {
			return err
		}
		reports = append(reports, of...)
	}
	if len(reports) == 0 {
		return failure("%s has no nodes and no clients", out)
	}
	return a.out.show(reports)
}

func certsShowCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "show", Short: "Show the certificates of a set, and until when they are valid", Args: cobra.NoArgs,
		Long:    "Shows the certificates of a set. The exit code is 1 if one has expired or expires soon.",
		Example: "  ndctl certs show --out certs --warn 14",
	}
	out := setFlag(c)
	warn := c.Flags().Int("warn", 30, "fail if a certificate expires within this many days")
	c.RunE = func(*cobra.Command, []string) error {
		if _, err := os.Stat(filepath.Join(*out, clusterIDFile)); err != nil {
			_, err := openCertSet(*out)
			return err
		}
		reports, err := (&certSet{dir: *out}).reports() // the key of the CA need not be there
		if err != nil {
			return err
		}
		if err := a.out.show(reports); err != nil {
			return err
		}
		var soon []string
		for _, r := range reports {
			if r.DaysLeft <= *warn {
				soon = append(soon, r.File)
			}
		}
		if len(soon) > 0 {
			return errExpiry(soon, *warn)
		}
		return nil
	}
	return document(c, certReports{})
}

// completeSet suggests the names in a set.
func completeSet(c *cobra.Command, args []string, begun string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
	out, err := c.Flags().GetString("out")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := (&certSet{dir: out}).names() // there may be none
	for _, name := range names {
		if strings.HasPrefix(name, begun) && !slices.Contains(args, name) {
			all = append(all, name)
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// certReport is one certificate of a set.
type certReport struct {
	Name     string    `json:"name" doc:"name of the node or client; ca for the CA"`
	Use      string    `json:"use" doc:"ca, node (for its clients), bus (for other nodes) or client"`
	File     string    `json:"file" doc:"file with the certificate; the key is beside it"`
	Hosts    []string  `json:"hosts,omitempty" doc:"names and addresses that it is for"`
	Node     string    `json:"node_id,omitempty" doc:"id of the node that it names, for the bus"`
	Cluster  string    `json:"cluster_id,omitempty" doc:"id of the cluster that it names, for the bus"`
	From     time.Time `json:"from" doc:"when it becomes valid"`
	Until    time.Time `json:"until" doc:"when it expires"`
	DaysLeft int       `json:"days_left" doc:"full days until then; negative once it has expired"`
}

// certReports are certificates of a set.
type certReports []certReport

// reports describes all certificates of a set.
func (s *certSet) reports() (certReports, error) {
	all, err := s.reportsOf(caFolder)
	if err != nil {
		return nil, err
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		of, err := s.reportsOf(name)
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	return all, nil
}

// reportsOf describes the certificates of a folder.
func (s *certSet) reportsOf(name string) (all certReports, err error) {
	kinds := []string{tlsName, busName}
	if name == caFolder {
		kinds = []string{caFolder}
	}
	_, noNode := os.Stat(s.file(name, busName+".crt"))
	for _, kind := range kinds {
		file := s.file(name, kind+".crt")
		cert, err := readCert(file)
		if errors.Is(err, fs.ErrNotExist) && kind != caFolder {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := certReport{Name: name, Use: kind, File: file, Hosts: hostsOf(cert), From: cert.NotBefore, Until: cert.NotAfter, DaysLeft: daysLeft(cert.NotAfter, time.Now())}
		switch {
		case kind == tlsName && noNode == nil:
			r.Use = "node"
		case kind == tlsName:
			r.Use = "client"
		}
		r.Node, r.Cluster = describe(cert)
		all = append(all, r)
	}
	return all, nil
}

func (all certReports) print(p *printer) {
	t := newTable("NAME", "USE", "FOR", "FROM", "UNTIL", "DAYS")
	for _, r := range all {
		what := strings.Join(r.Hosts, ",")
		if r.Node != "" {
			what = "node " + r.Node[:min(8, len(r.Node))] + " of cluster " + r.Cluster[:min(8, len(r.Cluster))]
		}
		tint := plain
		if r.DaysLeft < 0 {
			tint = red
		}
		t.add(text(r.Name), text(r.Use), text(what), text(r.From.UTC().Format(time.DateOnly)), tinted(tint, r.Until.UTC().Format(time.DateOnly)), number(int64(r.DaysLeft)))
	}
	t.print(p)
}

// showMade shows what was made, and how nodes and clients use it.
func (a *app) showMade(s *certSet, made certReports) error {
	if err := a.out.show(made); err != nil || a.out.json {
		return err
	}
	a.out.printf("\ncluster %s, in %s\n", s.cluster, s.dir)
	nodes, others := 0, 0
	for _, r := range made {
		switch r.Use {
		case "bus":
			nodes++
		case "client":
			others++
		}
	}
	if nodes > 0 {
		a.out.printf(`
Copy the folder NAME of each node to its machine, as F below, for the node's user only, and give the node these flags:
  --node-id NAME --gossip-key-file F/gossip.key --bus-tls-cert F/bus.crt --bus-tls-key F/bus.key --bus-tls-ca F/ca.crt --tls-cert F/tls.crt --tls-key F/tls.key
Without the last two, clients connect without TLS.
`)
	}
	if others > 0 {
		a.out.printf("\nCopy the folder of the client to its machine, as F below: ndctl --tls --cacert F/ca.crt --cert F/tls.crt --key F/tls.key status\n")
	}
	if nodes+others == 0 {
		a.out.printf("\nNext: ndctl certs node NAME --host HOST,... --out %s, for each node\n", s.dir)
	}
	return nil
}
