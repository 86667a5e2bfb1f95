package ndctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/view"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1 // something failed, or the cluster is not healthy
	exitUsage       = 2
	exitUnreachable = 3
	exitRights      = 4
)

// exitCodes describes the exit codes for help and docs.
var exitCodes = []struct {
	code int
	text string
}{
	{exitOK, "success; for `status`: the cluster is healthy"},
	{exitFailure, "something failed or does not exist, or some of several nodes did not answer; for `status`: the cluster is not healthy"},
	{exitUsage, "the command line is invalid, or a confirmation is missing"},
	{exitUnreachable, "no node could be reached"},
	{exitRights, "the password is missing or wrong, or the user lacks the permission"},
}

// exitError ends the program with a code. Without err, everything has been printed already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// errPrinted ends the program after it has printed what is wrong.
var errPrinted = &exitError{code: exitFailure}

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// failure returns an error whose text may have several lines.
func failure(format string, args ...any) error {
	return &exitError{exitFailure, fmt.Errorf(format, args...)}
}

// exitCode returns the exit code for an error.
func exitCode(err error) int {
	var coded *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case rightsHint(err) != "":
		return exitRights
	case isConnectionError(err):
		return exitUnreachable
	}
	return exitFailure
}

// isEarlierVersion reports whether a node does not know a subcommand, as a node of an earlier version.
func isEarlierVersion(err error) bool {
	return err != nil && (strings.HasPrefix(err.Error(), "ERR unknown subcommand '") || strings.HasPrefix(err.Error(), "ERR wrong number of arguments for 'cluster|leave' command"))
}

// errEarlierVersion is shown for a node of an earlier version.
var errEarlierVersion = errors.New("the node runs an earlier version of ndring, which does not know this command: upgrade all nodes first (ndctl nodes shows their versions)")

// detachedError ends a command that was interrupted while it watched what goes on without it.
type detachedError struct{ goesOn string }

func (e *detachedError) Error() string { return "interrupted: " + e.goesOn }

// isConnectionError reports whether the connection failed, so that no answer arrived.
func isConnectionError(err error) bool {
	var answer redis.Error
	var network *net.OpError // not net.Error: errors of files implement that too
	var name *net.DNSError
	switch {
	case errors.Is(err, redis.Nil), errors.As(err, &answer):
		return false
	case errors.As(err, &network), errors.As(err, &name), isClosed(err), isGarbled(err), explainTLS(err) != "":
		return true
	}
	return isTimeout(err)
}

// isDialError reports whether connecting failed, so that nothing was sent.
func isDialError(err error) bool {
	var network *net.OpError
	var name *net.DNSError
	return errors.As(err, &name) || errors.As(err, &network) && network.Op == "dial"
}

// isClosed reports whether the other side closed the connection.
func isClosed(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE}, func(e error) bool { return errors.Is(err, e) })
}

// isGarbled reports whether the other side sent something that is not RESP.
func isGarbled(err error) bool { return strings.HasPrefix(err.Error(), "redis: can't parse ") }

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// rightsHints maps answers of a server that refuses this client to what the user can do.
var rightsHints = []struct{ prefix, hint string }{
	{"NOAUTH", "a password is required: set NDRING_PASSWORD, or give --password-file FILE"},
	{"WRONGPASS", "wrong user or password: see NDRING_PASSWORD, --password-file and --user"},
	{"NOPERM", "the user lacks the permission: give another one with --user and its password"},
	{"DENIED", "the node has no password and therefore accepts only clients on its own machine: run ndctl there, or start the nodes with --requirepass"},
}

// rightsHint returns what to do about an error that is about rights, or "" if it is not.
func rightsHint(err error) string {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return ""
	}
	for _, h := range rightsHints {
		if strings.HasPrefix(answer.Error(), h.prefix+" ") {
			return h.hint
		}
	}
	return ""
}

// explain says in one line what went wrong with a node. It is never empty: reports take that for no error.
func explain(err error) string {
	if hint := rightsHint(err); hint != "" {
		return hint
	}
	if hint := explainTLS(err); hint != "" {
		return hint
	}
	var dial *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return "cannot resolve " + name.Name
	case errors.As(err, &dial) && dial.Op == "dial" && !dial.Timeout():
		return strings.TrimPrefix(dial.Err.Error(), "connect: ")
	case errors.As(err, &dial) && dial.Timeout(), isTimeout(err):
		return "no answer in time (--timeout)"
	case isClosed(err):
		return "the connection was closed: is this a node's client port? One with TLS needs --tls"
	case isGarbled(err):
		return "the answer is not RESP: is this a node's client port?"
	}
	return cmp.Or(view.OneLine(err.Error()), "the node gave no reason")
}
