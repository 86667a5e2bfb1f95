package persistence

import (
	"fmt"
	"path"
	"strings"
	"sync"

	"github.com/ndring/ndring/persistence/vfs"
)

// MaxFile is the largest content that Files saves.
const MaxFile = 1 << 20 // bytes

// Files are small files of the cluster, in a folder beside the shards. They are not part of the
// format.
type Files struct {
	fs  vfs.FS
	dir string // the data folder

	mu   sync.Mutex // held by Save; guards all below
	made bool       // their folder exists
}

// Save replaces a file. After a loss of power it has either b or its former content.
func (f *Files) Save(name string, b []byte) error {
	file, err := f.path(name)
	if err != nil {
		return err
	}
	if len(b) > MaxFile {
		return fmt.Errorf("%s cannot be saved: it has %d bytes, the limit is %d", name, len(b), MaxFile)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.made {
		if err := f.fs.Mkdir(path.Dir(file)); err != nil {
			return err
		}
		if err := f.fs.SyncDir(f.dir); err != nil {
			return err
		}
		f.made = true
	}
	return vfs.WriteFile(f.fs, file, b)
}

// Load returns what Save has saved under a name; fs.ErrNotExist if that is nothing.
func (f *Files) Load(name string) ([]byte, error) {
	file, err := f.path(name)
	if err != nil {
		return nil, err
	}
	b, err := vfs.ReadFile(f.fs, file, MaxFile+1)
	if err == nil && len(b) > MaxFile {
		return nil, fmt.Errorf("%s has more than %d bytes: this program did not write it", file, MaxFile)
	}
	return b, err
}

func (f *Files) path(name string) (string, error) {
	odd := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", r) }
	if name == "" || name[0] == '.' || strings.HasSuffix(name, tempSuffix) || strings.ContainsFunc(name, odd) {
		return "", fmt.Errorf("%q is not a valid file name: use a-z 0-9 - _ and dots, not at the start", name)
	}
	return path.Join(f.dir, filesDir, name), nil
}
