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

	"github.com/redis/go-redis/v9"
)

// app is one run of the program.
type app struct {
	version string
	in      io.Reader
	out     *printer
	prompt  *prompt
	options *options
}

// environment looks up an environment variable, as os.LookupEnv does.
type environment func(name string) (value string, ok bool)

// get returns a variable, or "" if it is not set.
func (e environment) get(name string) string {
	value, _ := e(name)
	return value
}

// newApp returns a run under the name by which the user calls the program: ndctl, or ndring ctl.
func newApp(name, version string, in io.Reader, out, err io.Writer, env environment) *app {
	return &app{
		version: version,
		in:      in,
		out:     &printer{program: name, out: out, err: err, env: env},
		prompt:  &prompt{in: in, err: err},
		options: &options{env: env},
	}
}

// Run executes the command line args and returns the exit code. Name is how the user calls the
// program.
func Run(name string, args []string, version string) int {
	redis.SetLogger(silence{}) // the client library logs every broken connection
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return newApp(name, version, os.Stdin, os.Stdout, os.Stderr, os.LookupEnv).run(ctx, args)
}

type silence struct{}

// Printf implements redis' logger.
func (silence) Printf(context.Context, string, ...any) {}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.tree()
	root.SetArgs(append([]string{}, args...)) // with nil, cobra would read the arguments of this process
	root.SetIn(a.in)
	root.SetOut(a.out.out)
	root.SetErr(a.out.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	var coded *exitError
	var detached *detachedError
	switch {
	case errors.As(err, &detached):
		a.out.warn("%v", err)
	case ctx.Err() != nil:
		a.out.warn("interrupted")
		return exitFailure
	case errors.As(err, &coded) && coded.err == nil:
	case code == exitUsage:
		a.out.warn("%v", strings.TrimSpace(err.Error()))
		fmt.Fprintf(a.out.err, "Try '%s --help'\n", a.commandOf(root, args))
	case errors.As(err, &coded):
		a.out.warn("%v", err)
	default:
		a.out.warn("%s", explain(err))
	}
	return code
}

// withSession connects to the cluster, runs a command, and closes all connections.
func (a *app) withSession(ctx context.Context, command func(*session) error) error {
	s, err := connect(ctx, a.options)
	if err != nil {
		return err
	}
	defer s.close()
	return command(s)
}
