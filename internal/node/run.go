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
	log, level := newLogger(config, stderr)
	useResources(config, log)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var n runner = New(*config, log, level)
	if config.Dev > 0 {
		n = newDev(*config, log, level)
	}
	switch err := n.Open(ctx); {
	case ctx.Err() != nil:
		log.Info("ndring has stopped before it was ready", "err", err)
		return exitOK
	case err != nil:
		log.Error("ndring cannot start", "err", err)
		return exitFailure
	}
	select {
	case <-ctx.Done():
	case <-n.ShutdownAsked():
	}
	stop() // a second signal ends the process at once
	log.Info("ndring stops")
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
	if p, ok := os.LookupEnv("NDRING_HTTP_PORT"); ok {
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
