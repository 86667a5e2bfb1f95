package resp

import "bytes"

// inline reads a command that is a line of words, as typed in telnet.
func (r *Reader) inline() error {
	line, err := r.line(r.limits.MaxLine, "")
	if err != nil {
		return err
	}
	words, ok := splitWords(line)
	if !ok {
		return protocolError("unbalanced quotes in request")
	}
	if len(words) > r.limits.MaxArgs {
		return protocolError("too many words: %d, the limit is %d", len(words), r.limits.MaxArgs)
	}
	for _, word := range words {
		if err := r.admit(r.args, len(words), int64(len(word))); err != nil {
			return Refusal{err}
		}
		r.args = append(r.args, Arg{small: word})
		r.argBytes += int64(len(word))
	}
	return nil
}

// splitWords splits a line as Redis does: at blanks, except within "...", where escapes count, and
// within '...', where only \' does. A blank must follow a closing quote.
func splitWords(line []byte) (words [][]byte, ok bool) {
	line = bytes.Clone(line)
	for {
		line = bytes.TrimLeft(line, " \t\r\n\x00\v\f")
		if len(line) == 0 {
			return words, true
		}
		word := []byte{}
		for len(line) > 0 && !isBlank(line[0]) {
			switch c := line[0]; c {
			case '"', '\'':
				var closed bool
				word, line, closed = quoted(word, line[1:], c)
				if !closed || len(line) > 0 && !isBlank(line[0]) {
					return nil, false
				}
			default:
				word = append(word, c)
				line = line[1:]
			}
		}
		words = append(words, word)
	}
}

// quoted appends the text before the closing quote to word, and returns the text behind the quote.
func quoted(word, text []byte, quote byte) (_, rest []byte, closed bool) {
	for len(text) > 0 {
		c := text[0]
		switch {
		case c == quote:
			return word, text[1:], true
		case c == '\\' && quote == '\'' && len(text) > 1 && text[1] == '\'':
			word, text = append(word, '\''), text[2:]
		case c == '\\' && quote == '"' && len(text) > 3 && text[1] == 'x' && unhex(text[2]) >= 0 && unhex(text[3]) >= 0:
			word, text = append(word, byte(unhex(text[2])<<4|unhex(text[3]))), text[4:]
		case c == '\\' && quote == '"' && len(text) > 1:
			word, text = append(word, unescape(text[1])), text[2:]
		default:
			word, text = append(word, c), text[1:]
		}
	}
	return nil, nil, false
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func isBlank(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r' || c == 0
}
