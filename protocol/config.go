package protocol

import (
	"time"

	"github.com/ndring/ndring/shard"
)

// Config says how a Server behaves. NewServer gives zero values the defaults that are named; Reconfigure takes them as they are.
type Config struct {
	MaxArrayBytes     int64         // bytes of data of one array or part; default 512 MiB
	MaxUploadBytes    int64         // bytes of all commands on their way in; default 1 GiB. More wait, then get BUSY
	MinUploadRate     int64         // bytes a second: a slower upload is cut off when others wait for room; default 256 KiB
	UploadWait        time.Duration // how long a command waits for room among the uploads; default 10 s
	UploadStall       time.Duration // longest silence within a command; default 30 s. Then the connection is closed
	MaxReplyBytes     int64         // bytes of replies that may wait for one client before its commands do; default 64 MiB
	MaxOutputBytes    int64         // bytes of replies that may wait for all clients together, likewise; default 1 GiB
	ReplyStall        time.Duration // longest time in which a client takes nothing of what waits for it; default 60 s. Then it is closed
	OutputHard        int64         // a client for which more bytes of replies wait is closed; 0 for none
	OutputSoft        int64         // a client for which more bytes wait for OutputSoftTime is closed; 0 for none
	OutputSoftTime    time.Duration
	IdleTimeout       time.Duration // a client that sends no command for so long is closed; 0 for never
	MaxClients        int           // connections; default 10,000. One more gets an error and is closed
	Password          string        // that clients must give; "" for none
	ProtectedMode     bool          // without a password, only clients from this machine are served
	SlowlogSlowerThan time.Duration // commands that take so long are logged; default 10 ms, negative for none
	SlowlogMaxLen     int           // commands in the slow log; default 128
	LatencyThreshold  time.Duration // commands that take so long are samples of LATENCY; 0 for none
	Memory            shard.MemoryConfig
	Disk              shard.DiskConfig
	SystemMemory      int64  // bytes that this machine, or its container, has; 0 if nobody knows
	Version           string // of ndring, as INFO says it
}

// Defaults of Config.
const (
	DefaultMaxArrayBytes     = 512 << 20
	DefaultMaxUploadBytes    = 1 << 30
	DefaultMinUploadRate     = 256 << 10
	DefaultUploadWait        = 10 * time.Second
	DefaultUploadStall       = 30 * time.Second
	DefaultMaxReplyBytes     = 64 << 20
	DefaultMaxOutputBytes    = 1 << 30
	DefaultReplyStall        = 60 * time.Second
	DefaultMaxClients        = 10_000
	DefaultSlowlogSlowerThan = 10 * time.Millisecond
	DefaultSlowlogMaxLen     = 128
)

func (c Config) withDefaults() Config {
	setDefault(&c.MaxArrayBytes, DefaultMaxArrayBytes)
	setDefault(&c.MaxUploadBytes, DefaultMaxUploadBytes)
	setDefault(&c.MinUploadRate, DefaultMinUploadRate)
	setDefault(&c.UploadWait, DefaultUploadWait)
	setDefault(&c.UploadStall, DefaultUploadStall)
	setDefault(&c.MaxReplyBytes, DefaultMaxReplyBytes)
	setDefault(&c.MaxOutputBytes, DefaultMaxOutputBytes)
	setDefault(&c.ReplyStall, DefaultReplyStall)
	setDefault(&c.MaxClients, DefaultMaxClients)
	setDefault(&c.SlowlogSlowerThan, DefaultSlowlogSlowerThan)
	setDefault(&c.SlowlogMaxLen, DefaultSlowlogMaxLen)
	setDefault(&c.Memory.Policy, shard.NoEviction)
	setDefault(&c.Memory.Samples, shard.DefaultSamples)
	setDefault(&c.Memory.LFULogFactor, shard.DefaultLFULogFactor)
	setDefault(&c.Memory.LFUDecay, shard.DefaultLFUDecay)
	setDefault(&c.Disk.Fsync, shard.FsyncEverysec)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// redisVersion is the version of Redis whose behaviour clients may expect: some of them look at it before they use a command.
const redisVersion = "7.2.0"
