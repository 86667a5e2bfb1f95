package node

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
)

// effectiveConfig is the configuration in effect. Each setting has one of three values: the one of this node's CONFIG
// SET, else the cluster's, else the one that the node was started with.
type effectiveConfig struct {
	started     Config // what the node was started with; mu guards its password, which may come from a file
	log         *slog.Logger
	level       *slog.LevelVar        // of log
	reconfigure func(protocol.Config) // applies the settings of the client server

	mu      sync.Mutex // guards all below, and serializes apply
	current Config
	own     map[string]string  // set by CONFIG SET on this node, until the process ends or the cluster decides the same name
	cluster *topology.Topology // the topology whose settings were applied last
	refused map[string]error   // cluster settings that cannot be applied here, and why
}

func newEffectiveConfig(config Config, log *slog.Logger, level *slog.LevelVar) *effectiveConfig {
	return &effectiveConfig{
		started: config, log: log, level: level, reconfigure: func(protocol.Config) {},
		current: config, own: map[string]string{}, cluster: &topology.Topology{}, refused: map[string]error{},
	}
}

// perNode gives the settings that CONFIG SET changes and the cluster must not have, and why.
var perNode = map[string]string{
	"requirepass": "the cluster would keep the password in plain text in the log and the data folder of every node: " +
		"set it on each node with CONFIG SET, and with NDRING_REQUIREPASS or NDRING_REQUIREPASS_FILE for its next start",
	"weight": "a weight that all nodes have changes nothing: set it on a node with CONFIG SET, and with NDRING_WEIGHT for its next start",
}

// config returns the configuration in effect.
func (e *effectiveConfig) config() Config {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current
}

// clusterSettings returns the settings of the topology that was applied last.
func (e *effectiveConfig) clusterSettings() map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cluster.Settings
}

// change applies changes of CONFIG SET: all of them, or none and a *protocol.SettingError.
func (e *effectiveConfig) change(changes []protocol.Setting) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	values, err := checkChanges(e.current, changes)
	if err != nil {
		return err
	}
	for _, v := range values {
		e.own[v.Name] = v.Value
	}
	e.apply()
	return nil
}

// replacePassword makes what a file holds the password of clients, also after CONFIG SET requirepass.
func (e *effectiveConfig) replacePassword(password string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.own, "requirepass")
	e.started.Server.Password = password
	e.apply()
}

// applyCluster applies the cluster's settings. A name that the cluster has decided since the last call overrides this
// node's CONFIG SET, even if its value has not changed. A topology older than the last one changes nothing.
func (e *effectiveConfig) applyCluster(t *topology.Topology) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := e.cluster
	if t.Index <= last.Index {
		return
	}
	e.cluster = t
	if maps.Equal(t.SetAt, last.SetAt) {
		return
	}
	names := maps.Clone(last.SetAt) // a recovery may have undone decisions
	if names == nil {
		names = map[string]uint64{}
	}
	maps.Copy(names, t.SetAt)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if t.SetAt[name] != last.SetAt[name] {
			e.decided(name)
		}
	}
	e.apply()
}

// decided notes what the cluster has decided about one setting. e.mu is held.
func (e *effectiveConfig) decided(name string) {
	delete(e.own, name)
	delete(e.refused, name)
	value, set := e.cluster.Settings[name]
	if !set {
		e.log.Info("the cluster has reset a setting; using the value that the node was started with", "name", name)
		return
	}
	if err := checkClusterSetting(e.started, name, value); err != nil {
		e.refused[name] = err
		e.log.Warn("cannot apply a cluster setting; keeping this node's value", "name", name, "err", err)
		return
	}
	e.log.Info("the cluster has set a setting", "name", name, "value", value)
}

// checkClusterSetting returns why a cluster setting cannot be applied here. A node of another version may have
// accepted it.
func checkClusterSetting(config Config, name, value string) error {
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

// apply puts the value in effect of each setting into effect. e.mu is held.
func (e *effectiveConfig) apply() {
	changed := e.current
	for _, s := range settings {
		if !s.live {
			continue
		}
		value := s.get(&e.started)
		if v, set := e.cluster.Settings[s.name]; set && e.refused[s.name] == nil {
			value = v
		}
		if v, set := e.own[s.name]; set {
			value = v
		}
		if s.get(&changed) == value {
			continue
		}
		if err := s.set(&changed, value); err != nil { // checked before
			e.log.Error("cannot apply a setting", "name", s.name, "err", err)
		}
	}
	if limit := changed.Server.Memory.Limit; limit != e.current.Server.Memory.Limit {
		warnOfMemory(e.log, e.started.Container, limit)
	}
	e.current = changed
	e.reconfigure(changed.Server)
	e.level.Set(changed.LogLevel)
}

// notInEffect returns the cluster settings that are not in effect here: overridden by this node's CONFIG SET, and refused
// because they cannot be applied.
func (e *effectiveConfig) notInEffect() (overridden, refused []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name := range e.own {
		if _, set := e.cluster.Settings[name]; set {
			overridden = append(overridden, name)
		}
	}
	slices.Sort(overridden)
	return overridden, slices.Sorted(maps.Keys(e.refused))
}
