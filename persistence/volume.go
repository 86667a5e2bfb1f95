package persistence

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/persistence/vfs"
)

// volume syncs the whole file system at once, which for many files costs far less than a sync of
// each.
type volume struct {
	file    vfs.Volume
	onError func(error) // is called before sync returns an error

	syncing sync.Mutex    // held during a sync. It comes before the mu of any Log
	result  error         // of the last sync; guarded by syncing
	begun   atomic.Uint64 // syncs
	errors  atomic.Int64  // since the start
}

// sync makes everything written before the call survive a loss of power. The system reports an
// error once and does not say which file it concerns, so onError must treat every unsynced file as
// lost. Concurrent callers share one sync.
func (v *volume) sync() error {
	begun := v.begun.Load()
	v.syncing.Lock()
	defer v.syncing.Unlock()
	if v.begun.Load() > begun { // one began after this call, and has ended
		return v.result
	}
	v.begun.Add(1)
	v.result = v.file.Sync()
	if v.result != nil {
		v.errors.Add(1)
		v.onError(v.result)
	}
	return v.result
}

func (v *volume) close() error {
	if v.file == nil {
		return nil
	}
	return v.file.Close()
}

// replaceFiles replaces files in different folders; many of them with two syncs of the volume.
// Whatever happens, each has its former or its new content.
func replaceFiles(fs vfs.FS, v *volume, texts map[string][]byte) error {
	files := slices.Sorted(maps.Keys(texts))
	if len(files) < manyLogs {
		for _, name := range files {
			if err := vfs.WriteFile(fs, name, texts[name]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range files {
		if err := vfs.PrepareFile(fs, name, texts[name]); err != nil {
			return err
		}
	}
	if err := v.sync(); err != nil {
		return err
	}
	for _, name := range files {
		if err := fs.Rename(name+tempSuffix, name); err != nil {
			return err
		}
	}
	return v.sync()
}
