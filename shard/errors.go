package shard

import "errors"

var (
	// ErrCorrupt is returned when bytes differ from their CRC32C.
	ErrCorrupt = errors.New("the bytes differ from their CRC32C")
	// ErrSyntax is returned for text that is no version.
	ErrSyntax = errors.New("syntax error")
	// ErrAttrs is returned when attrs are no JSON object.
	ErrAttrs = errors.New("attrs are not a JSON object in UTF-8")
	// ErrPartName is returned when a part's name has other characters than a-z 0-9 _ - or stands twice.
	ErrPartName = errors.New("invalid part name")
)
