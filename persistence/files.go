package persistence

import (
	"fmt"
	"path"
	"strings"

	"github.com/ndring/ndring/persistence/vfs"
)

// MaxFile is the largest file that SaveFile keeps.
const MaxFile = 1 << 20 // bytes

// SaveFile keeps b under a name, in a folder of its own beside the shards, for who opened the disk. After a loss of power there is either b or what was there before.
func (d *Disk) SaveFile(name string, b []byte) error {
	file, err := d.filePath(name)
	if err != nil {
		return err
	}
	if len(b) > MaxFile {
		return fmt.Errorf("%s cannot be kept: it has %d bytes, the limit is %d", name, len(b), MaxFile)
	}
	d.saving.Lock()
	defer d.saving.Unlock()
	if !d.filesMade {
		if err := d.fs.Mkdir(path.Dir(file)); err != nil {
			return err
		}
		if err := d.fs.SyncDir(d.dir); err != nil {
			return err
		}
		d.filesMade = true
	}
	return vfs.WriteFile(d.fs, file, b)
}

// LoadFile returns what SaveFile has kept; the error is fs.ErrNotExist if there is nothing.
func (d *Disk) LoadFile(name string) ([]byte, error) {
	file, err := d.filePath(name)
	if err != nil {
		return nil, err
	}
	b, err := vfs.ReadFile(d.fs, file, MaxFile+1)
	if err == nil && len(b) > MaxFile {
		return nil, fmt.Errorf("%s has more than %d bytes: it was not written by this program", file, MaxFile)
	}
	return b, err
}

func (d *Disk) filePath(name string) (string, error) {
	odd := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", r) }
	if name == "" || name[0] == '.' || strings.HasSuffix(name, tempSuffix) || strings.ContainsFunc(name, odd) {
		return "", fmt.Errorf("%q is no name for a file: it may have a-z 0-9 - _ and dots within", name)
	}
	return path.Join(d.dir, filesDir, name), nil
}
