package shard

import (
	"errors"
	"fmt"

	"github.com/ndring/ndring/internal/outcome"
)

var (
	// ErrCorrupt is returned when bytes differ from their CRC32C.
	ErrCorrupt = errors.New("the bytes differ from their CRC32C")
	// ErrSyntax is returned for text that is not a version.
	ErrSyntax = errors.New("syntax error")
	// ErrAttrs is returned when attrs are not a JSON object.
	ErrAttrs = errors.New("attrs are not a JSON object in UTF-8")
	// ErrPartName is returned when a part's name is empty, has characters other than a-z 0-9 _ -
	// or is used twice.
	ErrPartName = errors.New("invalid part name")

	// ErrDiskFull is returned for a write when the disk has less free space than disk-reserve and
	// the space kept back for deletes.
	ErrDiskFull = errors.New("disk full: less space is free than disk-reserve and the space kept back for deletes; delete keys, free space on the disk, or lower disk-reserve")
	// ErrMemoryFull is returned for a write when a node with a copy of its shard has no memory left, and nothing may be evicted.
	ErrMemoryFull = errors.New("command not allowed when used memory > 'maxmemory' on a node that has a copy.")
	// ErrDiskExhausted is returned for a change that stores nothing when the disk has no space
	// even for that.
	ErrDiskExhausted = errors.New("disk full: even the space kept back for deletes is used up, and nothing was changed; free space on the disk of the data folder, then try again")
	// ErrDisk is returned for a change that cannot be logged.
	ErrDisk = errors.New("cannot write the change to disk")
	// ErrDiskBusy is returned for a write when compaction falls behind.
	ErrDiskBusy = errors.New("the disk cannot keep up with the writes, try again")
	// ErrUncertain is returned when a write is done and a restart may lose it.
	ErrUncertain = outcome.ErrUncertain
	// ErrLate is returned when the other copies have not acknowledged a write in time.
	ErrLate = fmt.Errorf("%w: the other copies of the shard have not acknowledged the write in time", ErrUncertain)
	// ErrNoReplicas is returned for a write, before anything has happened, when too few copies of the shard would
	// have to acknowledge it.
	ErrNoReplicas = errors.New("too few copies of the shard are in sync")
	// ErrTryAgain is returned when the shard may not answer reads now: it has lost touch with its other copies.
	ErrTryAgain = errors.New("the shard has lost touch with its other copies, try again")
	// ErrBusy is returned for a write with a request id when the shard knows too many recent ones.
	ErrBusy = errors.New("too many requests with an id in a short time, try again")
	// ErrSaving is returned when a save is requested while another one is running.
	ErrSaving = errors.New("Background save already in progress")
	// ErrNoDisk is returned when a save is requested and the node has no data folder.
	ErrNoDisk = errors.New("the node has no data folder")
)
