package acl

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/glob"
)

// What is wrong with a rule, in Redis' words.
var (
	errUnknown  = errors.New("Unknown command or category name in ACL")
	errSyntax   = errors.New("Syntax error")
	errFirstArg = errors.New("Allowing first-arg of a subcommand is not supported")
	errTooMany  = fmt.Errorf("A list may have %d patterns", maxPatterns)
	errAllKeys  = errors.New("Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. " +
		"Try 'resetkeys' to start with an empty list of patterns")
	errAllChannels = errors.New("Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. " +
		"Try 'resetchannels' to start with an empty list of channels")
)

// maxPatterns is the largest number of patterns of keys, and of channels, in one selector.
const maxPatterns = 4096

// selector is a set of commands together with the keys on which they may be used. A user may do what one of its
// selectors allows.
type selector struct {
	commands bits
	all      bool             // commands has every row
	future   bool             // it began with +@all, so it has commands that later versions add
	rules    []string         // of commands, behind +@all or -@all
	first    map[int][]string // first arguments, in lower case, with which a command is allowed that commands does not have

	allKeys     bool
	keys        []pattern
	allChannels bool
	channels    []string
}

// pattern is a glob of keys, and what may be done with them.
type pattern struct {
	text string
	glob []byte
	use  Use
}

func newSelector(c *Commands) selector { return selector{commands: newBits(c.table.Rows())} }

func (s selector) clone() selector {
	s.commands, s.rules, s.first = slices.Clone(s.commands), slices.Clone(s.rules), maps.Clone(s.first)
	for row, words := range s.first {
		s.first[row] = slices.Clip(words)
	}
	s.keys, s.channels = slices.Clone(s.keys), slices.Clone(s.channels)
	return s
}

// apply applies one rule.
func (s *selector) apply(c *Commands, rule string) error {
	switch strings.ToLower(rule) {
	case "allkeys", "~*":
		s.allKeys, s.keys = true, nil
	case "resetkeys":
		s.allKeys, s.keys = false, nil
	case "allchannels", "&*":
		s.allChannels, s.channels = true, nil
	case "resetchannels":
		s.allChannels, s.channels = false, nil
	case "allcommands", "+@all":
		s.everything(c, true)
	case "nocommands", "-@all":
		s.everything(c, false)
	default:
		switch {
		case rule == "":
			return errSyntax
		case rule[0] == '~' || rule[0] == '%':
			return s.addKeys(rule)
		case rule[0] == '&':
			return s.addChannel(rule[1:])
		case rule[0] == '+' || rule[0] == '-':
			return s.applyCommand(c, strings.ToLower(rule[1:]), rule[0] == '+')
		}
		return errSyntax
	}
	return nil
}

// everything allows all commands, or none.
func (s *selector) everything(c *Commands, allow bool) {
	for _, row := range c.table.All() {
		s.commands.set(row.Index, allow)
	}
	s.all, s.future, s.rules, s.first = allow, allow, nil, nil
}

// hasSpaces reports whether a text could not be one word of a rule.
func hasSpaces(text string) bool { return strings.ContainsAny(text, " \t\n\v\f\r\x00") }

// addKeys adds a pattern of keys: ~GLOB or %RW~GLOB.
func (s *selector) addKeys(rule string) error {
	use, text := Read|Write, rule[1:]
	if rule[0] == '%' {
		letters, rest, found := strings.Cut(text, "~")
		if !found || letters == "" {
			return errSyntax
		}
		use, text = 0, rest
		for _, letter := range letters {
			one := map[rune]Use{'r': Read, 'R': Read, 'w': Write, 'W': Write}[letter]
			if one == 0 || use&one != 0 {
				return errSyntax
			}
			use |= one
		}
	}
	switch {
	case hasSpaces(text):
		return errSyntax
	case s.allKeys:
		return errAllKeys
	case text == "*" && use == Read|Write:
		s.allKeys, s.keys = true, nil
		return nil
	}
	for i := range s.keys {
		if s.keys[i].text == text {
			s.keys[i].use |= use
			if text == "*" && s.keys[i].use == Read|Write {
				s.allKeys, s.keys = true, nil
			}
			return nil
		}
	}
	if len(s.keys) == maxPatterns {
		return errTooMany
	}
	s.keys = append(s.keys, pattern{text, []byte(text), use})
	return nil
}

func (s *selector) addChannel(text string) error {
	switch {
	case hasSpaces(text):
		return errSyntax
	case s.allChannels:
		return errAllChannels
	case slices.Contains(s.channels, text):
	case len(s.channels) == maxPatterns:
		return errTooMany
	default:
		s.channels = append(s.channels, text)
	}
	return nil
}

