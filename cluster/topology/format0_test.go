package topology

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

// testdata/format0.jsonl was written by the last program that knew no format: logs of clusters, each command with
// its refusals and a checksum of the topology that it came to, and the last command with the topology itself.
// The entries are still in the logs of clusters. They must come to the same topologies as when they were
// decided: otherwise nodes that start from a snapshot and nodes that replay the log differ.
func TestEntriesOfFormat0ComeToWhatTheyCameTo(t *testing.T) {
	f, err := os.Open("testdata/format0.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	logs, commands, refusals := 0, 0, 0
	topo := &Topology{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			checkSetFormat(t, topo)
			topo = &Topology{}
			logs++
			continue
		}
		var line struct {
			Command  json.RawMessage `json:"command"`
			Refused  []string        `json:"refused"`
			Sum      string          `json:"sum"`
			Topology json.RawMessage `json:"topology"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		c, err := DecodeCommand(line.Command)
		if err != nil {
			t.Fatal(err)
		}
		next, errs := topo.Apply(topo.Index+1, c)
		var refused []string
		for _, err := range errs {
			if err != nil {
				refusals++
			}
			refused = append(refused, text(err))
		}
		if errors.Join(errs...) == nil {
			refused = nil
		}
		b, _ := next.Encode()
		if !slices.Equal(refused, line.Refused) || fmt.Sprintf("%x", sha256.Sum256(b))[:16] != line.Sum || line.Topology != nil && string(line.Topology) != string(b) {
			t.Fatalf("log %d, entry %d: %s comes to %s, refusals %q, want %s, refusals %q", logs, next.Index, line.Command, b, refused, line.Topology, line.Refused)
		}
		if err := errors.Join(next.Check(), CheckStep(topo, next)); err != nil {
			t.Fatalf("log %d, entry %d: %v", logs, next.Index, err)
		}
		topo = next
		commands++
	}
	if lines.Err() != nil || logs != 6 || commands < 500 || refusals < 300 {
		t.Fatalf("%d logs with %d commands and %d refusals, %v", logs, commands, refusals, lines.Err())
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// checkSetFormat checks that a topology of format 0 goes on in the next format: no primary stops serving, and
// no epoch rises.
func checkSetFormat(t *testing.T, was *Topology) {
	t.Helper()
	is, errs := was.Apply(was.Index+1, Command{[]Op{{Kind: SetFormat, Format: Format1}}})
	if err := errors.Join(errs[0], is.Check(), CheckStep(was, is)); err != nil {
		t.Fatal(err)
	}
	for i, row := range is.Shards {
		if before := was.Shards[i]; row.Epoch != before.Epoch || row.Primary != before.Primary || row.Primary != "" && row.LeaderEpoch != before.Epoch {
			t.Fatalf("%+v became %+v", before, row)
		}
	}
	for _, n := range is.Nodes {
		if !n.Log {
			t.Fatalf("%s counts as a node without a log", n.ID)
		}
	}
	for _, format := range []int{Format0, Format1} {
		if _, errs := is.Apply(is.Index+1, Command{[]Op{{Kind: SetFormat, Format: format}}}); !errors.Is(errs[0], ErrStale) {
			t.Fatalf("format %d after format 1: %v", format, errs[0])
		}
	}
}

// What a later program wrote is refused, and changes nothing: this program cannot know what it means.
func TestALaterFormatIsRefused(t *testing.T) {
	topo := made(t, Shard{})
	for _, op := range []Op{
		{Kind: SetFormat, Format: LatestFormat + 1},
		{Kind: Create, Format: LatestFormat + 1, Cluster: "c", Shards: 16, Epoch: 1, Nodes: []Node{{ID: "a"}}},
		{Kind: ConfigSet, Name: "x", Format: LatestFormat + 1},
	} {
		for _, on := range []*Topology{topo, {}} {
			is, errs := on.Apply(9, Command{[]Op{op}})
			is.Index = on.Index
			if !errors.Is(errs[0], ErrFormat) || !same(is, on) {
				t.Errorf("%+v: %v", op, errs[0])
			}
		}
	}
	later := *topo
	later.Format = LatestFormat + 1
	b, _ := later.Encode()
	if _, err := Decode(b); !errors.Is(err, ErrFormat) {
		t.Errorf("a snapshot of a later format: %v", err)
	}
	if is, errs := later.Apply(9, Command{[]Op{{Kind: ConfigSet, Name: "x"}}}); !errors.Is(errs[0], ErrFormat) || len(is.Settings) > 0 {
		t.Errorf("an op on a topology of a later format: %v", errs[0])
	}
	if !errors.Is(later.Check(), ErrFormat) {
		t.Error("a topology of a later format passes Check")
	}
}

// A plan brings the topology to the format of the view before anything else, and never to one that is not known.
func TestThePlanSetsTheFormatFirst(t *testing.T) {
	topo := made(t, Shard{})
	topo.Format = Format0
	for i := range topo.Shards {
		topo.Shards[i].Relinquished = false
	}
	view := View{Format: LatestFormat + 5, Nodes: map[NodeID]Liveness{}}
	for _, n := range topo.Nodes {
		view.Nodes[n.ID] = Liveness{Alive: true, Incarnation: n.Incarnation + 1, Format: LatestFormat}
	}
	ops := topo.Plan(view)
	if len(ops) < 2 || ops[0].Kind != SetFormat || ops[0].Format != LatestFormat {
		t.Fatalf("%+v", ops)
	}
	is, errs := topo.Apply(2, Command{ops})
	if err := errors.Join(errors.Join(errs...), is.Check(), CheckStep(topo, is)); err != nil || is.Format != LatestFormat {
		t.Fatal(err)
	}
	if more := is.Plan(view); len(more) > 0 {
		t.Fatalf("%+v", more)
	}
}
