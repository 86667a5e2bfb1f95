package topology

import (
	"cmp"
	"fmt"
	"slices"
)

// Check returns an error that names the first violated invariant of a topology. Without a cluster, the
// topology must be empty.
func (t *Topology) Check() error {
	if t.Cluster == "" {
		if len(t.Nodes) > 0 || len(t.Shards) > 0 || len(t.Users) > 0 || len(t.Settings) > 0 || len(t.SetAt) > 0 {
			return fmt.Errorf("topology: no cluster, but %d nodes, %d shards and %d settings", len(t.Nodes), len(t.Shards), max(len(t.Settings), len(t.SetAt)))
		}
		return nil
	}
	if err := CheckShards(len(t.Shards)); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	if t.Format < 0 || t.Format > LatestFormat {
		return fmt.Errorf("topology: %w: format %d", ErrFormat, t.Format)
	}
	if len(t.Nodes) == 0 || t.Replicas < 1 {
		return fmt.Errorf("topology: %d nodes, %d replicas", len(t.Nodes), t.Replicas)
	}
	for i, n := range t.Nodes {
		switch {
		case n.ID == "" || i > 0 && cmp.Compare(t.Nodes[i-1].ID, n.ID) >= 0:
			return fmt.Errorf("topology: node %d, %q, is not sorted after the node before it", i, n.ID)
		case n.State != Active && n.State != Leaving && (n.State != Draining || t.Format < Format2):
			return fmt.Errorf("topology: node %s is in the unknown state %q", n.ID, n.State)
		}
	}
	if t.Placement.At > t.Index || t.Format < Format2 && t.Placement != (Placement{}) {
		return fmt.Errorf("topology: format %d, entry %d: the placement is of entry %d", t.Format, t.Index, t.Placement.At)
	}
	for id := range t.Forgotten {
		if _, ok := find(t.Nodes, id); ok {
			return fmt.Errorf("topology: %s is both a member and forgotten", id)
		}
	}
	if err := t.checkSettings(); err != nil {
		return err
	}
	if t.Format < Format3 && len(t.Users) > 0 {
		return fmt.Errorf("topology: format %d has %d users", t.Format, len(t.Users))
	}
	if err := checkUsers(t.Users, t.Index); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	if t.Recovery > t.Index {
		return fmt.Errorf("topology: recovered by entry %d of %d", t.Recovery, t.Index)
	}
	for i, row := range t.Shards {
		if err := t.checkRow(row); err != nil {
			return fmt.Errorf("topology: shard %d: %w", i, err)
		}
		if err := row.checkCopies(t.Format); err != nil {
			return fmt.Errorf("topology: shard %d: %w", i, err)
		}
	}
	return nil
}

func (t *Topology) checkSettings() error {
	for name := range t.Settings {
		if t.SetAt[name] == 0 {
			return fmt.Errorf("topology: the setting %q was never set", name)
		}
	}
	for name, index := range t.SetAt {
		if name == "" || index == 0 || index > t.Index {
			return fmt.Errorf("topology: the setting %q was set by entry %d of %d", name, index, t.Index)
		}
	}
	return nil
}

func (t *Topology) checkRow(row Shard) error {
	if row.Epoch == 0 || row.Epoch > 2*maxFirstEpoch || row.EmptySince > row.Epoch {
		return fmt.Errorf("epoch %d, empty since epoch %d", row.Epoch, row.EmptySince)
	}
	if row.Primary != "" && !slices.Contains(row.ISR, row.Primary) {
		return fmt.Errorf("the primary %s is not in the ISR %v", row.Primary, row.ISR)
	}
	for _, list := range [][]NodeID{row.ISR, row.Assigned, row.Learners, row.Unclean, row.Wiped} {
		if !distinct(list) {
			return fmt.Errorf("duplicate node in %v", list)
		}
		for _, id := range list {
			if _, ok := find(t.Nodes, id); !ok {
				return fmt.Errorf("%s is not a member", id)
			}
		}
	}
	for _, id := range row.Learners {
		if slices.Contains(row.ISR, id) {
			return fmt.Errorf("%s is both a learner and in the ISR", id)
		}
	}
	return nil
}

