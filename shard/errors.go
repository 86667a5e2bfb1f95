package shard

import (
	"errors"

	"github.com/ndring/ndring/internal/outcome"
)

var (
	// ErrCorrupt is returned when bytes differ from their CRC32C.
	ErrCorrupt = errors.New("the bytes differ from their CRC32C")
	// ErrSyntax is returned for text that is no version.
	ErrSyntax = errors.New("syntax error")
	// ErrAttrs is returned when attrs are no JSON object.
	ErrAttrs = errors.New("attrs are not a JSON object in UTF-8")
	// ErrPartName is returned when a part's name has other characters than a-z 0-9 _ - or stands twice.
	ErrPartName = errors.New("invalid part name")

	// ErrDiskFull is returned for a write when the disk has less space left than its reserve and what is kept back for deletes.
	ErrDiskFull = errors.New("the disk has less space left than disk-reserve and what is kept back for deletes: delete keys, make room on the disk, or lower disk-reserve")
	// ErrDiskExhausted is returned for a change that stores nothing when the disk has no room even for that.
	ErrDiskExhausted = errors.New("the disk is full and what was kept back for deletes is used up: nothing was changed; make room on the disk of the data folder, then try again")
	// ErrDisk is returned for a write that cannot come into the log.
	ErrDisk = errors.New("the write cannot be kept on disk")
	// ErrDiskBusy is returned for a write when the disk falls behind.
	ErrDiskBusy = errors.New("the disk cannot keep up with the writes, try again")
	// ErrUncertain is returned when a write is done and a restart may lose it.
	ErrUncertain = outcome.ErrUncertain
	// ErrSaving is returned when a snapshot is asked for while one is being written.
	ErrSaving = errors.New("Background save already in progress")
	// ErrNoDisk is returned when a snapshot is asked for and there is no data folder.
	ErrNoDisk = errors.New("there is no data folder")
)
