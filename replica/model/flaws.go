package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// flaws are the rules that a run leaves out. A rule that can be left out unnoticed is not checked,
// so the checks must catch each of them.
type flaws struct {
	// Rules that are easy to leave out or to misread.
	nodeLease     bool // M5: a node acknowledges a heartbeat as a whole, whatever it knows of the shard's epoch, unless it has reported that epoch
	reportAtStart bool // M6: a restarted member reports at once, because it has heard nothing
	silenceEpoch  bool // M6: silence counts per config epoch, while the lease counts per leader epoch
	commitUncut   bool // M4: a member makes visible what is committed before it has truncated
	joinQuiet     bool // the NodeJoin of a learner or a member raises no epoch
	memberInc     bool // Promote ignores the incarnation in a report; shows only together with joinQuiet
	noUnclean     bool // "unclean" stands in reports, not in the topology
	forgetUnclean bool // a second restart in the same boot takes the log for complete
	lastStartOnly bool // NodeJoin says which start of the folder was the last, not which starts raft may not know of
	replayAll     bool // recovery applies the whole log, not only what is known to be committed
	leaseISROnly  bool // R6: a proposed member counts for writes, but not yet for the lease
	ackAnyInc     bool // R4: an acknowledgement of an earlier process of a member counts
	expandEarly   bool // R5: a new primary proposes a member before it has committed its no-op
	// Rules that seem obvious.
	noEpochCheck     bool // M1
	noLease          bool // R6
	ackEarly         bool // R3: committed when the primary has it
	ackMajority      bool // R3: committed when a majority of the ISR has it
	promoteAny       bool // Promote: no member has to report
	commitISROnly    bool // R3: a proposed member counts only from when the primary learns of the new ISR
	shrinkEarly      bool // R3: a member stops counting as soon as its removal is proposed
	applyEarly       bool // M4: a member applies what it receives
	openEarly        bool // R1: a new primary serves before its no-op is committed
	noTruncate       bool // M2: a member appends behind whatever it has
	transferOpen     bool // R8: a primary serves while it hands over
	joinKeepsPrimary bool // NodeJoin: a restarted node is still the primary
	// What the rule for a primary alone in the maximal ISR adds.
	aloneAssumed bool // R3: a primary that started alone takes itself for alone until it learns of the expanded ISR, not only until it proposes it
	aloneSends   bool // R1: a primary that started alone sends and proposes without a no-op
}

// switches returns where each flaw is switched on.
func (f *flaws) switches() map[string]*bool {
	return map[string]*bool{
		"nodeLease": &f.nodeLease, "reportAtStart": &f.reportAtStart, "silenceEpoch": &f.silenceEpoch, "commitUncut": &f.commitUncut,
		"joinQuiet": &f.joinQuiet, "memberInc": &f.memberInc, "noUnclean": &f.noUnclean, "forgetUnclean": &f.forgetUnclean,
		"replayAll": &f.replayAll, "lastStartOnly": &f.lastStartOnly, "leaseISROnly": &f.leaseISROnly, "ackAnyInc": &f.ackAnyInc, "expandEarly": &f.expandEarly,
		"noEpochCheck": &f.noEpochCheck, "noLease": &f.noLease, "ackEarly": &f.ackEarly, "ackMajority": &f.ackMajority,
		"promoteAny": &f.promoteAny, "commitISROnly": &f.commitISROnly, "shrinkEarly": &f.shrinkEarly, "applyEarly": &f.applyEarly,
		"openEarly": &f.openEarly, "noTruncate": &f.noTruncate, "transferOpen": &f.transferOpen, "joinKeepsPrimary": &f.joinKeepsPrimary,
		"aloneAssumed": &f.aloneAssumed, "aloneSends": &f.aloneSends,
	}
}

// parseFlaws reads names with commas between them.
func parseFlaws(names string) (flaws, error) {
	var f flaws
	all := f.switches()
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return r == ',' }) {
		on := all[name]
		if on == nil {
			return flaws{}, fmt.Errorf("there is no flaw %q; the flaws are %s", name, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
		}
		*on = true
	}
	return f, nil
}
