package ndctl

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns the two ends of a pseudo-terminal: the user's and the program's.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// onTerminal runs the program on a terminal on which an answer has been typed, and returns
// everything that the terminal shows.
func onTerminal(t *testing.T, env map[string]string, typed string, args ...string) (shown string, code int) {
	t.Helper()
	person, program := openTerminal(t)
	if _, err := io.WriteString(person, typed); err != nil {
		t.Fatal(err)
	}
	all := make(chan string)
	go func() {
		b, _ := io.ReadAll(person) // ends with an error when the other end is closed
		all <- string(b)
	}()
	code = newApp("ndctl", "1", program, program, program, lookup(env)).run(t.Context(), args)
	program.Close()
	return <-all, code
}

// Only a terminal gets colours and questions.
func TestTerminal(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	if got, _ := onTerminal(t, c.env("TERM=xterm"), "", "nodes"); !strings.Contains(got, "\x1b[32mup\x1b[0m") {
		t.Errorf("no colours: %q", got)
	}
	for _, env := range []string{"NO_COLOR=1", "TERM=dumb"} {
		if got, _ := onTerminal(t, c.env(env), "", "nodes"); strings.Contains(got, "\x1b") || !strings.Contains(got, " up ") {
			t.Errorf("%s: %q", env, got)
		}
	}
	if got := c.run(c.env("TERM=xterm"), "nodes"); strings.Contains(got.out, "\x1b") {
		t.Errorf("colours in a pipe: %q", got.out)
	}
	if got, code := onTerminal(t, c.env(), "n\n", "failover", "--takeover"); code != exitFailure || !matches(got, "Promote the copies of n1, and lose what they lack? [y/N] ", "cancelled: nothing was changed") {
		t.Errorf("answered no: %d %q", code, got)
	}
	if got, code := onTerminal(t, c.env(), "y\n", "failover", "--takeover"); code != exitFailure || !matches(got, "Promote the copies of n1, and lose what they lack? [y/N] ", "ERR ") {
		t.Errorf("answered yes: %d %q", code, got)
	}
	for _, args := range []string{"get k -o -", "put k -"} {
		if got, code := onTerminal(t, c.env(), "", strings.Fields(args)...); code != exitUsage {
			t.Errorf("%s: %d %q", args, code, got)
		}
	}
}
