package topology

import (
	"encoding/json"
	"fmt"
)

// Encode returns the command as it is in the log: JSON, so that a log can be read by people, and builds that know more fields get along.
func (c Command) Encode() ([]byte, error) { return json.Marshal(c) }

// DecodeCommand reads what Command.Encode wrote. What the ops say is judged by Apply.
func DecodeCommand(b []byte) (Command, error) {
	var c Command
	if err := json.Unmarshal(b, &c); err != nil {
		return Command{}, fmt.Errorf("topology: a command that cannot be read: %w", err)
	}
	return c, nil
}

// Encode returns the topology as it is in a snapshot.
func (t *Topology) Encode() ([]byte, error) { return json.Marshal(t) }

// Decode reads what Topology.Encode wrote. One that cannot be is an error: a damaged snapshot must not decide who serves what.
func Decode(b []byte) (*Topology, error) {
	t := &Topology{}
	if err := json.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("topology: a snapshot that cannot be read: %w", err)
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	return t, nil
}
