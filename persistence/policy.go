package persistence

// policy decides what missing or damaged bytes of a log mean, for a start as for `ndring check`. It
// reads no file and changes none.
type policy struct {
	powerLoss bool     // the machine has restarted since the last use, which did not end cleanly: unsynced bytes may be missing
	wasClean  bool     // the last use synced everything
	mark      recordID // newest record that is known to survive a loss of power
}

// verdict is what a policy decides about a place in a log.
type verdict uint8

const (
	damaged  verdict = iota // no crash explains it: report it, and read on after it
	unsynced                // a loss of power took it: the log ends here, and what follows never counted
	torn                    // the last write did not finish: the log ends here
)

// mayLack reports whether a record, and all after it, may be missing without damage: power was
// lost, and no mark says that the record survived it.
func (p policy) mayLack(seq uint64) bool { return p.powerLoss && seq > p.mark.seq }

// record judges a record that is missing or damaged, with the seq that it should have.
func (p policy) record(seq uint64) verdict {
	if p.mayLack(seq) {
		return unsynced
	}
	return damaged
}

// tail judges damaged bytes with no record after them at the end of the newest segment.
func (p policy) tail() verdict {
	if p.wasClean {
		return damaged
	}
	return torn
}

// header judges a segment without a valid header that should begin with a seq. A new segment may
// lack it after a kill, if it is shorter than a header.
func (p policy) header(seq uint64, newest, short bool) verdict {
	v := p.record(seq)
	if newest && v == unsynced || newest && short && p.tail() == torn {
		return torn
	}
	return v
}
