package ndctl

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/mattn/go-isatty"
)

// printer writes what a command learned: as JSON for scripts, or as text, tables and colours for
// people.
type printer struct {
	program string // as the user calls it; begins every line on err
	out     io.Writer
	err     io.Writer
	json    bool
	env     environment
}

// report is the result of a command. Its JSON is what a script reads; print writes what people read.
type report interface{ print(*printer) }

// show writes a report.
func (p *printer) show(r report) error {
	if !p.json {
		r.print(p)
		return nil
	}
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (p *printer) printf(format string, args ...any) { fmt.Fprintf(p.out, format, args...) }

// fact writes a line with a name and a value.
func (p *printer) fact(name, format string, args ...any) {
	p.printf("%-10s %s\n", name, fmt.Sprintf(format, args...))
}

// warn writes a line to standard error.
func (p *printer) warn(format string, args ...any) {
	fmt.Fprintf(p.err, "%s: %s\n", p.program, fmt.Sprintf(format, args...))
}

// failures names the nodes that failed on standard error. If there are any, it returns the error
// that ends the program.
func (p *printer) failures(failed nodeFailures) error {
	for _, f := range failed {
		who := f.node.Label()
		if f.node.address != "" {
			who += " (" + f.node.address + ")"
		}
		p.warn("%s: %s", who, explain(f.err))
	}
	if len(failed) == 0 {
		return nil
	}
	if slices.ContainsFunc(failed, func(f nodeFailure) bool { return rightsHint(f.err) != "" }) {
		return &exitError{code: exitRights}
	}
	return errPrinted
}

// isTerminal reports whether a person reads or types at the other end of a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// colour is an ANSI colour code.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
)

// coloured reports whether the output has colours (no-color.org).
func (p *printer) coloured() bool {
	return isTerminal(p.out) && p.env.get("NO_COLOR") == "" && p.env.get("TERM") != "dumb"
}

func (p *printer) paint(c colour, text string) string {
	if c == plain || text == "" || !p.coloured() {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}
