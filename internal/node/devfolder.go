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

// devLock is a file in each of these folders that its process keeps locked.
const devLock = "lock"

// devFolder makes a temporary folder in parent, which is in use as long as the lock is held. It removes the folders of
// killed processes.
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

// lockFolder makes and locks the lock file. The file gets its name only when it is locked, so a folder without it is
// still being made.
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

// sweepDevFolders removes this user's folders whose process ended without removing them. It ignores what it cannot read.
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
			log.Warn("cannot remove the folder of an earlier --dev", "dir", filepath.Join(parent, e.Name()), "err", err)
			continue
		}
		log.Info("removed the folder of an earlier --dev that was killed", "dir", filepath.Join(parent, e.Name()))
	}
}

// abandoned reports whether name is a folder that only this user can write to, with a lock that no process holds.
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
