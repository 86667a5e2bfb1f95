package cluster

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// What raft and memberlist say is for those who look into them: the events that operators need are logged by this package. A node that is gone
// would otherwise fill the log.
const libraryLevel = slog.LevelDebug

// raftLogger hands raft's messages to slog.
func raftLogger(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(raftSink{to})
	return l
}

type raftSink struct{ to *slog.Logger }

// Accept implements hclog.SinkAdapter.
func (s raftSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	if level >= hclog.Debug {
		s.to.Log(context.Background(), libraryLevel, "raft: "+msg, args...)
	}
}

// gossipLogger hands memberlist's messages to slog.
func gossipLogger(to *slog.Logger) *log.Logger { return log.New(gossipSink{to}, "", 0) }

type gossipSink struct{ to *slog.Logger }

func (s gossipSink) Write(b []byte) (int, error) {
	s.to.Log(context.Background(), libraryLevel, "gossip: "+string(bytes.TrimSpace(b)))
	return len(b), nil
}
