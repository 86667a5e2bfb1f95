package persistence

import (
	"errors"
	"path"

	"github.com/ndring/ndring/internal/uuid"
)

// ErrHasData is returned when a folder is to become one of another cluster and has shards.
var ErrHasData = errors.New("the data folder has data of its cluster")

// Incarnation returns the number of this start. It is higher than those before.
func (d *Disk) Incarnation() uint64 { return d.node.incarnation }

// Fresh reports whether the folder was made, or first used, by this start.
func (d *Disk) Fresh() bool { return d.fresh }

// Dir returns the path of the folder.
func (d *Disk) Dir() string { return d.dir }

// Store returns the id of the folder, by which its copies of shards are known.
func (d *Disk) Store() uuid.UUID { return d.node.store }

// Cluster returns the id of the cluster that the folder is of. A new folder has one that nobody else has.
func (d *Disk) Cluster() uuid.UUID {
	d.identity.Lock()
	defer d.identity.Unlock()
	return d.node.cluster
}

// HasData reports whether any shard has a file: each names the cluster.
func (d *Disk) HasData() bool {
	d.identity.Lock()
	defer d.identity.Unlock()
	return d.hasData
}

// SetCluster makes the folder one of a cluster, for good when it returns. A folder that has data of another one is not changed: ErrHasData.
func (d *Disk) SetCluster(cluster uuid.UUID) error {
	d.identity.Lock()
	defer d.identity.Unlock()
	if d.node.cluster == cluster {
		return nil
	}
	if d.hasData {
		return ErrHasData
	}
	before := d.node.cluster
	d.node.cluster = cluster
	if err := d.writeManifest(); err != nil {
		d.node.cluster = before
		return err
	}
	return nil
}

// Raft returns the id of the raft state that belongs to the folder; zero for none.
func (d *Disk) Raft() uuid.UUID {
	d.identity.Lock()
	defer d.identity.Unlock()
	return d.node.raft
}

// SetRaft notes for good when it returns which raft state belongs to the folder: a start that finds another one, or none, has lost it.
func (d *Disk) SetRaft(raft uuid.UUID) error {
	d.identity.Lock()
	defer d.identity.Unlock()
	before := d.node.raft
	d.node.raft = raft
	if err := d.writeManifest(); err != nil {
		d.node.raft = before
		return err
	}
	return nil
}

// RenewStore makes the folder another store, to which no raft state belongs. What is in its shards stays. No node runs on the folder.
func (d *Disk) RenewStore() error {
	d.identity.Lock()
	defer d.identity.Unlock()
	before := d.node
	d.node.store = uuid.New()
	d.node.raft = uuid.UUID{}
	if err := d.writeManifest(); err != nil {
		d.node = before
		return err
	}
	return nil
}

// bound reports whether the number of shards of a folder is for good: its node has been a member of a cluster, or a shard has files. A start that came to neither leaves no trace that the next
// one has to follow.
func (d *Disk) bound(m nodeManifest) (bool, error) {
	if !m.raft.IsZero() || d.options.IsMember != nil && d.options.IsMember(d) {
		return true, nil
	}
	shards, err := d.fs.List(path.Join(d.dir, shardsDir))
	if err != nil {
		return false, err
	}
	for _, s := range shards {
		files, err := d.fs.List(path.Join(d.dir, shardsDir, s.Name))
		if err != nil || len(files) > 0 {
			return true, err
		}
	}
	return false, nil
}
