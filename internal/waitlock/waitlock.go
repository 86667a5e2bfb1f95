// Package waitlock has a mutex for owners that wait for something while they hold it: a timer, or another goroutine. Those who
// wait for a sync.Mutex count as running in a bubble of testing/synctest, whose clock then stands still for ever if the owner
// sleeps. It costs several times as much as a sync.Mutex, and imports nothing of ndring.
package waitlock

// Lock is a mutex. New makes one.
type Lock struct{ owner chan struct{} }

// New returns a lock that no one holds.
func New() Lock { return Lock{make(chan struct{}, 1)} }

// Lock implements sync.Locker.
func (l Lock) Lock() { l.owner <- struct{}{} }

// TryLock takes the lock if no one holds it, and reports whether it did.
func (l Lock) TryLock() bool {
	select {
	case l.owner <- struct{}{}:
		return true
	default:
		return false
	}
}

// Unlock implements sync.Locker.
func (l Lock) Unlock() { <-l.owner }
