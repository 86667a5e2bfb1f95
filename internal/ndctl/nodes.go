package ndctl

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/view"
)

func nodesCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "nodes", Short: "List the nodes", Args: cobra.NoArgs,
		Long:    "Lists the nodes: their client addresses, whether they answer, and what they hold. The * marks the node that was asked first.",
		Example: "  ndctl nodes\n  ndctl nodes --json | jq -r '.[] | select(.state != \"up\") | .name'",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withSession(c.Context(), func(s *session) error { return showNodes(c.Context(), s, a.out) })
		},
	}
	return document(c, nodeReports{})
}

// defaultWeight is the weight of a node that is started without --weight.
const defaultWeight = 100

type nodeReports []nodeReport

type nodeReport struct {
	Name      string `json:"name" doc:"name that the operator gave the node, else the beginning of its id"`
	ID        string `json:"id" doc:"node id, 40 hexadecimal digits"`
	Address   string `json:"address" doc:"client address, for the listener that was asked; empty if clients of that listener cannot reach the node"`
	State     string `json:"state" doc:"up, down (it does not answer), denied (it requires another user or password), loading, leaving, draining (it gives its copies up and gets none), or waiting (it is not part of the cluster at the moment)"`
	Role      string `json:"role" doc:"leader, voter, or none for a non-voter"`
	Zone      string `json:"zone,omitempty" doc:"availability zone, if the node has one"`
	Weight    int    `json:"weight,omitempty" doc:"its weight for shares of the copies; absent if the node that was asked runs an earlier version"`
	Shards    int    `json:"shards" doc:"shards of which it is the primary, even while it is down"`
	Replicas  int    `json:"replicas" doc:"shards of which it has an in-sync copy and another node is the primary"`
	Learners  int    `json:"learners" doc:"shards whose copy on it catches up"`
	Behind    int    `json:"behind" doc:"shards of which it should have a clean in-sync copy and has none"`
	Lag       *int64 `json:"lag_bytes" doc:"bytes that it has sent to copies on other nodes and that these have not acknowledged; null if it does not answer"`
	Keys      *int64 `json:"keys" doc:"number of its keys; null if it does not answer"`
	Memory    *int64 `json:"memory_bytes" doc:"memory that it uses; null if it does not answer"`
	MaxMemory *int64 `json:"maxmemory_bytes" doc:"its memory limit, 0 for none; null if it does not answer"`
	Uptime    *int64 `json:"uptime_seconds" doc:"seconds since its start; null if it does not answer"`
	Version   string `json:"version,omitempty" doc:"version of ndring that it runs"`
	Error     string `json:"error,omitempty" doc:"why it does not answer"`
	asked     bool
}

func showNodes(ctx context.Context, s *session, p *printer) error {
	infos, failed := s.infos(ctx, "INFO")
	reports := make(nodeReports, len(s.members))
	for i, m := range s.members {
		reports[i] = newNodeReport(s.cluster, m, infos[i], failed.of(m))
	}
	if err := p.show(reports); err != nil {
		return err
	}
	return p.failures(failed)
}

func newNodeReport(c *view.Cluster, m *member, i info, failed error) nodeReport {
	r := nodeReport{Name: m.Label(), ID: string(m.ID), Address: m.address, Zone: m.Zone, Weight: m.Weight, State: "up", Role: "none", asked: m.self}
	copies := c.CopiesOf(m.ID)
	r.Shards, r.Replicas, r.Learners, r.Behind = copies.Primaries, copies.Replicas, copies.Learners, copies.Behind
	switch {
	case m.ID == c.Leader && c.Quorum:
		r.Role = "leader"
	case slices.Contains(c.Voters, m.ID):
		r.Role = "voter"
	}
	if failed != nil {
		r.State, r.Error = stateOf(failed), explain(failed)
		return r
	}
	switch {
	case i["cluster_waiting_for"] != "":
		r.State = "waiting"
	case i.number("loading") == 1:
		r.State = "loading"
	case m.Leaving:
		r.State = "leaving"
	case m.Draining:
		r.State = "draining"
	}
	r.Keys, r.Memory, r.MaxMemory, r.Uptime = pointer(i.keys()), pointer(i.number("used_memory")), pointer(i.number("maxmemory")), pointer(i.number("uptime_in_seconds"))
	r.Version, r.Lag = i["ndring_version"], pointer(i.number("repl_lag_bytes"))
	return r
}

func (all nodeReports) print(p *printer) {
	t := newTable("", "NAME", "ID", "ADDRESS", "STATE", "ROLE", "SHARDS", "REPLICAS", "BEHIND", "KEYS", "MEMORY", "UP FOR", "VERSION")
	zoned := slices.ContainsFunc(all, func(r nodeReport) bool { return r.Zone != "" })
	if zoned {
		t.titles = append(t.titles, "ZONE")
	}
	weighted := slices.ContainsFunc(all, func(r nodeReport) bool { return r.Weight != 0 && r.Weight != defaultWeight })
	if weighted {
		t.titles = append(t.titles, "WEIGHT")
	}
	for _, r := range all {
		mark, address, version := "", r.Address, r.Version
		if r.asked {
			mark = "*"
		}
		if address == "" {
			address = "-"
		}
		state := map[string]colour{"up": green, "down": red}[r.State]
		if state == plain {
			state = yellow
		}
		keys, memory, up := unknown, unknown, unknown
		if r.Keys != nil {
			keys, memory = number(*r.Keys), size(*r.Memory)
			up = rightAligned(view.Duration(time.Duration(*r.Uptime) * time.Second))
		} else {
			version = "-"
		}
		row := []cell{text(mark), text(r.Name), text(r.ID[:min(len(r.ID), 8)]), text(address), tinted(state, r.State), text(strings.Replace(r.Role, "none", "-", 1)),
			number(int64(r.Shards)), number(int64(r.Replicas)), number(int64(r.Behind)), keys, memory, up, text(version)}
		if zoned {
			row = append(row, text(r.Zone))
		}
		if weighted {
			row = append(row, number(int64(r.Weight)))
		}
		t.add(row...)
	}
	t.print(p)
}
