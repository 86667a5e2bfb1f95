package node

import (
	"fmt"
	"log/slog"
	"math"

	"golang.org/x/sys/unix"
)

// Descriptors says how many file descriptors there are for what. Zero is no limit, or the usual one.
type Descriptors struct {
	Clients    int // connections of clients, the most that maxclients may be
	Links      int // connections of other nodes that came in, and as many that go out
	Handshakes int // connections on the bus of which nobody knows yet whose they are
	HTTP       int // connections to the HTTP port
}

// What a node keeps back, whatever its limit is.
const (
	ownFiles     = 48 // standard streams, listeners, gossip, the log of raft, the runtime, one to refuse a client with
	diskFiles    = 64 // with a folder, beside the log of each shard: large values that are not synced yet, snapshots, what is read again
	leastLinks   = 8
	leastMeeting = 8
	leastHTTP    = 16
	leastClients = 8
	leastShared  = 2*leastLinks + leastMeeting + leastHTTP + leastClients
)

// useDescriptors raises the limit of open files as far as this process may, divides it, and lowers maxclients to what it leaves: clients must not take the files that the
// disk and the cluster need.
func useDescriptors(config *Config, log *slog.Logger) error {
	limit, err := fileLimit()
	if err != nil {
		log.Warn("the system does not say how many files this process may have open", "err", err)
		return nil
	}
	config.Descriptors, err = divideFiles(limit, config)
	if err != nil {
		return err
	}
	if wanted := config.Server.MaxClients; wanted > config.Descriptors.Clients {
		config.Server.MaxClients = config.Descriptors.Clients
		log.Warn("maxclients is lowered: the limit of open files leaves no more beside what the disk and the cluster need. Raise it with ulimit -n, LimitNOFILE= or --ulimit nofile=",
			"maxclients", config.Server.MaxClients, "wanted", wanted, "limit", limit)
	}
	return nil
}

// fileLimit returns how many files this process may have open, after raising that to the hard limit.
func fileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil { // else it stays as it is
			limit = raised
		}
	}
	return int(min(limit.Cur, math.MaxInt32)), nil
}

// divideFiles divides the files that a process may have open among its nodes, and in each among those who need them.
func divideFiles(limit int, config *Config) (Descriptors, error) {
	nodes, kept := max(1, config.Dev), ownFiles
	if config.Dir != "" || config.Dev > 0 {
		kept += config.Shards + diskFiles
	}
	shared := limit/nodes - kept
	if shared < leastShared {
		return Descriptors{}, fmt.Errorf("the limit of open files is %d, and %d are needed at least for %d nodes with %d shards each: raise it with ulimit -n, LimitNOFILE= or --ulimit nofile=",
			limit, nodes*(kept+leastShared), nodes, config.Shards)
	}
	d := Descriptors{
		Links:      min(max(shared/16, leastLinks), 1024),
		Handshakes: min(max(shared/32, leastMeeting), 64),
		HTTP:       min(max(shared/32, leastHTTP), 256),
	}
	d.Clients = shared - 2*d.Links - d.Handshakes - d.HTTP
	return d, nil
}

// tooManyClients returns why there cannot be so many clients, in Redis' words; empty if there can.
func (c *Config) tooManyClients() string {
	if possible := c.Descriptors.Clients; possible > 0 && c.Server.MaxClients > possible {
		return fmt.Sprintf("The operating system is not able to handle the specified number of clients, try with %d", possible)
	}
	return ""
}
