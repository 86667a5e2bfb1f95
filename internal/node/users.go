package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/protocol"
)

// aclFile is the name of the ACL file; empty for none.
type aclFile string

func (f aclFile) read() (name, text string, err error) {
	if f == "" {
		return "", "", protocol.ErrNoACLFile
	}
	b, err := os.ReadFile(string(f))
	if err != nil {
		return "", "", fmt.Errorf("cannot read the ACL file: %w", err)
	}
	return string(f), string(b), nil
}

// write replaces the file. After a crash it has either the old text or the new one.
func (f aclFile) write(text string) (err error) {
	if f == "" {
		return protocol.ErrNoACLFile
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot write the ACL file: %w", err)
		}
	}()
	path, err := filepath.EvalSymlinks(string(f)) // a link stays one
	if err != nil {
		return err
	}
	old, err := os.Stat(path)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary.Name()))
		}
	}()
	_, err = temporary.WriteString(text)
	for _, step := range []func() error{func() error { return temporary.Chmod(old.Mode().Perm()) }, temporary.Sync} {
		if err == nil {
			err = step()
		}
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// clusterUsersFile keeps the users of the cluster in the data folder. Raft's log has them, too, but a node learns only from others how much of
// its log is decided, and must not serve clients without the users meanwhile.
const clusterUsersFile = "cluster-users.json"

// keptUsers is the content of that file: the parts of the topology that the users are in.
type keptUsers struct {
	Cluster  string                   `json:"cluster"`
	Recovery uint64                   `json:"recovery,omitempty"`
	Index    uint64                   `json:"index"`
	Users    map[string]topology.User `json:"users"`
}

// clusterUsers brings the users of the cluster to the server, and keeps them.
type clusterUsers struct {
	server *protocol.Server
	disk   *persistence.Disk // nil if nothing is kept
	log    *slog.Logger
	raft   *cluster.Cluster

	mu sync.Mutex // serializes apply
}

// open reads the ACL file and the users of the cluster as this node last knew them.
func (u *clusterUsers) open(server *protocol.Server, disk *persistence.Disk, log *slog.Logger) error {
	u.server, u.disk, u.log = server, disk, log
	if err := protocol.LoadUsers(server); err != nil && !errors.Is(err, protocol.ErrNoACLFile) {
		return err
	}
	if disk == nil {
		return nil
	}
	content, err := disk.Files().Load(clusterUsersFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var kept keptUsers
	if err == nil {
		err = json.Unmarshal(content, &kept)
	}
	if err != nil {
		return fmt.Errorf("cannot read the users of the cluster from the data folder (%s; the node gets them again from the cluster if you remove it, and serves clients without them until then): %w", clusterUsersFile, err)
	}
	protocol.ApplyUsers(server, &topology.Topology{Cluster: kept.Cluster, Recovery: kept.Recovery, Index: kept.Index, Users: kept.Users})
	return nil
}

func (u *clusterUsers) apply(t *topology.Topology) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !protocol.ApplyUsers(u.server, t) || u.disk == nil {
		return
	}
	content, err := json.Marshal(keptUsers{t.Cluster, t.Recovery, t.Index, t.Users})
	if err == nil {
		err = u.disk.Files().Save(clusterUsersFile, content)
	}
	if err != nil {
		u.log.Error("cannot keep the users of the cluster; if this node restarts now, it serves clients with the users that it had before, until it hears from the cluster", "err", err)
	}
}

// Users implements protocol.Cluster.
func (u *clusterUsers) Users() map[string]topology.User { return u.raft.Topology().Users }

// changeTries is how often a change of users is proposed while other clients change them, too.
const changeTries = 20

// ChangeUsers implements protocol.Cluster.
func (u *clusterUsers) ChangeUsers(ctx context.Context, change func(map[string]topology.User) ([]topology.Op, error)) error {
	for try := 1; ; try++ {
		t := u.raft.Topology()
		if t.Format < topology.Format3 {
			return protocol.ErrFormatTooOld
		}
		ops, err := change(t.Users)
		if err != nil {
			return err
		}
		errs, err := u.raft.Propose(ctx, topology.Command{Ops: ops})
		if err != nil {
			return err
		}
		u.apply(u.raft.Topology())
		failed, users := errors.Join(errs...), u.raft.Topology().Users
		switch {
		case failed == nil, done(ops, users): // also by a proposal that was sent again because its reply was lost
			return nil
		case !meanwhile(ops, users), try == changeTries:
			return failed
		}
	}
}

// meanwhile reports whether other users are there than those for which ops were made.
func meanwhile(ops []topology.Op, users map[string]topology.User) bool {
	return slices.ContainsFunc(ops, func(op topology.Op) bool { return users[op.Name].At != op.Base })
}

// done reports whether all users are as ops make them.
func done(ops []topology.Op, users map[string]topology.User) bool {
	return !slices.ContainsFunc(ops, func(op topology.Op) bool {
		u, known := users[op.Name]
		return known != (op.Kind == topology.UserSet) || u.Rules != op.Value
	})
}
