package loadtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// answer is a reply in RESP2.
type answer struct {
	kind  byte // '+', '-', ':', '$' or '*'
	null  bool
	text  string // of '+', '-' and '$'
	n     int64  // of ':'
	items []answer
}

// Bounds of what a node may answer. The values of histories are small.
const (
	maxAnswerText  = 1 << 20
	maxAnswerItems = 1 << 16
)

var errNotRESP = errors.New("not a RESP2 reply")

// readAnswer reads one reply.
func readAnswer(r *bufio.Reader) (a answer, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return a, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return a, fmt.Errorf("%w: %.64q", errNotRESP, line)
	}
	a.kind = line[0]
	body := string(line[1 : len(line)-2])
	if a.kind == '+' || a.kind == '-' {
		a.text = body
		return a, nil
	}
	if a.n, err = strconv.ParseInt(body, 10, 64); err != nil {
		return a, fmt.Errorf("%w: %.64q", errNotRESP, line)
	}
	switch {
	case a.kind == ':':
	case (a.kind == '$' || a.kind == '*') && a.n == -1:
		a.null = true
	case a.kind == '$' && 0 <= a.n && a.n <= maxAnswerText:
		b := make([]byte, a.n+2)
		if _, err = io.ReadFull(r, b); err != nil {
			return a, err
		}
		a.text = string(b[:a.n])
	case a.kind == '*' && 0 <= a.n && a.n <= maxAnswerItems:
		a.items = make([]answer, a.n)
		for i := range a.items {
			if a.items[i], err = readAnswer(r); err != nil {
				return a, err
			}
		}
	default:
		return a, fmt.Errorf("%w: %.64q", errNotRESP, line)
	}
	return a, nil
}

// appendCommand appends a command in RESP.
func appendCommand(b []byte, args ...string) []byte {
	b = append(strconv.AppendInt(append(b, '*'), int64(len(args)), 10), "\r\n"...)
	for _, arg := range args {
		b = append(strconv.AppendInt(append(b, '$'), int64(len(arg)), 10), "\r\n"...)
		b = append(append(b, arg...), "\r\n"...)
	}
	return b
}

// link is a connection to a node.
type link struct {
	net.Conn
	reader *bufio.Reader
}

// round sends bytes and reads n replies.
func (l *link) round(b []byte, n int) ([]answer, error) {
	if _, err := l.Write(b); err != nil {
		return nil, err
	}
	answers := make([]answer, n)
	for i := range answers {
		var err error
		if answers[i], err = readAnswer(l.reader); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// harmless are the prefixes of errors that promise that the command changed nothing.
var harmless = []string{"MOVED", "CLUSTERDOWN", "TRYAGAIN", "LOADING", "NOREPLICAS", "OOM", "BUSY", "DISKFULL", "MISCONF", "EXECABORT"}

// failureOf says what an error reply means. Expected is false for one that no load should get.
func failureOf(text string) (o outcome, expected bool) {
	prefix, _, _ := strings.Cut(text, " ")
	for _, p := range harmless {
		if prefix == p {
			return refused, true
		}
	}
	return unknown, prefix == "UNCERTAIN"
}

// movedTo returns the address that a redirect names.
func movedTo(text string) (address string, found bool) {
	fields := strings.Fields(text)
	if len(fields) != 3 || fields[0] != "MOVED" {
		return "", false
	}
	colon := strings.LastIndexByte(fields[2], ':') // an IPv6 address has no brackets
	if colon < 0 {
		return "", false
	}
	return net.JoinHostPort(fields[2][:colon], fields[2][colon+1:]), true
}
