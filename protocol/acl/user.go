package acl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ndring/ndring/protocol/command"
)

// DefaultName is the user of connections that have not authenticated. It always exists.
const DefaultName = "default"

// MaxRules is the largest number of bytes of a user's rules, as they are printed.
const MaxRules = 64 << 10

// MaxName is the largest number of bytes of a user's name.
const MaxName = 256

// What is wrong with a rule about a user, in Redis' words.
var (
	errHash     = errors.New("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters")
	errNoHash   = errors.New("The password you are trying to remove from the user does not exist")
	errTooLong  = fmt.Errorf("The rules of one user may have %d bytes", MaxRules)
	errUserName = errors.New("Usernames can't contain spaces or null characters")
	errNoName   = errors.New("A username must not be empty")
	errLongName = fmt.Errorf("A username has at most %d bytes", MaxName)
)

// RuleError says what is wrong with a rule.
type RuleError struct {
	Rule   string
	Reason error
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("Error in ACL SETUSER modifier '%s': %s", e.Rule, e.Reason)
}

// parenthesisError is the error of a selector that does not end.
type parenthesisError string

func (e parenthesisError) Error() string {
	return fmt.Sprintf("Unmatched parenthesis in acl selector starting at '%s'.", string(e))
}

// User is a user with its rules. It does not change.
type User struct {
	name      string
	commands  *Commands
	on        bool
	noPass    bool   // every password is right
	sanitize  string // the rule about payloads that is shown, which has no effect; may be empty
	passwords []Hash
	root      selector
	more      []selector
	open      bool // root allows everything
}

// New returns a user that is off and may do nothing.
func New(c *Commands, name string) *User { return &User{name: name, commands: c, root: newSelector(c)} }

// Default returns the default user before any rule: it needs no password and may do everything.
func Default(c *Commands) *User {
	u, err := New(c, DefaultName).With("on", "nopass", "~*", "&*", "+@all")
	if err != nil {
		panic(err)
	}
	return u
}

// CheckName returns an error if a user cannot have a name.
func CheckName(name string) error {
	switch {
	case name == "":
		return errNoName
	case hasSpaces(name):
		return errUserName
	case len(name) > MaxName:
		return errLongName
	}
	return nil
}

// With returns the user with more rules. The error is a *RuleError, or says that a selector does not end; then no rule applies.
func (u *User) With(rules ...string) (*User, error) {
	rules, err := joinSelectors(rules)
	if err != nil {
		return nil, err
	}
	changed := *u
	changed.passwords, changed.root, changed.more = slices.Clone(u.passwords), u.root.clone(), slices.Clone(u.more)
	for _, rule := range rules {
		if err := changed.apply(rule); err != nil {
			return nil, &RuleError{rule, err}
		}
	}
	changed.open = changed.root.all && changed.root.allKeys
	if n := len(changed.Rules()); n > MaxRules {
		return nil, &RuleError{rules[len(rules)-1], errTooLong}
	}
	return &changed, nil
}

// joinSelectors joins the words from "(" to ")".
func joinSelectors(words []string) (rules []string, err error) {
	begun := -1
	for i, word := range words {
		switch {
		case begun >= 0:
			rules[len(rules)-1] += " " + word
			if strings.HasSuffix(word, ")") {
				begun = -1
			}
			continue
		case strings.HasPrefix(word, "(") && !strings.HasSuffix(word, ")"):
			begun = i
		}
		rules = append(rules, word)
	}
	if begun >= 0 {
		return nil, parenthesisError(words[begun])
	}
	return rules, nil
}

// apply applies one rule to a user under construction.
func (u *User) apply(rule string) error {
	switch lower := strings.ToLower(rule); lower {
	case "on", "off":
		u.on = lower == "on"
	case "nopass":
		u.noPass, u.passwords = true, nil
	case "resetpass":
		u.noPass, u.passwords = false, nil
	case "sanitize-payload", "skip-sanitize-payload":
		u.sanitize = lower
	case "clearselectors":
		u.more = nil
	case "reset":
		*u = User{name: u.name, commands: u.commands, sanitize: "sanitize-payload", root: newSelector(u.commands)}
	default:
		switch {
		case rule != "" && strings.ContainsRune("><#!", rune(rule[0])):
			return u.applyPassword(rule[0], rule[1:])
		case strings.HasPrefix(rule, "(") && strings.HasSuffix(rule, ")"):
			s := newSelector(u.commands)
			for _, word := range strings.FieldsFunc(rule[1:len(rule)-1], func(r rune) bool { return r == ' ' }) {
				if err := s.apply(u.commands, word); err != nil {
					return err
				}
			}
			u.more = append(u.more, s)
			return nil
		}
		return u.root.apply(u.commands, rule)
	}
	return nil
}

