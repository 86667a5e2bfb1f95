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
}

// Outcome is what became of a Write.
type Outcome struct {
	Done    bool // false: the condition did not hold
	Version Version
}

// Set does one write. It takes over the references of w.Value, whatever the outcome.
func (tx Tx) Set(w Write) Outcome {
	log := &tx.s.requests
	if w.RequestID != "" {
		if earlier, found := log.find(w.Key, w.RequestID, tx.now); found {
			w.Value.Release()
			return earlier
		}
	}
	outcome := tx.s.set(w, tx.now)
	if w.RequestID != "" {
		log.remember(w.Key, w.RequestID, tx.now, outcome)
	}
	return outcome
}

// SetAll does unconditional writes as one: no reader sees some of them without the others.
func (tx Tx) SetAll(writes []Write) {
	for _, w := range writes {
		tx.s.set(w, tx.now)
	}
}

func (s *Shard) set(w Write, now int64) Outcome {
	old := s.live(w.Key, now)
	if !w.holds(old) {
		w.Value.Release()
		return Outcome{}
	}
	s.seq++
	entry := &Entry{Value: w.Value, Version: Version{s.epoch, s.seq}, ExpireAt: w.Expiry.At, used: uint32(now / 1000)}
	if w.Expiry.Keep && old != nil {
		entry.ExpireAt = old.ExpireAt
	}
	if entry.expired(now) { // EXAT in the past: Redis deletes the key
		s.remove(string(w.Key))
		entry.Release()
	} else {
		s.put(string(w.Key), entry)
	}
	return Outcome{Done: true, Version: entry.Version}
}

func (w *Write) holds(old *Entry) bool {
	switch w.Condition {
	case IfMissing:
		return old == nil
	case IfPresent:
		return old != nil
	case IfVersion:
		return old != nil && old.Version == w.IfVersion
	}
	return true
}
