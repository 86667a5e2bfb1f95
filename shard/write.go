package shard

import "github.com/ndring/ndring/persistence"

// Condition says when a write is done at all.
type Condition int

// The conditions that Redis' SET has, and IfVersion.
const (
	Always    Condition = iota
	IfMissing           // NX
	IfPresent           // XX
	IfVersion           // the stored version is exactly Write.IfVersion
)

// Expiry says what becomes of the time to live in a write.
type Expiry struct {
	Keep bool  // the old value's time to live stays
	At   int64 // Unix time in ms; 0 means never
}

// Write is one value on its way into a shard.
type Write struct {
	Key       []byte
	Value     Value
	Condition Condition
	IfVersion Version
	Expiry    Expiry
	RequestID string // "" or a name for this request, by which a repeat is known

	request requestKey // of Key and RequestID
	entry   *Entry     // made of Key and Value, which it has taken over
}

// Outcome is what became of a Write.
type Outcome struct {
	Done    bool // false: the condition did not hold
	Version Version
}

// prepare makes the entry that the write is to store. A large value comes to the disk here, before anybody has to wait for it. After an error the value's
// references are gone.
func (s *Shard) prepare(w *Write) error {
	if w.entry != nil {
		return nil
	}
	var blob persistence.BlobID
	err := s.store.mayWrite()
	if payload := w.Value.payloadBytes(); err == nil && s.logs && payload >= persistence.BlobBytes {
		blob, err = s.log.Stage(w.Value.payload(nil))
		err = s.store.noteWrite(err, true)
	}
	if err != nil {
		w.Value.Release()
		return err
	}
	w.entry = newEntry(s.store.pool, w.Key, &w.Value, blob, s.clock())
	return nil
}

// discard lets an entry go that was prepared, or was to come, and is not stored.
func (s *Shard) discard(e *Entry, staged bool) {
	if staged && e.blob() != 0 {
		s.log.Abandon(e.blob())
	}
	e.Release()
}

// Set does one write. It takes over the references of w.Value, whatever the outcome.
func (tx *Tx) Set(w Write) (Outcome, error) {
	if w.RequestID != "" && w.request == (requestKey{}) {
		w.request = requestOf(w.Key, w.RequestID)
	}
	if earlier, found := tx.answered(w.request); found {
		tx.s.letGo(&w)
		return earlier, nil
	}
	if err := tx.s.prepare(&w); err != nil {
		return Outcome{}, err
	}
	outcome := tx.set(&w)
	if !outcome.Done && w.RequestID != "" {
		tx.change(change{kind: persistence.Delete, answers: true, request: w.request})
	}
	return outcome, nil
}

// answered returns the outcome of an earlier request of the same name. What made it is in the log, but perhaps not synced yet: that has to come before the reply.
func (tx *Tx) answered(request requestKey) (outcome Outcome, found bool) {
	if request == (requestKey{}) {
		return outcome, false
	}
	if outcome, found = tx.answers[request]; !found {
		outcome, found = tx.s.requests.find(request, tx.now)
	}
	tx.repeats = tx.repeats || found
	return outcome, found
}

// letGo gives back what a write holds that is not to be done.
func (s *Shard) letGo(w *Write) {
	if w.entry != nil {
		s.discard(w.entry, true)
	} else {
		w.Value.Release()
	}
}

// SetAll does unconditional writes as one: no reader sees some of them without the others.
func (tx *Tx) SetAll(writes []Write) error {
	if err := tx.s.prepareAll(writes); err != nil {
		return err
	}
	for i := range writes {
		tx.set(&writes[i])
	}
	return nil
}

// prepareAll prepares all writes, or none.
func (s *Shard) prepareAll(writes []Write) error {
	for i := range writes {
		if err := s.prepare(&writes[i]); err != nil {
			for j := range writes {
				if j < i {
					s.discard(writes[j].entry, true)
				} else if j > i {
					writes[j].Value.Release()
				}
			}
			return err
		}
	}
	return nil
}

func (tx *Tx) set(w *Write) Outcome {
	var old *Entry
	if w.Condition != Always || w.Expiry.Keep {
		old = tx.live(w.Key)
	}
	if !w.holds(old) {
		tx.s.discard(w.entry, true)
		return Outcome{}
	}
	at := w.Expiry.At
	if w.Expiry.Keep && old != nil {
		at = old.ExpireAt()
	}
	if at != 0 && tx.now >= at { // EXAT in the past: Redis deletes the key
		tx.s.discard(w.entry, true)
		tx.change(change{kind: persistence.Delete, key: w.Key, request: w.request})
		return Outcome{Done: true, Version: Version{tx.s.epoch.Load(), tx.seq}}
	}
	h := w.entry.head()
	h.version = Version{tx.s.epoch.Load(), tx.seq + 1}
	h.expireAt = at
	tx.change(change{kind: persistence.Put, key: w.entry.Key(), entry: w.entry, requestID: w.RequestID, request: w.request})
	return Outcome{Done: true, Version: h.version}
}

func (w *Write) holds(old *Entry) bool {
	switch w.Condition {
	case IfMissing:
		return old == nil
	case IfPresent:
		return old != nil
	case IfVersion:
		return old != nil && old.Version() == w.IfVersion
	}
	return true
}