// applyCommand applies a rule about a command, a subcommand, a command with a first argument, or a category.
func (s *selector) applyCommand(c *Commands, name string, allow bool) error {
	var changed []*command.Spec
	if category, is := strings.CutPrefix(name, "@"); is {
		in, known := c.categories[category]
		if !known {
			return errUnknown
		}
		changed = slices.DeleteFunc(c.table.All(), func(row *command.Spec) bool { return !in.has(row.Index) })
	} else {
		base, rest, isSub := strings.Cut(name, "|")
		row := c.table.Find([]byte(base))
		switch {
		case row == nil:
			return errUnknown
		case !isSub:
			changed = append([]*command.Spec{row}, row.Sub...)
		case rest == "":
			return errSyntax
		case len(row.Sub) == 0:
			return s.addFirst(row, name, rest, allow)
		default:
			sub, _, more := strings.Cut(rest, "|")
			row = c.table.FindFull([]byte(base + "|" + sub))
			if row == nil {
				return errUnknown
			}
			if more {
				return errFirstArg
			}
			changed = []*command.Spec{row}
		}
	}
	for _, row := range changed {
		s.commands.set(row.Index, allow)
		delete(s.first, row.Index)
	}
	s.all = true
	for _, row := range c.table.All() {
		s.all = s.all && s.commands.has(row.Index)
	}
	s.note(name, allow)
	return nil
}

// addFirst allows a command with one first argument, as earlier versions of Redis did with subcommands.
func (s *selector) addFirst(row *command.Spec, name, word string, allow bool) error {
	if !allow || strings.Contains(word, "|") || hasSpaces(word) {
		return errUnknown
	}
	if !slices.Contains(s.first[row.Index], word) {
		if s.first == nil {
			s.first = map[int][]string{}
		}
		s.first[row.Index] = append(s.first[row.Index], word)
	}
	s.note(name, allow)
	return nil
}

// note adds a rule to those that say which commands there are, in place of earlier ones that it overrides.
func (s *selector) note(name string, allow bool) {
	s.rules = slices.DeleteFunc(s.rules, func(rule string) bool {
		rest, same := strings.CutPrefix(rule[1:], name)
		return same && (rest == "" || rest[0] == '|')
	})
	sign := "-"
	if allow {
		sign = "+"
	}
	s.rules = append(s.rules, sign+name)
}

// check returns what the selector denies of a command with its first argument and its keys.
func (s *selector) check(c *Commands, row *command.Spec, first []byte, keys [][]byte) Denial {
	if !s.all && !s.commands.has(row.Index) && row.Flags&command.NoAuth == 0 && !s.allowsFirst(row, first) {
		return Denial{Kind: Command}
	}
	if s.allKeys {
		return Denial{}
	}
	use := c.uses[row.Index]
	for i, key := range keys {
		if !s.allowsKey(key, use) {
			return Denial{Kind: Key, Key: i}
		}
	}
	return Denial{}
}

func (s *selector) allowsFirst(row *command.Spec, first []byte) bool {
	return first != nil && slices.ContainsFunc(s.first[row.Index], func(word string) bool { return strings.EqualFold(word, string(first)) })
}

func (s *selector) allowsKey(key []byte, use Use) bool {
	if s.allKeys {
		return true
	}
	for i := range s.keys {
		if p := &s.keys[i]; p.use&use == use && glob.Match(p.glob, key) {
			return true
		}
	}
	return false
}

// CommandRules returns the rules about commands, as Redis shows them.
func (s *selector) commandRules() string {
	base := "-@all"
	if s.future {
		base = "+@all"
	}
	return strings.Join(append([]string{base}, s.rules...), " ")
}

// keyRules returns the patterns of keys, as Redis shows them.
func (s *selector) keyRules() string {
	if s.allKeys {
		return "~*"
	}
	words := make([]string, len(s.keys))
	for i, p := range s.keys {
		words[i] = [...]string{Read: "%R", Write: "%W", Read | Write: ""}[p.use] + "~" + p.text
	}
	return strings.Join(words, " ")
}

// channelRules returns the patterns of channels, as Redis shows them.
func (s *selector) channelRules() string {
	if s.allChannels {
		return "&*"
	}
	words := make([]string, len(s.channels))
	for i, text := range s.channels {
		words[i] = "&" + text
	}
	return strings.Join(words, " ")
}

// words returns the rules from which the selector can be made.
func (s *selector) words() (words []string) {
	if keys := s.keyRules(); keys != "" {
		words = append(words, keys)
	}
	if !s.allChannels {
		words = append(words, "resetchannels")
	}
	if channels := s.channelRules(); channels != "" {
		words = append(words, channels)
	}
	return append(words, s.commandRules())
}
