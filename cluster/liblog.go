package cluster

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// Messages of raft and memberlist are for debugging; this package logs the events that operators
// need. At a higher level, a node that is down would fill the log.
const libraryLevel = slog.LevelDebug

// raftLogger passes raft's messages to slog.
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

// gossipLogger passes memberlist's messages to slog.
func gossipLogger(to *slog.Logger) *log.Logger { return log.New(gossipSink{to}, "", 0) }

type gossipSink struct{ to *slog.Logger }

func (s gossipSink) Write(b []byte) (int, error) {
	s.to.Log(context.Background(), libraryLevel, "gossip: "+string(bytes.TrimSpace(b)))
	return len(b), nil
}
