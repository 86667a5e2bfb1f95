package replica

// Flaws are rules that a copy leaves out. The zero value leaves out none. Only tests, and programs built with
// the tag flaws, set them: the simulator must find a schedule that breaks a check for each.
type Flaws struct {
	NoEpochCheck   bool // M1: frames of any epoch are taken
	NoLease        bool // R6: a primary always has the lease
	LeaseISROnly   bool // R6: a proposed member does not count for the lease
	NodeLease      bool // M5: a renewal is granted whatever the newest row says
	ReportAtStart  bool // M6: a new process reports at once, because it has heard nothing
	SilenceEpoch   bool // M6: silence counts by config epoch, while the lease counts by leader epoch
	ReportAlone    bool // M6: a member reports though its raft hears no leader
	BlameAlone     bool // R7: a primary removes members though its raft hears no leader
	IgnoreFailed   bool // R7: a member whose log fails is removed as late as one that is silent
	CommitUncut    bool // M4: a member makes visible what is committed before it has truncated
	ApplyEarly     bool // M4: a member makes visible what it receives
	NoTruncate     bool // M2: a member appends behind whatever it has
	StaleTruncate  bool // M1, M2: a member takes a TRUNCATE of any leader epoch
	ExpandEarly    bool // R5: a member is proposed before the no-op is committed
	OpenEarly      bool // R1: a primary opens before its no-op is committed
	OpenUnsealed   bool // R1: a primary does not wait for G in an unsealed leader epoch
	TransferOpen   bool // R8: a primary serves while it hands over
	AckEarly       bool // R3: a change is committed when the primary has it
	AckMajority    bool // R3: a change is committed when a majority has it
	AckAnyInc      bool // R4: an acknowledgement of any incarnation counts
	CommitISROnly  bool // R3: a proposed member does not count for the commit
	ShrinkEarly    bool // R3: a member counts no more as soon as its removal is proposed
	AckUnwritten   bool // M3: a member acknowledges before its log has the record
	DamagedReports bool // M7: a damaged copy reports before raft knows that it is damaged
	DropForgotten  bool // M8: a copy that was dropped grants renewals and acknowledges as one that never had anything
}

// flawsByName sets each flaw whose name is flawed. It runs once for each Copy.
func flawsByName(flawed func(name string) bool) Flaws {
	return Flaws{
		NoEpochCheck: flawed("noEpochCheck"), NoLease: flawed("noLease"), LeaseISROnly: flawed("leaseISROnly"),
		NodeLease: flawed("nodeLease"), ReportAtStart: flawed("reportAtStart"), SilenceEpoch: flawed("silenceEpoch"),
		ReportAlone: flawed("reportAlone"), BlameAlone: flawed("blameAlone"), IgnoreFailed: flawed("ignoreFailed"),
		CommitUncut: flawed("commitUncut"), ApplyEarly: flawed("applyEarly"),
		NoTruncate: flawed("noTruncate"), StaleTruncate: flawed("staleTruncate"), ExpandEarly: flawed("expandEarly"),
		OpenEarly: flawed("openEarly"), OpenUnsealed: flawed("openUnsealed"), TransferOpen: flawed("transferOpen"),
		AckEarly: flawed("ackEarly"), AckMajority: flawed("ackMajority"), AckAnyInc: flawed("ackAnyInc"),
		CommitISROnly: flawed("commitISROnly"), ShrinkEarly: flawed("shrinkEarly"), AckUnwritten: flawed("ackUnwritten"),
		DamagedReports: flawed("damagedReports"), DropForgotten: flawed("dropForgotten"),
	}
}