// applyPassword adds or removes a password, or its hash.
func (u *User) applyPassword(mark byte, text string) error {
	hash := hashOf(text)
	if mark == '#' || mark == '!' {
		parsed, ok := parseHash(text)
		if !ok {
			return errHash
		}
		hash = parsed
	}
	at := slices.Index(u.passwords, hash)
	if mark == '>' || mark == '#' {
		u.noPass = false
		if at < 0 {
			u.passwords = append(u.passwords, hash)
		}
		return nil
	}
	if at < 0 {
		return errNoHash
	}
	u.passwords = slices.Delete(u.passwords, at, at+1)
	return nil
}

// Kind is what a user may not do.
type Kind int

// The kinds of denials, the one that says most last.
const (
	Allowed Kind = iota
	Command
	Key
)

// Denial says what a check has found. The zero value means that the command is allowed.
type Denial struct {
	Kind Kind
	Key  int // position of the denied key among the keys
}

// Check returns what the user may not do of a command with its first argument, nil if it has none, and its keys. Of what several
// selectors deny it returns what comes closest to being allowed, as Redis does.
func (u *User) Check(row *command.Spec, first []byte, keys [][]byte) Denial {
	if u.open {
		return Denial{}
	}
	return u.check(row, first, keys)
}

func (u *User) check(row *command.Spec, first []byte, keys [][]byte) Denial {
	denial := u.root.check(u.commands, row, first, keys)
	for i := range u.more {
		if denial.Kind == Allowed {
			break
		}
		other := u.more[i].check(u.commands, row, first, keys)
		if other.Kind == Allowed || other.Kind > denial.Kind || other.Kind == denial.Kind && other.Key > denial.Key {
			denial = other
		}
	}
	return denial
}

// MayRead reports whether the user may read a key, with whatever command.
func (u *User) MayRead(key string) bool {
	if u.open || u.root.allowsKey([]byte(key), Read) {
		return true
	}
	return slices.ContainsFunc(u.more, func(s selector) bool { return s.allowsKey([]byte(key), Read) })
}

// Name returns the user's name.
func (u *User) Name() string { return u.name }

// Everything reports whether the user may do everything.
func (u *User) Everything() bool { return u.open }

// NoPass reports whether the user needs no password.
func (u *User) NoPass() bool { return u.noPass }

// Admits reports whether the user is on and needs no password: then connections need not authenticate.
func (u *User) Admits() bool { return u.on && u.noPass }

// Flags returns the rules about the user that are neither passwords nor rights.
func (u *User) Flags() []string {
	flags := []string{"off"}
	if u.on {
		flags[0] = "on"
	}
	if u.noPass {
		flags = append(flags, "nopass")
	}
	if u.sanitize != "" {
		flags = append(flags, u.sanitize)
	}
	return flags
}

// Passwords returns the hashes of the passwords.
func (u *User) Passwords() (hashes []string) {
	for _, hash := range u.passwords {
		hashes = append(hashes, hash.String())
	}
	return hashes
}

// Rights are the rules of a selector, as ACL GETUSER shows them.
type Rights struct{ Commands, Keys, Channels string }

// Rights returns the user's own rights, and those of its selectors.
func (u *User) Rights() (own Rights, selectors []Rights) {
	of := func(s *selector) Rights { return Rights{s.commandRules(), s.keyRules(), s.channelRules()} }
	for i := range u.more {
		selectors = append(selectors, of(&u.more[i]))
	}
	return of(&u.root), selectors
}

// Rules returns the rules from which the user can be made, in one line and in Redis' order.
func (u *User) Rules() string {
	words := u.Flags()
	for _, hash := range u.passwords {
		words = append(words, "#"+hash.String())
	}
	words = append(words, u.root.words()...)
	for i := range u.more {
		words = append(words, "("+strings.Join(u.more[i].words(), " ")+")")
	}
	return strings.Join(words, " ")
}

// String returns the user's line in an ACL file.
func (u *User) String() string { return "user " + u.name + " " + u.Rules() }

// ParseRules returns the user that a line of rules makes.
func ParseRules(c *Commands, name, rules string) (*User, error) {
	return New(c, name).With(splitRules(rules)...)
}

// splitRules splits a line at blanks.
func splitRules(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
}
