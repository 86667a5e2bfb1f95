package node

import (
	"fmt"
	"log/slog"
	"math"

	"golang.org/x/sys/unix"
)

// Descriptors is how the file descriptors of a node are divided. Zero is no limit, or the default of the part.
type Descriptors struct {
	Clients    int // client connections: the upper bound of maxclients
	Links      int // inbound connections of other nodes, and the same number outbound
	Handshakes int // bus connections that have not identified themselves yet
	HTTP       int // connections to the HTTP port
}

// What a node reserves, whatever its limit is.
const (
	ownFiles        = 48 // standard streams, listeners, gossip, raft log, runtime, one to reject a client with
	diskFiles       = 64 // with a data folder, besides the log of each shard: unsynced blobs, snapshots, scrubbing
	leastLinks      = 24 // two peers with records, heartbeats, requests, raft, and up to 8 bulk connections
	leastHandshakes = 8
	leastHTTP       = 16
	leastClients    = 8
	leastShared     = 2*leastLinks + leastHandshakes + leastHTTP + leastClients
)

// useDescriptors raises the limit of open files to the hard limit and divides it. It lowers maxclients to what is left:
// clients must not use up the descriptors that the disk and the cluster need.
func useDescriptors(config *Config, log *slog.Logger) error {
	limit, err := fileLimit()
	if err != nil {
		log.Warn("cannot read the limit of open files", "err", err)
		return nil
	}
	config.Descriptors, err = divideFiles(limit, config)
	if err != nil {
		return err
	}
	if wanted := config.Server.MaxClients; wanted > config.Descriptors.Clients {
		config.Server.MaxClients = config.Descriptors.Clients
		log.Warn("maxclients lowered: disk and cluster need the other open files; raise the limit with ulimit -n, LimitNOFILE= or --ulimit nofile=",
			"maxclients", config.Server.MaxClients, "wanted", wanted, "limit", limit)
	}
	return nil
}

// fileLimit raises the limit of open files to the hard limit, and returns it.
func fileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil { // otherwise the soft limit remains
			limit = raised
		}
	}
	return int(min(limit.Cur, math.MaxInt32)), nil
}

// divideFiles divides the open files of a process among its nodes, and returns how each node divides its part.
func divideFiles(limit int, config *Config) (Descriptors, error) {
	nodes, kept := max(1, config.Dev), ownFiles
	if config.Dir != "" || config.Dev > 0 {
		kept += config.Shards + diskFiles
	}
	shared := limit/nodes - kept
	if shared < leastShared {
		return Descriptors{}, fmt.Errorf("the limit of open files is %d, but at least %d are needed (nodes: %d, shards: %d): raise it with ulimit -n, LimitNOFILE= or --ulimit nofile=",
			limit, nodes*(kept+leastShared), nodes, config.Shards)
	}
	d := Descriptors{
		Links:      min(max(shared/8, leastLinks), 1024),
		Handshakes: min(max(shared/32, leastHandshakes), 64),
		HTTP:       min(max(shared/32, leastHTTP), 256),
	}
	d.Clients = shared - 2*d.Links - d.Handshakes - d.HTTP
	return d, nil
}

// tooManyClients returns Redis' text if maxclients exceeds the file descriptors for clients, else an empty string.
func (c *Config) tooManyClients() string {
	if possible := c.Descriptors.Clients; possible > 0 && c.Server.MaxClients > possible {
		return fmt.Sprintf("The operating system is not able to handle the specified number of clients, try with %d", possible)
	}
	return ""
}
