// Package resptest is RESP for tests: it encodes commands, and renders replies as text that shows their
// types. It must share no code with the implementation that it tests.
package resptest

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Command encodes a command.
func Command(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

// Render reads one reply and returns it as text that shows the types: +simple -error :1 "bulk" $nil nil [a b] {k v} ~[a b] >[a b] =text.
func Render(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || line == "" {
		return "", fmt.Errorf("%q is not a reply", line)
	}
	switch line[0] {
	case '+', '-', ':', ',', '#':
		return line, nil
	case '_':
		return "nil", nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil {
		return "", err
	}
	switch line[0] {
	case '$', '=':
		if n == -1 {
			return "$nil", nil
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if line[0] == '=' {
			return "=" + string(b[:n]), nil
		}
		return `"` + string(b[:n]) + `"`, nil
	case '*', '%', '~', '>':
		if n == -1 {
			return "*nil", nil
		}
		open, end := "[", "]"
		if line[0] == '~' {
			open = "~["
		}
		if line[0] == '>' {
			open = ">["
		}
		if line[0] == '%' {
			open, end, n = "{", "}", 2*n
		}
		items := make([]string, n)
		for i := range items {
			if items[i], err = Render(r); err != nil {
				return "", err
			}
		}
		return open + strings.Join(items, " ") + end, nil
	}
	return "", fmt.Errorf("%q is not a reply", line)
}