// checkCopies checks what a row says about its copies and its last primary.
func (s Shard) checkCopies(format int) error {
	if format == Format0 {
		if s.LeaderEpoch != 0 || len(s.Unclean) > 0 || len(s.Wiped) > 0 || s.Lossy || s.Relinquished || s.Unsealed {
			return fmt.Errorf("a row of format 0 has fields of format 1: %+v", s)
		}
		return nil
	}
	switch {
	case s.LeaderEpoch > s.Epoch || s.Primary != "" && s.LeaderEpoch < max(s.EmptySince, 1):
		return fmt.Errorf("the leader epoch is %d in epoch %d, empty since %d", s.LeaderEpoch, s.Epoch, s.EmptySince)
	case !within(s.Unclean, s.ISR):
		return fmt.Errorf("the unclean members %v are not in the ISR %v", s.Unclean, s.ISR)
	case s.Primary != "" && slices.Contains(s.Unclean, s.Primary):
		return fmt.Errorf("the primary %s is unclean", s.Primary)
	case s.Lossy && len(s.Unclean) == 0:
		return fmt.Errorf("it is lossy, but no member is unclean")
	case s.Primary != "" && s.Relinquished:
		return fmt.Errorf("it is relinquished, but %s is the primary", s.Primary)
	case len(s.Wiped) > 0 && len(s.ISR) > 0:
		return fmt.Errorf("its last copies on %v were wiped, but there are copies on %v", s.Wiped, s.ISR)
	}
	return nil
}

// CheckStep returns an error that names the first change that no command can have made. Two invariants
// depend on it: I1, one primary per shard and epoch, and I7, one owner per slot and index. Both
// topologies must pass Check.
func CheckStep(was, is *Topology) error {
	if is.Index <= was.Index {
		return fmt.Errorf("topology: index %d after %d", is.Index, was.Index)
	}
	if was.Cluster == "" {
		return nil
	}
	if is.Cluster != was.Cluster || len(is.Shards) != len(was.Shards) || is.Replicas != was.Replicas {
		return fmt.Errorf("topology: cluster %s of %d shards became %s of %d", was.Cluster, len(was.Shards), is.Cluster, len(is.Shards))
	}
	if is.Format < was.Format || is.PossibleLosses < was.PossibleLosses {
		return fmt.Errorf("topology: format %d with %d possible losses after format %d with %d", is.Format, is.PossibleLosses, was.Format, was.PossibleLosses)
	}
	if is.Format > was.Format {
		was, _ = was.Apply(was.Index, Command{[]Op{{Kind: SetFormat, Format: is.Format}}})
	}
	for _, c := range Diff(was, is) {
		err := checkRowStep(c.Was, c.Is)
		if err == nil && is.Format > Format0 {
			err = checkCopiesStep(c.Was, c.Is)
		}
		if err != nil {
			return fmt.Errorf("topology: shard %d: %w", c.Shard, err)
		}
	}
	for _, c := range DiffNodes(was, is) {
		if err := checkStart(c, was, is); err != nil {
			return err
		}
		if err := checkProposalsEnd(c, was, is); err != nil {
			return err
		}
	}
	if err := checkUsersStep(was, is); err != nil {
		return err
	}
	return checkSettingsStep(was, is)
}

// checkSettingsStep checks that a setting changes only together with its SetAt: nodes look at nothing else
// to see what to apply.
func checkSettingsStep(was, is *Topology) error {
	for name, before := range was.SetAt {
		value, there := was.Settings[name]
		now, stays := is.Settings[name]
		switch at := is.SetAt[name]; {
		case at != before && at <= was.Index:
			return fmt.Errorf("topology: the setting %q was set by entry %d, and then by %d, which is older than %d", name, before, at, was.Index)
		case at == before && (value != now || there != stays):
			return fmt.Errorf("topology: the setting %q changed from %q to %q, but entry %d set it last", name, value, now, before)
		}
	}
	for name, at := range is.SetAt {
		if _, known := was.SetAt[name]; !known && at <= was.Index {
			return fmt.Errorf("topology: the setting %q cannot have been set by the old entry %d", name, at)
		}
	}
	return nil
}

