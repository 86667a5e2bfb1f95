package protocol

import (
	"time"

	"github.com/ndring/ndring/shard"
)

// Config configures a Server. NewServer replaces zero values by the defaults given here; Reconfigure does not.
type Config struct {
	MaxArrayBytes        int64         // bytes of data of one array or part; default 512 MiB
	MaxUploadBytes       int64         // bytes of all commands that are being read; default 1 GiB. Further ones wait for UploadWait, then get BUSY
	MinUploadRate        int64         // bytes per second; default 256 KiB. A slower upload is aborted while others wait for room
	UploadWait           time.Duration // time for which a command waits for room; default 10 s
	UploadStall          time.Duration // longest silence within a command; default 30 s. Then the client is disconnected
	MaxReplyBytes        int64         // bytes of replies that may wait for one client before its commands wait; default 64 MiB
	MaxOutputBytes       int64         // bytes of replies that may wait for all clients before their commands wait; default 1 GiB
	ReplyStall           time.Duration // longest time for which a client reads no pending reply; default 60 s. Then it is disconnected
	OutputHard           int64         // a client for which more bytes of replies wait is disconnected; 0 for no limit
	OutputSoft           int64         // so is one for which more bytes wait for OutputSoftTime; 0 for no limit
	OutputSoftTime       time.Duration
	IdleTimeout          time.Duration // a client that sends no command for so long is disconnected; 0 for never
	MaxClients           int           // connections; default 10,000. Further ones get an error and are closed
	Password             string        // of clients; "" for none
	PlainSecrets         bool          // keys are accepted on connections that others may read
	ProtectedMode        bool          // without a password, only clients from this machine are accepted
	SlowlogSlowerThan    time.Duration // commands that take so long enter the slow log; default 10 ms, negative for none
	SlowlogMaxLen        int           // commands in the slow log; default 128
	LatencyThreshold     time.Duration // commands that take so long are recorded for LATENCY; 0 for none
	TrackingTableMaxKeys int           // keys that are remembered for clients with CLIENT TRACKING; default 1,000,000
	Memory               shard.MemoryConfig
	Disk                 shard.DiskConfig
	Copies               shard.CopyConfig
	SystemMemory         int64  // bytes of memory of this machine or its container; 0 if unknown
	Version              string // of ndring, for INFO
}

// Defaults of Config.
const (
	DefaultMaxArrayBytes        = 512 << 20
	DefaultMaxUploadBytes       = 1 << 30
	DefaultMinUploadRate        = 256 << 10
	DefaultUploadWait           = 10 * time.Second
	DefaultUploadStall          = 30 * time.Second
	DefaultMaxReplyBytes        = 64 << 20
	DefaultMaxOutputBytes       = 1 << 30
	DefaultReplyStall           = 60 * time.Second
	DefaultMaxClients           = 10_000
	DefaultSlowlogSlowerThan    = 10 * time.Millisecond
	DefaultSlowlogMaxLen        = 128
	DefaultTrackingTableMaxKeys = 1_000_000
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
	setDefault(&c.TrackingTableMaxKeys, DefaultTrackingTableMaxKeys)
	setDefault(&c.Memory.Policy, shard.NoEviction)
	setDefault(&c.Memory.Samples, shard.DefaultSamples)
	setDefault(&c.Memory.LFULogFactor, shard.DefaultLFULogFactor)
	setDefault(&c.Memory.LFUDecay, shard.DefaultLFUDecay)
	setDefault(&c.Disk.Fsync, shard.FsyncEverysec)
	setDefault(&c.Copies.Write, shard.DefaultCopyConfig.Write)
	setDefault(&c.Copies.MinInSync, shard.DefaultCopyConfig.MinInSync)
	setDefault(&c.Copies.MaxStaleness, shard.DefaultCopyConfig.MaxStaleness)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// redisVersion is the version of Redis whose behaviour clients may expect. Some check it before they use a
// command.
const redisVersion = "7.2.0"
