package node

import (
	"context"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"time"
)

// stopTime bounds an orderly stop, once the shards are handed over and clients are redirected.
const stopTime = 10 * time.Second

// flushTime bounds how long the end of the process waits for the last lines of its log to be read.
const flushTime = time.Second

// serve runs a node, or the nodes of --dev, until a signal or a client stops them, and returns the exit code. As in
// Redis, closing the terminal or the reader of the log does not stop a node.
func serve(config *Config, stderr io.Writer) int {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	queue := newLogQueue(stderr)
	log, level := newLogger(config, queue)
	slog.SetDefault(log) // output of package log must not block either
	go queue.run(func(lines int64) {
		log.Warn("log lines dropped: standard error is not read or cannot be written", "lines", lines)
	})
	defer queue.flush(flushTime)
	config.logLost = queue.lost.Load
	for _, warning := range config.Warnings {
		log.Warn(warning)
	}
	useResources(config, log)
	if err := useDescriptors(config, log); err != nil {
		log.Error("ndring cannot start", "err", err)
		return exitFailure
	}
	var n runner = New(*config, log, level)
	if config.Dev > 0 {
		n = newDev(*config, log, level)
	}
	switch err := n.Open(ctx); {
	case ctx.Err() != nil:
		log.Info("stopped before it was ready", "reason", context.Cause(ctx), "err", err)
		return exitOK
	case err != nil:
		log.Error("ndring cannot start", "err", err)
		return exitFailure
	}
	reason, code := "SHUTDOWN command", exitOK
	select {
	case <-ctx.Done():
		reason = context.Cause(ctx).Error()
	case <-n.ShutdownAsked():
		if err := n.Failure(); err != nil {
			reason, code = err.Error(), exitFailure
		}
	}
	stop() // a second signal ends the process at once
	log.Info("ndring is stopping", "reason", reason)
	limit, cancel := context.WithTimeout(context.Background(), handOverTime+redirectMost+stopTime)
	defer cancel()
	if err := n.Close(limit); err != nil {
		log.Warn("stop was not clean", "err", err)
	}
	log.Info("ndring has stopped")
	return code
}

// runner is what serve runs: a node, or the nodes of --dev.
type runner interface {
	Open(context.Context) error
	ShutdownAsked() <-chan struct{}
	Failure() error
	Close(context.Context) error
}

func newLogger(config *Config, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(config.LogLevel)
	options := &slog.HandlerOptions{Level: level}
	if config.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), level
	}
	return slog.New(slog.NewTextHandler(w, options)), level
}
