package ndctl

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/ndring/ndring/cluster/view"
)

// cell is a text in a table.
type cell struct {
	text   string
	colour colour
	right  bool // aligned to the right, as numbers are
}

func text(s string) cell             { return cell{text: view.OneLine(s)} }
func tinted(c colour, s string) cell { return cell{text: view.OneLine(s), colour: c} }
func number(n int64) cell            { return cell{text: fmt.Sprint(n), right: true} }
func rightAligned(s string) cell     { return cell{text: s, right: true} }
func size(n int64) cell              { return rightAligned(bytesText(n)) }

// unknown is the cell for what a node did not report.
var unknown = cell{text: "-", right: true}

// table is what people read. Every row has as many cells as there are titles.
type table struct {
	titles []string
	rows   [][]cell
}

func newTable(titles ...string) *table { return &table{titles: titles} }

func (t *table) add(row ...cell) { t.rows = append(t.rows, row) }

// print writes the table to the output of p.
func (t *table) print(p *printer) { t.write(p.out, p.paint) }

// write writes the table. Each column is as wide as its widest cell.
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

// bytesText returns a number of bytes with a binary unit.
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

// plural returns a number with its noun.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
