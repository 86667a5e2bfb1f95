package replica

// Progress is what another copy has acknowledged, as the primary sees it.
type Progress struct {
	Process Process
	ISR     bool   // it is in the ISR of the newest row
	Has     uint64 // seq up to which it has the log
}

// Progress returns how far the other copies are; nothing on a copy that does not lead.
func (c *primary) Progress() (all []Progress) {
	if !c.active {
		return nil
	}
	for i := range c.others {
		o := &c.others[i]
		all = append(all, Progress{o.process, o.isr, o.match})
	}
	return all
}
