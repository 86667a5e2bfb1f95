package node

import (
	"context"
	"net"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/screen"
	"github.com/ndring/ndring/internal/boottime"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/persistence/vfs"
)

// machine is what a node uses of the computer that it runs on: network, file system and clock. A simulation replaces
// it. The wall clock and timers are those of package time, which testing/synctest replaces.
type machine struct {
	listen    func(ctx context.Context, address string) (net.Listener, error)
	dial      func(ctx context.Context, network, address string) (net.Conn, error) // nil: as package bus dials
	gossip    func(bind string, port int) (screen.Network, error)                  // nil: as package cluster listens
	files     vfs.FS
	raft      func() cluster.RaftStores // nil: files in the data folder
	bootID    func() (string, error)
	monotonic func() int64 // in ns
}

// systemMachine is the computer that this process runs on.
func systemMachine() machine {
	return machine{
		listen: func(ctx context.Context, address string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", address)
		},
		files: vfs.OS{}, bootID: datafolder.BootID, monotonic: boottime.Now,
	}
}
