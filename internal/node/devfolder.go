package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// devPrefix begins the names of the temporary folders of --dev.
const devPrefix = "ndring-dev-"

// devLock is a file in each of them that its process holds locked for as long as it lives.
const devLock = "lock"

// devFolder makes a temporary folder in parent, which stays as long as the lock is held, and
// removes those of processes that were killed.
func devFolder(parent string, log *slog.Logger) (dir string, lock *os.File, err error) {
	sweepDevFolders(parent, log)
	if dir, err = os.MkdirTemp(parent, devPrefix); err != nil {
		return "", nil, err
	}
	if lock, err = lockFolder(dir); err != nil {
		os.RemoveAll(dir)
		return "", nil, err
	}
	return dir, lock, nil
}

// lockFolder makes the lock, which has its name only once it is held: a folder without one is being
// made.
func lockFolder(dir string) (*os.File, error) {
	path := filepath.Join(dir, devLock)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweepDevFolders removes this user's folders whose process has ended without doing so. What it
// cannot look at it leaves alone.
func sweepDevFolders(parent string, log *slog.Logger) {
	root, err := os.OpenRoot(parent)
	if err != nil {
		return
	}
	defer root.Close()
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), devPrefix) || !abandoned(root, e.Name()) {
			continue
		}
		if err := root.RemoveAll(e.Name()); err != nil {
			log.Warn("the folder of an earlier --dev cannot be removed", "dir", filepath.Join(parent, e.Name()), "err", err)
			continue
		}
		log.Info("the folder of an earlier --dev, which was killed, is removed", "dir", filepath.Join(parent, e.Name()))
	}
}

// abandoned reports whether name is a folder of this user's, into which no other user can have put
// anything, with a lock that no process holds.
func abandoned(root *os.Root, name string) bool {
	info, err := root.Lstat(name)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return false
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
		return false
	}
	f, err := root.OpenFile(filepath.Join(name, devLock), os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
