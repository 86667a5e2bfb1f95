package node

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit codes of Run.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// stopTime is how long a stop may take in all.
const stopTime = 10 * time.Second

// flushTime is how long an end waits for the last lines of its log to be read.
const flushTime = time.Second

// Run is the ndring program: it does what args say and returns the exit code. SIGTERM and SIGINT end it cleanly.
func Run(args []string, version string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "healthcheck":
			return healthcheck(args[1:], stdout, stderr)
		case "check":
			return check(args[1:], stdout, stderr)
		case "dump":
			return dump(args[1:], stdout, stderr)
		case "version", "--version", "-version":
			fmt.Fprintln(stdout, "ndring", version)
			return exitOK
		case "help":
			args = []string{"--help"}
		}
	}
	config, err := ParseConfig(args, os.LookupEnv, version, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "ndring:", err)
		return exitUsage
	}
	return serve(config, stderr)
}

// serve runs a node, or several, until a signal or a client ends them. As with Redis, the end of a
// terminal, or of the reader of the log, does not stop a node.
func serve(config *Config, stderr io.Writer) int {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	queue := newLogQueue(stderr)
	log, level := newLogger(config, queue)
	slog.SetDefault(log) // what others print by package log must not block either
	go queue.run(func(lines int64) {
		log.Warn("lines of the log are lost: standard error is not read, or cannot be written", "lines", lines)
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
		log.Info("ndring has stopped before it was ready", "reason", context.Cause(ctx), "err", err)
		return exitOK
	case err != nil:
		log.Error("ndring cannot start", "err", err)
		return exitFailure
	}
	reason := "SHUTDOWN of a client"
	select {
	case <-ctx.Done():
		reason = context.Cause(ctx).Error()
	case <-n.ShutdownAsked():
	}
	stop() // a second signal ends the process at once
	log.Info("ndring stops", "reason", reason)
	limit, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := n.Close(limit); err != nil {
		log.Warn("the stop was not clean", "err", err)
	}
	log.Info("ndring has stopped")
	return exitOK
}

// runner is what Run runs: a node, or several.
type runner interface {
	Open(context.Context) error
	ShutdownAsked() <-chan struct{}
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

// healthcheck asks a node on this machine whether it is ready.
func healthcheck(args []string, stdout, stderr io.Writer) int {
	host, port := "127.0.0.1", "7380"
	if bind, err := netip.ParseAddr(os.Getenv("NDRING_BIND")); err == nil && !bind.IsUnspecified() {
		host = bind.String()
	}
	if p, ok := os.LookupEnv("NDRING_HTTP_PORT"); ok && ofKubernetes("NDRING_HTTP_PORT", p) {
		fmt.Fprintf(stderr, "ndring: NDRING_HTTP_PORT=%s is not used: Kubernetes sets it for a Service of that name\n", p)
	} else if ok {
		port = p
	}
	flags := flag.NewFlagSet("healthcheck", flag.ContinueOnError)
	addr := flags.String("addr", net.JoinHostPort(host, port), "HTTP address of the node")
	switch err := parseFlags(flags, args, stderr); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	client := http.Client{Timeout: 3 * time.Second}
	reply, err := client.Get("http://" + *addr + "/readyz")
	if err != nil {
		fmt.Fprintln(stderr, "ndring:", err)
		return exitFailure
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(reply.Body, 1000))
		fmt.Fprintf(stderr, "ndring: %s says %s: %s\n", *addr, reply.Status, bytes.TrimSpace(why))
		return exitFailure
	}
	fmt.Fprintln(stdout, "ready")
	return exitOK
}
