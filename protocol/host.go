package protocol

import (
	"crypto/tls"
	"fmt"
	"net"
)

// Host is the process that the server is a part of.
type Host interface {
	// Settings returns the settings that CONFIG shows.
	Settings() []Setting
	// ChangeSettings changes settings until the process ends, all of them or none. The error is a *SettingError.
	ChangeSettings([]Setting) error
	// Shutdown starts an orderly stop and does not wait for it.
	Shutdown(Shutdown)
}

// Shutdown says whether an orderly stop writes snapshots, with ShutdownNow added if it hands no shards over first.
type Shutdown int

// The kinds of shutdown.
const (
	ShutdownDefault Shutdown = iota // writes snapshots if there is a log or a save point
	ShutdownSave
	ShutdownNoSave

	ShutdownNow Shutdown = 1 << 8
)

// Save returns the kind without ShutdownNow.
func (s Shutdown) Save() Shutdown { return s &^ ShutdownNow }

// Now reports whether the stop skips the handover of shards.
func (s Shutdown) Now() bool { return s&ShutdownNow != 0 }

// Setting is a setting, as CONFIG shows it.
type Setting struct{ Name, Value string }

// SettingError says why a setting was not changed. Reason is empty for an unknown name; Reset is true if it
// was to be reset.
type SettingError struct {
	Name, Reason string
	Reset        bool
}

func (e *SettingError) Error() string {
	command := "CONFIG SET"
	if e.Reset {
		command = "CLUSTER CONFIG RESET"
	}
	if e.Reason == "" {
		return fmt.Sprintf("Unknown option or number of arguments for %s - '%.128s'", command, e.Name)
	}
	return fmt.Sprintf("%s failed (possibly related to argument '%.128s') - %s", command, e.Name, e.Reason)
}

// Listener is a socket that accepts clients. Other nodes know the same network by its name.
type Listener struct {
	net.Listener
	Name string
	TLS  *tls.Config // nil: clients do not speak TLS
}
