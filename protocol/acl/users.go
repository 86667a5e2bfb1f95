package acl

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Users is a set of users, one of which is the default user. It does not change.
type Users struct{ byName map[string]*User }

// Get returns a user, or nil.
func (s *Users) Get(name string) *User { return s.byName[name] }

// Default returns the default user.
func (s *Users) Default() *User { return s.byName[DefaultName] }

// All returns the users, sorted by name.
func (s *Users) All() (users []*User) {
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		users = append(users, s.byName[name])
	}
	return users
}

// ParseFile reads the text of an ACL file: a line "user NAME rule..." for each user; blank lines and lines that begin with # are
// ignored. The error names all wrong lines.
func ParseFile(c *Commands, name, text string) (map[string]*User, error) {
	users := map[string]*User{}
	var wrong []error
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		u, err := parseLine(c, line)
		if err == nil && users[u.name] != nil {
			err = fmt.Errorf("duplicate user '%s'", u.name)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", name, i+1, err))
			continue
		}
		users[u.name] = u
	}
	if len(wrong) > 0 {
		return nil, &FileError{wrong}
	}
	return users, nil
}

// FileError are the wrong lines of an ACL file.
type FileError struct{ Lines []error }

func (e *FileError) Error() string {
	texts := make([]string, len(e.Lines))
	for i, err := range e.Lines {
		texts[i] = err.Error() + "."
	}
	return strings.Join(texts, " ")
}

func parseLine(c *Commands, line string) (*User, error) {
	words := splitRules(line)
	if len(words) < 2 || words[0] != "user" {
		return nil, errors.New("a line begins with 'user' and the name of the user")
	}
	if err := CheckName(words[1]); err != nil {
		return nil, err
	}
	u, err := New(c, words[1]).With(words[2:]...)
	var rule *RuleError
	if errors.As(err, &rule) {
		return nil, fmt.Errorf("error in rule '%s': %w", ShownRule(rule.Rule), rule.Reason)
	}
	return u, err
}

// ShownRule returns what logs and messages show of a rule: nothing of a password, nor of what may be one whose first character was forgotten.
func ShownRule(rule string) string {
	if rule != "" && strings.ContainsRune("+-~%&(", rune(rule[0])) || words[strings.ToLower(rule)] {
		return rule
	}
	return "(redacted)"
}

// words are the rules that are one word.
var words = func() map[string]bool {
	all := map[string]bool{}
	for _, word := range strings.Fields("on off nopass resetpass reset allkeys resetkeys allchannels resetchannels allcommands nocommands clearselectors " +
		"sanitize-payload skip-sanitize-payload") {
		all[word] = true
	}
	return all
}()

// FormatFile returns the text of an ACL file with users.
func FormatFile(users map[string]*User) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(users)) {
		b.WriteString(users[name].String() + "\n")
	}
	return b.String()
}
