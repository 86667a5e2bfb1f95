package ndctl

import (
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
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1 // something failed, or the cluster is not healthy
	exitUsage       = 2
	exitUnreachable = 3
	exitRights      = 4
)

// exitCodes says what they mean, for help and docs.
var exitCodes = []struct {
	code int
	text string
}{
	{exitOK, "done; for `status`: all is well"},
	{exitFailure, "something failed, or does not exist; for `status`: something is not well. Where several nodes were asked, some did not answer"},
	{exitUsage, "the command line makes no sense, or a confirmation is missing"},
	{exitUnreachable, "no node could be reached"},
	{exitRights, "the password is missing or wrong, or the user may not do that"},
}

// exitError is an error that ends the program with a code. Without err everything was said.
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

// errSaid ends the program where what is wrong was said.
var errSaid = &exitError{code: exitFailure}

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// failed is an error whose text may have several lines.
func failed(format string, args ...any) error {
	return &exitError{exitFailure, fmt.Errorf(format, args...)}
}

// codeOf returns the exit code for an error.
func codeOf(err error) int {
	var coded *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case rightsHint(err) != "":
		return exitRights
	case lost(err):
		return exitUnreachable
	}
	return exitFailure
}

// lost reports whether an error is that of a connection, and not an answer.
func lost(err error) bool {
	var answer redis.Error
	var network *net.OpError // not net.Error: an error of a file is one too
	var name *net.DNSError
	switch {
	case errors.Is(err, redis.Nil), errors.As(err, &answer):
		return false
	case errors.As(err, &network), errors.As(err, &name), closed(err), garbled(err):
		return true
	}
	return late(err)
}

// undialled reports whether there was no connection, so that nothing was sent.
func undialled(err error) bool {
	var network *net.OpError
	var name *net.DNSError
	return errors.As(err, &name) || errors.As(err, &network) && network.Op == "dial"
}

// closed reports whether an error is that the other side has ended the connection.
func closed(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE}, func(e error) bool { return errors.Is(err, e) })
}

// garbled reports whether an error is that what came is no RESP.
func garbled(err error) bool { return strings.HasPrefix(err.Error(), "redis: can't parse ") }

// late reports whether an error is that of a time that was over.
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// rightsHints says what to do about an answer of a server that does not want this client to do something.
var rightsHints = []struct{ prefix, hint string }{
	{"NOAUTH", "it wants a password: set NDRING_PASSWORD, or give --password-file FILE"},
	{"WRONGPASS", "the password is wrong, or the user: see NDRING_PASSWORD, --password-file and --user"},
	{"NOPERM", "this user may not do that: give another one with --user and its password"},
	{"DENIED", "it has no password, and therefore takes clients of its own machine alone: run ndctl there, or start the nodes with --requirepass"},
}

// rightsHint returns what to do when an error is about rights, and nothing if it is not.
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

// words says in a line what went wrong with a node.
func words(err error) string {
	if hint := rightsHint(err); hint != "" {
		return hint
	}
	var dial *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return "there is no address for the name " + name.Name
	case errors.As(err, &dial) && dial.Op == "dial" && !dial.Timeout():
		return strings.TrimPrefix(dial.Err.Error(), "connect: ")
	case errors.As(err, &dial) && dial.Timeout(), late(err):
		return "no answer in time (--timeout)"
	case closed(err):
		return "it closed the connection: is that a node's port for clients?"
	case garbled(err):
		return "it does not speak the protocol: is that a node's port for clients?"
	}
	return oneLine(err.Error())
}

// oneLine keeps what a node says from looking like something else on a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
