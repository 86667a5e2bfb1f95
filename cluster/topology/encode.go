package topology

import (
	"encoding/json"
	"fmt"
)

// Encode returns the command as it is in the log: JSON, so people can read a log, and builds that know
// different fields can read each other's.
func (c Command) Encode() ([]byte, error) { return json.Marshal(c) }

// DecodeCommand reads what Command.Encode wrote. It does not validate the ops: Apply does.
func DecodeCommand(b []byte) (Command, error) {
	var c Command
	if err := json.Unmarshal(b, &c); err != nil {
		return Command{}, fmt.Errorf("topology: cannot decode the command: %w", err)
	}
	return c, nil
}

// Encode returns the topology as it is in a snapshot.
func (t *Topology) Encode() ([]byte, error) { return json.Marshal(t) }

// Decode reads what Topology.Encode wrote, and checks it: a damaged snapshot must not decide who serves what.
func Decode(b []byte) (*Topology, error) {
	t := &Topology{}
	if err := json.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("topology: cannot decode the snapshot: %w", err)
	}
	if t.Format > LatestFormat {
		return nil, fmt.Errorf("topology: cannot read the snapshot: %w: format %d", ErrFormat, t.Format)
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	return t, nil
}
