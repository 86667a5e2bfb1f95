package persistence

// cleaner brings a shard's files in line with what a replay has read: it truncates the log where it
// ends, quarantines what is damaged and removes what is superseded. At a start nothing else does.
type cleaner struct {
	found  *replay
	folder *folder
	kept   keptFiles

	removed bool // names of segments or snapshots are gone
}

// keptFiles are the files with which a log continues.
type keptFiles struct {
	segments []*segment
	snapshot *snapshotFile // nil for none
	blobs    []*blob
	blobDir  bool // the folder of blobs exists
}

// cleanUp cleans up after a replay and returns what is left.
func cleanUp(r *replay, f *folder) (keptFiles, error) {
	c := cleaner{found: r, folder: f}
	for _, step := range []func() error{c.cleanSegments, c.cleanSnapshots, c.finishSwap, c.cleanTemps, c.cleanBlobs, c.sync} {
		if err := step(); err != nil {
			return c.kept, err
		}
	}
	return c.kept, nil
}

// putAway quarantines a damaged file and removes any other.
func (c *cleaner) putAway(name string, damaged bool) error {
	if damaged {
		return c.quarantine(name)
	}
	return c.discard(name)
}

func (c *cleaner) quarantine(name string) error {
	c.removed = c.removed || isRecordFile(name)
	return c.folder.quarantine(name)
}

func (c *cleaner) discard(name string) error {
	c.removed = c.removed || isRecordFile(name)
	return c.folder.discard(name)
}

// sync makes sure that no segment or snapshot comes back after a loss of power: the log goes on
// without it, and a later start would take it for a part of that.
func (c *cleaner) sync() error {
	if !c.removed {
		return nil
	}
	return c.folder.syncRemoved()
}

func (c *cleaner) cleanSegments() error {
	all := c.found.listing.segments
	keep := len(all)
	if c.found.cut != nil {
		keep = c.found.cut.segment + 1
		if err := c.cutTail(); err != nil {
			return err
		}
		for _, s := range all[keep:] {
			c.found.report.Lost += s.bytes
			if err := c.quarantine(s.name); err != nil {
				return err
			}
		}
	}
	for _, s := range all[:c.found.obsolete] {
		if err := c.discard(s.name); err != nil {
			return err
		}
	}
	for _, t := range c.found.tails {
		all[t.segment].bytes = t.at
		if err := c.folder.truncate(all[t.segment].name, t.at); err != nil {
			return err
		}
	}
	for _, s := range all[c.found.obsolete:keep] {
		if err := c.cleanSegment(s); err != nil {
			return err
		}
	}
	return nil
}

// cutTail truncates the segment in which the log ends. A whole one that does not count at all is
// quarantined.
func (c *cleaner) cutTail() error {
	info := &c.found.listing.segments[c.found.cut.segment]
	whole := info.bytes >= fixedHeader
	info.bytes = c.found.cut.at
	if c.found.cut.at == 0 {
		return c.putAway(info.name, whole)
	}
	return c.folder.truncate(info.name, c.found.cut.at)
}

// cleanSegment keeps a segment that has records.
func (c *cleaner) cleanSegment(s fileInfo) error {
	damaged := c.found.damaged[s.name]
	switch {
	case c.found.dropped[s.name]:
		c.found.report.Lost += s.bytes
		return c.quarantine(s.name)
	case s.bytes == 0 && !damaged: // cutTail has removed it
		return nil
	case s.bytes == 0 || s.seq > c.found.report.Given && damaged:
		return c.quarantine(s.name)
	case s.seq > c.found.report.Given: // it has no record, and its name is the next segment's
		return c.discard(s.name)
	}
	c.kept.segments = append(c.kept.segments, &segment{name: s.name, first: s.seq, bytes: s.bytes, synced: s.bytes, damaged: damaged})
	return nil
}

func (c *cleaner) cleanSnapshots() error {
	for i := range c.found.listing.snapshots {
		s := &c.found.listing.snapshots[i]
		damaged := c.found.damaged[s.name]
		if s == c.found.snapshot {
			c.kept.snapshot = &snapshotFile{name: s.name, epoch: s.epoch, seq: s.seq, bytes: s.bytes, blobs: c.found.refs, damaged: damaged}
			continue
		}
		if err := c.putAway(s.name, damaged); err != nil {
			return err
		}
	}
	return nil
}

func (c *cleaner) cleanTemps() error {
	for _, name := range c.found.listing.temps {
		if err := c.discard(name); err != nil {
			return err
		}
	}
	return nil
}

// cleanBlobs keeps the blobs of values, those of records that were held back, and those to which the
// snapshot refers. A blob whose value such a record would replace has its value until that is
// decided.
func (c *cleaner) cleanBlobs() error {
	used := map[BlobID]*foundRecord{}
	for _, r := range c.found.pending {
		used[r.Blob] = r
	}
	for _, r := range c.found.left {
		used[r.Blob] = r
	}
	pinned := map[BlobID]bool{}
	for _, id := range c.found.refs {
		pinned[id] = true
	}
	for id, bytes := range c.found.listing.blobs {
		b := &blob{id: id, bytes: bytes, state: dead}
		if pinned[id] {
			b.pins = 1
		}
		name := blobName(id)
		switch record := used[id]; {
		case record != nil:
			b.state, b.crc, b.known = live, record.CRC, true
		case c.found.damaged[name] || !pinned[id]:
			// A lost record may have referred to it.
			if err := c.putAway(name, c.found.damaged[name] || len(c.found.report.Damage) > 0); err != nil {
				return err
			}
			continue
		}
		c.kept.blobs = append(c.kept.blobs, b)
	}
	_, err := c.folder.fs.List(c.folder.path(blobsDir))
	c.kept.blobDir = err == nil
	return nil
}
