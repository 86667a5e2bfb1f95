package ndctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/redis/go-redis/v9"
)

// app is one run of the program.
type app struct {
	name    string // as the user calls it: ndctl, or ndring ctl
	version string
	in      io.Reader
	out     io.Writer
	err     io.Writer
	env     func(string) (string, bool)

	addrs        []string
	user         string
	passwordFile string
	timeout      time.Duration
	json         bool
}

// Run does what args say and returns the exit code. Name is how the user calls the program.
func Run(name string, args []string, version string) int {
	redis.SetLogger(silence{}) // the client library tells of each connection that breaks
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return (&app{name: name, version: version, in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv}).run(ctx, args)
}

type silence struct{}

// Printf implements redis' logger.
func (silence) Printf(context.Context, string, ...any) {}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.tree()
	root.SetArgs(append([]string{}, args...)) // nil would have cobra read the arguments of this process
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := codeOf(err)
	var coded *exitError
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(a.err, "%s: interrupted\n", a.name)
		return exitFailure
	case errors.As(err, &coded) && coded.err == nil:
	case code == exitUsage:
		fmt.Fprintf(a.err, "%s: %v\nTry '%s --help'\n", a.name, strings.TrimSpace(err.Error()), a.commandOf(root, args))
	case errors.As(err, &coded):
		fmt.Fprintf(a.err, "%s: %v\n", a.name, err)
	default:
		fmt.Fprintf(a.err, "%s: %s\n", a.name, words(err))
	}
	return code
}

// terminal reports whether something is written to, or read from, a person.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// setting returns an environment variable; empty if it is not set.
func (a *app) setting(name string) string {
	value, _ := a.env(name)
	return value
}
