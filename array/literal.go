package array

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the type of a Python literal, as error messages name it.
type kind string

const (
	kindString kind = "a string"
	kindInt    kind = "an integer"
	kindBool   kind = "a boolean"
	kindTuple  kind = "a tuple"
	kindList   kind = "a list"
	kindDict   kind = "a dict"
)

// literal is a Python literal of one of the few kinds that headers have.
type literal struct {
	kind   kind
	text   string    // of a string
	number int64     // of an integer; 1 for True
	items  []literal // of a tuple or list; for a dict, keys and values in turn
}

// maxDepth bounds the nesting of brackets. Each structured dtype within another takes two.
const maxDepth = 64

// parser reads one literal, character by character, and never goes back.
type parser struct {
	text string
	at   int
}

// parseLiteral reads a literal that fills text except for trailing blanks.
func parseLiteral(text string) (literal, error) {
	p := parser{text: text}
	l, err := p.value(0)
	if err != nil {
		return literal{}, err
	}
	p.blanks()
	if p.at != len(p.text) {
		return literal{}, p.unexpected()
	}
	return l, nil
}

func (p *parser) value(depth int) (literal, error) {
	if depth > maxDepth {
		return literal{}, invalid("its header nests deeper than %d brackets", maxDepth)
	}
	rest := p.text[p.at:]
	switch {
	case rest == "":
		return literal{}, p.unexpected()
	case rest[0] == '(':
		return p.sequence(kindTuple, ')', depth)
	case rest[0] == '[':
		return p.sequence(kindList, ']', depth)
	case rest[0] == '{':
		return p.dict(depth)
	case rest[0] == '\'' || rest[0] == '"':
		return p.quoted()
	case len(rest) > 1 && (rest[0] == 'u' || rest[0] == 'U') && (rest[1] == '\'' || rest[1] == '"'): // Python 2 wrote these
		p.at++
		return p.quoted()
	case rest[0] == '-' || rest[0] >= '0' && rest[0] <= '9':
		return p.integer()
	case p.word("True"):
		return literal{kind: kindBool, number: 1}, nil
	case p.word("False"):
		return literal{kind: kindBool}, nil
	}
	return literal{}, p.unexpected()
}

// sequence reads a list, a tuple, or one value in parentheses, which without a comma is not a tuple.
func (p *parser) sequence(k kind, closing byte, depth int) (literal, error) {
	p.at++
	l := literal{kind: k}
	for comma := true; ; {
		p.blanks()
		if p.take(closing) {
			if k == kindTuple && len(l.items) == 1 && !comma {
				return l.items[0], nil
			}
			return l, nil
		}
		if !comma {
			return literal{}, p.unexpected()
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return literal{}, err
		}
		l.items = append(l.items, item)
		p.blanks()
		comma = p.take(',')
	}
}

func (p *parser) dict(depth int) (literal, error) {
	p.at++
	l := literal{kind: kindDict}
	for comma := true; ; {
		p.blanks()
		if p.take('}') {
			return l, nil
		}
		if !comma {
			return literal{}, p.unexpected()
		}
		key, err := p.value(depth + 1)
		if err != nil {
			return literal{}, err
		}
		p.blanks()
		if !p.take(':') {
			return literal{}, p.unexpected()
		}
		p.blanks()
		value, err := p.value(depth + 1)
		if err != nil {
			return literal{}, err
		}
		l.items = append(l.items, key, value)
		p.blanks()
		comma = p.take(',')
	}
}

// integer reads a decimal integer, with the L that Python 2 appended to a long one.
func (p *parser) integer() (literal, error) {
	start := p.at
	p.take('-')
	digits := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	n, err := strconv.ParseInt(p.text[start:p.at], 10, 64)
	if err != nil && p.at > digits {
		return literal{}, invalid("the integer %.40s overflows", p.text[start:p.at])
	}
	if err != nil || p.at-digits > 1 && p.text[digits] == '0' {
		return literal{}, invalid("%.40q in its header is not an integer", p.text[start:p.at])
	}
	if !p.take('L') {
		p.take('l')
	}
	return literal{kind: kindInt, number: n}, nil
}

