package persistence

import "fmt"

// Recover gives the shard to h, as its files have it, and reports what it found. It must be called
// once, before any other method. An error means that the files could not be read, or not be cleaned
// up; in the first case all of them are as they were.
//
// After damage the caller must write a snapshot: it replaces the damaged files, which then go to
// the quarantine.
func (l *Log) Recover(h Handler) (*Report, error) {
	report, err := recovery{l}.run(h)
	if err == nil && l.disk.unread.Add(-1) == 0 {
		l.disk.identity.recordRecovery()
	}
	return report, err
}

// recovery reads the files of a shard, cleans them up, and makes its log ready for records.
type recovery struct {
	log *Log
}

func (r recovery) run(h Handler) (*Report, error) {
	files := r.log.reader
	if !files.listing.exists {
		report := files.missingFolder()
		if err := r.noteDamage(report); err != nil {
			return nil, err
		}
		r.beginEmpty(report)
		return report, nil
	}
	defer func() { files.listing = listing{} }()
	found, err := files.replay(h)
	if err != nil {
		return nil, err
	}
	if err := r.noteDamage(&found.report); err != nil {
		return nil, err
	}
	kept, err := cleanUp(found, r.log.folder)
	if err != nil {
		return nil, fmt.Errorf("cannot clean up after the recovery: %w", err)
	}
	r.adopt(found, &kept)
	return &found.report, nil
}

// noteDamage notes the damage of the report, and completes the report with what was noted earlier.
func (r recovery) noteDamage(report *Report) error {
	identity, shard := &r.log.disk.identity, r.log.shard
	if len(report.Damage) == 0 {
		report.Doubtful = identity.damaged(shard)
		return nil
	}
	report.Doubtful = true
	if err := identity.noteDamage(shard); err != nil {
		return fmt.Errorf("cannot note that the shard is damaged: %w", err)
	}
	return nil
}

// beginEmpty makes a log without files ready. It goes on behind the last record that it is known to have had.
func (r recovery) beginEmpty(report *Report) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = recordID{report.Epoch, report.Given}
	l.ready.Store(true)
}

// adopt takes over what was found. Sizes may be called meanwhile.
func (r recovery) adopt(found *replay, kept *keptFiles) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.durable, l.manifest = found.reached(), found.end, found.named
	l.epochs, l.time = found.epochs, found.report.Time
	l.commit, l.vouched = commitIndex{found.report.Commit, found.report.Commit}, found.listing.commit
	for _, s := range kept.segments {
		l.files.push(s)
	}
	if l.files.snapshot = kept.snapshot; kept.snapshot != nil {
		l.files.snapshotBytes.add(kept.snapshot.bytes)
	}
	l.blobs.adopt(kept.blobs)
	l.folder.adopt(kept.blobDir)
	l.ready.Store(true)
}
