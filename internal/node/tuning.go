package node

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/ndring/ndring/cluster/topology"
)

// tuning is which value of each setting counts: that of the node's own CONFIG SET, else the cluster's, else the one that the node was started with.
type tuning struct {
	mu      sync.Mutex         // guards all below, and that Node.tune is done once at a time
	now     Config             // what counts
	own     map[string]string  // by CONFIG SET of this node, until its process ends or the cluster decides about the same name
	cluster *topology.Topology // that the cluster's were last taken from
	refused map[string]error   // those of the cluster that cannot be applied here, and why
}

func newTuning(config Config) tuning {
	return tuning{now: config, own: map[string]string{}, cluster: &topology.Topology{}, refused: map[string]error{}}
}

// perNode says why a setting cannot be the cluster's, though CONFIG SET changes it.
var perNode = map[string]string{
	"requirepass": "a password that all nodes keep would stand in plain text in the log and in the folder of each of them: " +
		"give it to each node with CONFIG SET, and with NDRING_REQUIREPASS for its next start",
}

// effective returns the configuration that counts.
func (n *Node) effective() Config {
	n.tuning.mu.Lock()
	defer n.tuning.mu.Unlock()
	return n.tuning.now
}

// adoptSettings takes over the cluster's settings. What the cluster has decided about a name since the last time is said to all nodes: what this one was told by itself before is over, even if the
// value is the one that the cluster had. An older topology than the last one changes nothing.
func (n *Node) adoptSettings(t *topology.Topology) {
	u := &n.tuning
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.cluster
	if t.Index <= was.Index {
		return
	}
	u.cluster = t
	if maps.Equal(t.SetAt, was.SetAt) {
		return
	}
	names := maps.Clone(was.SetAt) // a recovery may have taken the cluster back to before some of them
	if names == nil {
		names = map[string]uint64{}
	}
	maps.Copy(names, t.SetAt)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if t.SetAt[name] != was.SetAt[name] {
			n.adopt(name)
		}
	}
	n.tune()
}

// adopt takes over what the cluster has decided about one setting. The lock is held.
func (n *Node) adopt(name string) {
	u := &n.tuning
	delete(u.own, name)
	delete(u.refused, name)
	value, set := u.cluster.Settings[name]
	if !set {
		n.log.Info("the cluster has reset a setting: the node goes by what it was started with", "name", name)
		return
	}
	if err := checkAdoption(n.config, name, value); err != nil {
		u.refused[name] = err
		n.log.Warn("this node cannot apply a setting of the cluster, and goes on with its own", "name", name, "err", err)
		return
	}
	n.log.Info("the cluster has set a setting", "name", name, "value", value)
}

// checkAdoption returns why a setting of the cluster, which a node of another version may have checked, cannot be applied here.
func checkAdoption(config Config, name, value string) error {
	s, reason := changeable(name, map[string]bool{})
	switch {
	case perNode[name] != "":
		return errors.New(perNode[name])
	case s == nil && reason == "":
		return errors.New("this version has no such setting")
	case s == nil:
		return errors.New(reason)
	}
	if err := s.set(&config, value); err != nil {
		return err
	}
	if reason := config.tooManyClients(); reason != "" {
		return errors.New(reason)
	}
	return nil
}

// tune makes each setting count as it should. The lock is held.
func (n *Node) tune() {
	u := &n.tuning
	changed := u.now
	for _, s := range settings {
		if !s.live {
			continue
		}
		value := s.get(&n.config)
		if v, set := u.cluster.Settings[s.name]; set && u.refused[s.name] == nil {
			value = v
		}
		if v, set := u.own[s.name]; set {
			value = v
		}
		if s.get(&changed) == value {
			continue
		}
		if err := s.set(&changed, value); err != nil { // each was looked at before
			n.log.Error("a setting cannot be applied", "name", s.name, "err", err)
		}
	}
	if limit := changed.Server.Memory.Limit; limit != u.now.Server.Memory.Limit {
		warnOfMemory(n.log, n.config.Container, limit)
	}
	u.now = changed
	n.server.Reconfigure(changed.Server)
	n.level.Set(changed.LogLevel)
}

// settingsAside returns the settings of the cluster that do not count here: those in place of which CONFIG SET of this node does, and those that cannot be applied.
func (n *Node) settingsAside() (overridden, refused []string) {
	u := &n.tuning
	u.mu.Lock()
	defer u.mu.Unlock()
	for name := range u.own {
		if _, set := u.cluster.Settings[name]; set {
			overridden = append(overridden, name)
		}
	}
	slices.Sort(overridden)
	return overridden, slices.Sorted(maps.Keys(u.refused))
}
