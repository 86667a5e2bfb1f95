package persistence

import (
	"path"
	"strconv"
	"strings"
)

// chooseBase reads what a shard's manifest says before its records are read: the commit index, and
// whether the shard is an installed copy, beside which no other file counts. A manifest that cannot
// be read says nothing; checkManifest reports it.
func (r *Reader) chooseBase() {
	lines, err := readLines(r.fs, r.path(manifestName), "shard", maxManifest)
	if err != nil || lines["cluster"] != r.identity.Cluster().String() || lines["shard"] != strconv.Itoa(r.shard) {
		return
	}
	m := &shardManifest{cluster: r.identity.Cluster(), shard: r.shard, snapshot: lines["snapshot"], base: lines["base"] == "yes"}
	m.seq, _ = strconv.ParseUint(lines["seq"], 10, 64)
	m.commit, _ = strconv.ParseUint(lines["commit"], 10, 64)
	r.listing.commit = m.commit
	if m.base && r.listing.swap == nil {
		r.listing.keepBase(m)
	}
}

// interruptedSwap is an installed copy that counts, and those files of the copy before it that are
// still there.
type interruptedSwap struct {
	manifest *shardManifest
	temp     string // the name of the installed copy's file; empty if it has its last one already
	others   []string
}

// keepBase leaves only the installed copy in a listing.
func (l *listing) keepBase(m *shardManifest) {
	swap := &interruptedSwap{manifest: m}
	var base []fileInfo
	for _, s := range l.snapshots {
		if s.name == m.snapshot {
			base = append(base, s)
		} else {
			swap.others = append(swap.others, s.name)
		}
	}
	for _, s := range l.segments {
		swap.others = append([]string{s.name}, swap.others...) // the newest first
	}
	for i, name := range l.temps {
		if name != baseTempName(m.snapshot) {
			continue
		}
		if len(base) > 0 { // a snapshot of the own copy had the name
			base = nil
		}
		epoch, seq, _ := parseSnapshotName(strings.TrimSuffix(name, baseTempName("")))
		base = append(base, fileInfo{name: name, bytes: l.sizes[name], epoch: epoch, seq: seq})
		swap.temp = name
		l.temps = append(l.temps[:i:i], l.temps[i+1:]...)
		break
	}
	l.segments, l.snapshots, l.swap = nil, base, swap
}

// finishSwap lets an installed copy count as a log's own, if a crash has interrupted that.
func (c *cleaner) finishSwap() error {
	swap := c.found.listing.swap
	if swap == nil {
		return nil
	}
	if err := finishSwap(c.folder, swap.manifest, swap.temp, swap.others); err != nil {
		return err
	}
	if c.kept.snapshot != nil {
		c.kept.snapshot.name = path.Base(swap.manifest.snapshot)
	}
	return nil
}