func checkRowStep(was, is Shard) error {
	same := is.Primary == was.Primary && slices.Equal(is.ISR, was.ISR) && is.EmptySince == was.EmptySince
	switch {
	case is.Epoch < was.Epoch || is.EmptySince < was.EmptySince:
		return fmt.Errorf("epoch %d, empty since %d, after epoch %d, empty since %d", is.Epoch, is.EmptySince, was.Epoch, was.EmptySince)
	case is.Epoch == was.Epoch && !same:
		return fmt.Errorf("primary %q and ISR %v became %q and %v within epoch %d", was.Primary, was.ISR, is.Primary, is.ISR, is.Epoch)
	case is.EmptySince != was.EmptySince && is.EmptySince <= was.Epoch:
		return fmt.Errorf("it started empty in epoch %d, but was in epoch %d already", is.EmptySince, was.Epoch)
	}
	return nil
}

// checkCopiesStep checks what a row says about its copies and its last primary: it changes only with the epoch,
// and a leader epoch has one primary, which does not come back to it.
func checkCopiesStep(was, is Shard) error {
	same := is.LeaderEpoch == was.LeaderEpoch && slices.Equal(is.Unclean, was.Unclean) && is.Lossy == was.Lossy &&
		is.Relinquished == was.Relinquished && is.Unsealed == was.Unsealed && within(was.Learners, is.Learners) && within(is.Wiped, was.Wiped)
	switch {
	case is.Epoch == was.Epoch && !same:
		return fmt.Errorf("%+v became %+v within one epoch", was, is)
	case is.LeaderEpoch != was.LeaderEpoch && is.LeaderEpoch <= was.Epoch:
		return fmt.Errorf("leader epoch %d after leader epoch %d, in epoch %d", is.LeaderEpoch, was.LeaderEpoch, was.Epoch)
	case is.LeaderEpoch == was.LeaderEpoch && is.Primary != "" && is.Primary != was.Primary:
		return fmt.Errorf("leader epoch %d has two primaries, %q and %q", is.LeaderEpoch, was.Primary, is.Primary)
	}
	return nil
}

// checkProposalsEnd checks that whatever makes a proposal about a copy impossible ends the epoch in which it was
// made: the restart, the leaving and the forgetting of its node.
func checkProposalsEnd(c NodeChange, was, is *Topology) error {
	if is.Format == Format0 || c.Was.ID == "" || c.Is.ID != "" && c.Was.Incarnation == c.Is.Incarnation && c.Was.State == c.Is.State {
		return nil
	}
	for i, row := range was.Shards {
		if row.hasCopy(c.Was.ID) && is.Shards[i].Epoch == row.Epoch {
			return fmt.Errorf("topology: shard %d: a proposal about the copy of %s has no end in epoch %d", i, c.Was.ID, row.Epoch)
		}
	}
	return nil
}

// checkStart checks what a node loses by a restart: its primaries, because the new process must not act on
// what the old one was told, and with another data folder its copies.
func checkStart(c NodeChange, was, is *Topology) error {
	if c.Was.Incarnation == c.Is.Incarnation && c.Was.Store == c.Is.Store || c.Is.ID == "" {
		return nil
	}
	if last := max(c.Was.Incarnation, was.Forgotten[c.Is.ID]); c.Is.Incarnation < last {
		return fmt.Errorf("topology: %s went from incarnation %[3]d back to %[2]d", c.Is.ID, c.Is.Incarnation, last)
	}
	for i, row := range is.Shards {
		risen := row.Epoch > was.Shards[i].Epoch
		if row.Primary == c.Is.ID && !risen {
			return fmt.Errorf("topology: shard %d: %s still serves epoch %d after its restart", i, c.Is.ID, row.Epoch)
		}
		if c.Was.Store != c.Is.Store && slices.Contains(row.ISR, c.Is.ID) && !risen {
			return fmt.Errorf("topology: shard %d: %s has a copy in epoch %d from another data folder", i, c.Is.ID, row.Epoch)
		}
	}
	return nil
}
