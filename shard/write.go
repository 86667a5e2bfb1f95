package shard

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

	entry *Entry // made of Key and Value, which it has taken over
}

// Outcome is what became of a Write.
type Outcome struct {
	Done    bool // false: the condition did not hold
	Version Version
}

// prepare makes the entry that the write is to store.
func (s *Shard) prepare(w *Write) {
	if w.entry == nil {
		w.entry = newEntry(s.store.pool, w.Key, &w.Value, s.clock())
	}
}

// Set does one write. It takes over the references of w.Value, whatever the outcome.
func (tx Tx) Set(w Write) Outcome {
	tx.s.prepare(&w)
	log := &tx.s.requests
	if w.RequestID != "" {
		if earlier, found := log.find(w.Key, w.RequestID, tx.now); found {
			w.entry.Release()
			return earlier
		}
	}
	outcome := tx.s.set(&w, tx.now)
	if w.RequestID != "" {
		log.remember(w.Key, w.RequestID, tx.now, outcome)
	}
	return outcome
}

// SetAll does unconditional writes as one: no reader sees some of them without the others.
func (tx Tx) SetAll(writes []Write) {
	for i := range writes {
		tx.s.prepare(&writes[i])
		tx.s.set(&writes[i], tx.now)
	}
}

func (s *Shard) set(w *Write, now int64) Outcome {
	old := s.live(w.Key, now)
	if !w.holds(old) {
		w.entry.Release()
		return Outcome{}
	}
	s.seq++
	version := Version{s.epoch, s.seq}
	at := w.Expiry.At
	if w.Expiry.Keep && old != nil {
		at = old.ExpireAt()
	}
	if at != 0 && now >= at { // EXAT in the past: Redis deletes the key
		s.remove(w.Key)
		w.entry.Release()
		return Outcome{Done: true, Version: version}
	}
	h := w.entry.head()
	h.version = version
	h.expireAt.Store(at)
	if old != nil {
		h.use.inherit(&old.head().use)
	}
	s.put(w.entry)
	return Outcome{Done: true, Version: version}
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
