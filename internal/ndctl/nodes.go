package ndctl

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) nodesCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "nodes", Short: "List the nodes", Args: cobra.NoArgs,
		Long:    "Lists the nodes: where clients reach them, whether they answer, and what they have. The * is the node that was asked first.",
		Example: "  ndctl nodes\n  ndctl nodes --json | jq -r '.[] | select(.state != \"up\") | .name'",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.onCluster(c.Context(), func(v *view) error { return v.list(c.Context()) })
		},
	}
	return document(c, []nodeReport{})
}

type nodeReport struct {
	Name      string `json:"name" doc:"as its operator calls it; else the beginning of its id"`
	ID        string `json:"id" doc:"40 hexadecimal digits"`
	Address   string `json:"address" doc:"where clients reach it, by the listener that was asked; empty if they do not"`
	State     string `json:"state" doc:"up, down (it does not answer), denied (it does, but wants another password or user), loading, leaving, or waiting (not part of the cluster at the moment)"`
	Role      string `json:"role" doc:"leader, voter, or none: it follows without a vote"`
	Zone      string `json:"zone,omitempty" doc:"where it stands, if that was said"`
	Shards    int    `json:"shards" doc:"shards that it serves, or would if it were up"`
	Keys      *int64 `json:"keys" doc:"keys that it has; null if it does not answer"`
	Memory    *int64 `json:"memory_bytes" doc:"memory that it uses; likewise"`
	MaxMemory *int64 `json:"maxmemory_bytes" doc:"its limit, 0 for none; likewise"`
	Uptime    *int64 `json:"uptime_seconds" doc:"since when it runs; likewise"`
	Version   string `json:"version,omitempty" doc:"of ndring"`
	Error     string `json:"error,omitempty" doc:"why it does not answer"`
	asked     bool
}

func (v *view) list(ctx context.Context) error {
	infos, failed := v.infos(ctx, "INFO")
	reports := make([]nodeReport, len(v.nodes))
	for i, m := range v.nodes {
		reports[i] = v.node(m, infos[i], errorOf(failed, m))
	}
	if err := v.app.show(reports, func() { v.app.writeNodes(reports) }); err != nil {
		return err
	}
	return v.app.partial(failed)
}

func (v *view) node(m *member, i info, failed error) nodeReport {
	r := nodeReport{Name: m.label(), ID: m.ID, Address: m.address, Zone: m.Zone, State: "up", Role: "none", asked: m.self}
	for _, s := range v.told.Shards {
		if s.Primary == m.ID {
			r.Shards++
		}
	}
	switch {
	case m.ID == v.told.Leader && v.told.Quorum:
		r.Role = "leader"
	case slices.Contains(v.told.Voters, m.ID):
		r.Role = "voter"
	}
	if failed != nil {
		r.State, r.Error = absence(failed), words(failed)
		return r
	}
	switch {
	case i["cluster_waiting_for"] != "":
		r.State = "waiting"
	case i.number("loading") == 1:
		r.State = "loading"
	case m.Leaving:
		r.State = "leaving"
	}
	r.Keys, r.Memory, r.MaxMemory, r.Uptime = pointer(i.keys()), pointer(i.number("used_memory")), pointer(i.number("maxmemory")), pointer(i.number("uptime_in_seconds"))
	r.Version = i["ndring_version"]
	return r
}

func (a *app) writeNodes(all []nodeReport) {
	t := newTable("", "NAME", "ID", "ADDRESS", "STATE", "ROLE", "SHARDS", "KEYS", "MEMORY", "UP FOR", "VERSION")
	zoned := slices.ContainsFunc(all, func(r nodeReport) bool { return r.Zone != "" })
	if zoned {
		t.titles = append(t.titles, "ZONE")
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
			keys, memory = number(*r.Keys), sizeCell(*r.Memory)
			up = rightly(durationText(time.Duration(*r.Uptime) * time.Second))
		} else {
			version = "-"
		}
		row := []cell{text(mark), text(r.Name), text(short(r.ID)), text(address), tinted(state, r.State), text(strings.Replace(r.Role, "none", "-", 1)),
			number(int64(r.Shards)), keys, memory, up, text(version)}
		if zoned {
			row = append(row, text(r.Zone))
		}
		t.add(row...)
	}
	a.writeTable(t)
}
