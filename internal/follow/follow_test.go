package follow

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, other := filepath.Join(dir, "file"), filepath.Join(dir, "other")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(name, "one")
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	at := before.ModTime()
	for _, tc := range []struct {
		what   string
		change func() error
		same   bool
	}{
		{"nothing", func() error { return nil }, true},
		{"its size", func() error { put(name, "longer"); return os.Chtimes(name, at, at) }, false},
		{"its time", func() error { return os.Chtimes(name, at, at.Add(time.Second)) }, false},
		{"the file, with size and time as before", func() error {
			put(other, "longer")
			return errors.Join(os.Chtimes(other, at, at.Add(time.Second)), os.Rename(other, name))
		}, false},
		{"its absence", func() error { return os.Remove(name) }, false},
		{"nothing, while it is missing", func() error { return nil }, true},
		{"its return", func() error { put(name, "one"); return nil }, false},
	} {
		was := Look(name, "")
		if err := tc.change(); err != nil {
			t.Fatal(err)
		}
		if got := Look(name, "").Same(was); got != tc.same {
			t.Errorf("changed %s: the same: %v", tc.what, got)
		}
	}
	if Look(name).Same(nil) {
		t.Error("the state of a file is that of no file")
	}
}

// Of errors that follow one another only the first is passed on, and again the first after a success.
func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
		results := []error{nil, a, b, nil, c, c}
		began, calls, passed := time.Now(), 0, []error(nil)
		Until(ctx, time.Minute, func() error {
			if calls++; calls == len(results) {
				cancel()
			}
			return results[calls-1]
		}, func(err error) { passed = append(passed, err) })
		if !slices.Equal(passed, []error{a, c}) || calls != len(results) || time.Since(began) != time.Duration(len(results))*time.Minute {
			t.Errorf("%v after %d calls and %v", passed, calls, time.Since(began))
		}
	})
}