// quoted reads a string with Python's escapes.
func (p *parser) quoted() (literal, error) {
	quote := p.text[p.at]
	p.at++
	rest := p.text[p.at:]
	if end := strings.IndexByte(rest, quote); end >= 0 && strings.IndexByte(rest[:end], '\\') < 0 && strings.IndexByte(rest[:end], '\n') < 0 {
		p.at += end + 1
		return literal{kind: kindString, text: rest[:end]}, nil
	}
	var b strings.Builder
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch c {
		case quote:
			return literal{kind: kindString, text: b.String()}, nil
		case '\n':
			return literal{}, invalid("a string in its header is not closed")
		case '\\':
			if err := p.escape(&b); err != nil {
				return literal{}, err
			}
		default:
			b.WriteByte(c)
		}
	}
	return literal{}, invalid("a string in its header is not closed")
}

// escapes are the escapes of one character.
var escapes = map[byte]string{
	'\n': "", '\\': "\\", '\'': "'", '"': "\"",
	'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}

func (p *parser) escape(b *strings.Builder) error {
	if p.at == len(p.text) {
		return invalid("a string in its header is not closed")
	}
	c := p.text[p.at]
	p.at++
	if s, ok := escapes[c]; ok {
		b.WriteString(s)
		return nil
	}
	digits := 0
	switch {
	case c == 'x':
		digits = 2
	case c == 'u':
		digits = 4
	case c == 'U':
		digits = 8
	case c >= '0' && c <= '7':
		return p.octal(b)
	default: // Python keeps the backslash of an unknown escape
		b.WriteByte('\\')
		p.at--
		return nil
	}
	if p.at+digits > len(p.text) {
		return invalid("a string in its header ends within an escape")
	}
	n, err := strconv.ParseUint(p.text[p.at:p.at+digits], 16, 32)
	if err != nil || n > unicode.MaxRune || !utf8.ValidRune(rune(n)) {
		return invalid("\\%c%s in its header is not a character", c, p.text[p.at:p.at+digits])
	}
	b.WriteRune(rune(n))
	p.at += digits
	return nil
}

func (p *parser) octal(b *strings.Builder) error {
	n := rune(p.text[p.at-1] - '0')
	for i := 0; i < 2 && p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '7'; i++ {
		n = n*8 + rune(p.text[p.at]-'0')
		p.at++
	}
	b.WriteRune(n)
	return nil
}

func (p *parser) blanks() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r', '\f':
			p.at++
		default:
			return
		}
	}
}

// take skips c if it is next.
func (p *parser) take(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) word(w string) bool {
	if strings.HasPrefix(p.text[p.at:], w) {
		p.at += len(w)
		return true
	}
	return false
}

func (p *parser) unexpected() error {
	if p.at >= len(p.text) {
		return invalid("its header ends too early")
	}
	c, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return invalid("%q at character %d of its header is not part of a plain literal", c, p.at)
}

// descr returns a dtype's literal as numpy writes it: a string bare, everything else as Python's
// repr.
func (l *literal) descr() string {
	if l.kind == kindString {
		return l.text
	}
	var b strings.Builder
	l.repr(&b)
	return b.String()
}

func (l *literal) repr(b *strings.Builder) {
	switch l.kind {
	case kindString:
		reprString(b, l.text)
	case kindInt:
		b.WriteString(strconv.FormatInt(l.number, 10))
	case kindTuple, kindList:
		brackets := "()"
		if l.kind == kindList {
			brackets = "[]"
		}
		b.WriteByte(brackets[0])
		for i := range l.items {
			if i > 0 {
				b.WriteString(", ")
			}
			l.items[i].repr(b)
		}
		if l.kind == kindTuple && len(l.items) == 1 {
			b.WriteByte(',')
		}
		b.WriteByte(brackets[1])
	}
}

// reprString quotes as Python does: with double quotes only if the string has single quotes and no
// double ones.
func reprString(b *strings.Builder, s string) {
	quote := '\''
	if strings.ContainsRune(s, '\'') && !strings.ContainsRune(s, '"') {
		quote = '"'
	}
	b.WriteRune(quote)
	for _, c := range s {
		switch {
		case c == quote || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == ' ' || unicode.IsPrint(c):
			b.WriteRune(c)
		case c < 0x100:
			b.WriteString(`\x` + hex(c, 2))
		case c < 0x10000:
			b.WriteString(`\u` + hex(c, 4))
		default:
			b.WriteString(`\U` + hex(c, 8))
		}
	}
	b.WriteRune(quote)
}

func hex(c rune, digits int) string {
	s := strconv.FormatInt(int64(c), 16)
	return strings.Repeat("0", digits-len(s)) + s
}
