package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The folder of a --dev process is removed with the process, or at the latest when the next one starts. Other folders
// stay.
func TestFoldersOfKilledDevProcessesAreRemoved(t *testing.T) {
	t.Parallel()
	parent, elsewhere := t.TempDir(), t.TempDir()
	log := slog.New(slog.DiscardHandler)
	make := func() (string, *os.File) {
		t.Helper()
		dir, lock, err := devFolder(parent, log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { lock.Close() })
		if err := os.WriteFile(filepath.Join(dir, "data"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Base(dir), lock
	}
	living, _ := make()
	killed, lock := make()
	lock.Close() // as when a process ends

	target := filepath.Join(elsewhere, "target")
	for _, err := range []error{
		os.MkdirAll(target, 0o700), os.WriteFile(filepath.Join(target, devLock), nil, 0o600), os.WriteFile(filepath.Join(target, "precious"), nil, 0o600),
		os.Symlink(target, filepath.Join(parent, devPrefix+"link")),
		os.Mkdir(filepath.Join(parent, devPrefix+"young"), 0o700), // has no lock yet
		os.Mkdir(filepath.Join(parent, devPrefix+"linked"), 0o700), os.Symlink(filepath.Join(target, devLock), filepath.Join(parent, devPrefix+"linked", devLock)),
		os.Mkdir(filepath.Join(parent, devPrefix+"open"), 0o700), os.WriteFile(filepath.Join(parent, devPrefix+"open", devLock), nil, 0o600),
		os.Chmod(filepath.Join(parent, devPrefix+"open"), 0o777), // other users could write to it
		os.WriteFile(filepath.Join(parent, devPrefix+"file"), nil, 0o600),
		os.Mkdir(filepath.Join(parent, "other"), 0o700), os.WriteFile(filepath.Join(parent, "other", devLock), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	latest, _ := make()
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := []string{living, latest, devPrefix + "file", devPrefix + "link", devPrefix + "linked", devPrefix + "open", devPrefix + "young", "other"}
	slices.Sort(want)
	if slices.Sort(left); !slices.Equal(left, want) {
		t.Errorf("there are %q, not %q (killed was %s)", left, want, killed)
	}
	if _, err := os.Stat(filepath.Join(target, "precious")); err != nil {
		t.Error(err)
	}
}
