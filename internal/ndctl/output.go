package ndctl

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// show writes a report: as JSON, or as people writes it.
func (a *app) show(report any, people func()) error {
	if !a.json {
		people()
		return nil
	}
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// colour is that of a text on a terminal.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
)

// coloured reports whether output goes to a terminal that is to have colours (no-color.org).
func (a *app) coloured() bool {
	return terminal(a.out) && a.setting("NO_COLOR") == "" && a.setting("TERM") != "dumb"
}

func (a *app) paint(c colour, text string) string {
	if c == plain || text == "" || !a.coloured() {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// fact writes a line: what something is called, and what it is.
func (a *app) fact(name, format string, args ...any) {
	fmt.Fprintf(a.out, "%-10s %s\n", name, fmt.Sprintf(format, args...))
}

// cell is a text in a table.
type cell struct {
	text   string
	colour colour
	right  bool // a number
}

func text(s string) cell             { return cell{text: oneLine(s)} }
func tinted(c colour, s string) cell { return cell{text: oneLine(s), colour: c} }
func number(n int64) cell            { return cell{text: fmt.Sprint(n), right: true} }
func rightly(s string) cell          { return cell{text: s, right: true} }

// unknown is the cell of what a node did not tell.
var unknown = cell{text: "-", right: true}

// table is what people read. Rows have as many cells as there are titles.
type table struct {
	titles []string
	rows   [][]cell
}

func newTable(titles ...string) *table { return &table{titles: titles} }

func (t *table) add(row ...cell) { t.rows = append(t.rows, row) }

// write writes the table, each column as wide as its widest cell.
func (t *table) write(w io.Writer, paint func(colour, string) string) {
	widths := make([]int, len(t.titles))
	right := make([]bool, len(t.titles))
	head := make([]cell, len(t.titles))
	for i, title := range t.titles {
		head[i] = tinted(bold, title)
		widths[i] = utf8.RuneCountInString(title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
			right[i] = right[i] || row[i].right && row[i].text != unknown.text
		}
	}
	for _, row := range append([][]cell{head}, t.rows...) {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			switch {
			case right[i]:
				line.WriteString(pad + paint(c.colour, c.text))
			case i == len(row)-1:
				line.WriteString(paint(c.colour, c.text))
			default:
				line.WriteString(paint(c.colour, c.text) + pad)
			}
			if i < len(row)-1 {
				line.WriteString("  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

func (a *app) writeTable(t *table) { t.write(a.out, a.paint) }

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, 0
	for ; f >= 1024 && unit < 4; unit++ {
		f /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[unit])
}

func sizeCell(n int64) cell { return rightly(bytesText(n)) }

// durationText writes a time for people: its two largest units.
func durationText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// plural writes a number with what it counts.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
