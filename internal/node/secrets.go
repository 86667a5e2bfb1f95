package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/ndring/ndring/internal/follow"
)

// secretSettings are the settings whose values no reply, log line or error shows.
var secretSettings = []string{"requirepass"}

// hiddenSecret is what CONFIG GET shows in place of a secret.
const hiddenSecret = "(redacted)"

func (s *setting) secret() bool { return slices.Contains(secretSettings, s.name) }

// shown returns the value of a setting as others may see it.
func (s *setting) shown(c *Config) string {
	value := s.get(c)
	if s.secret() && value != "" {
		return hiddenSecret
	}
	return value
}

// secretField is a secret. A client that writes back all that CONFIG GET shows must not make the text in its place the secret.
func secretField(at func(*Config) *string) field {
	f := textField(at)
	return field{get: f.get, set: func(c *Config, s string) error {
		if s == hiddenSecret {
			return errors.New("must be a password, not the text that CONFIG GET shows in its place")
		}
		return f.set(c, strings.Clone(s)) // hideArguments overwrites what the process was started with
	}}
}

// hideArguments overwrites the values of secret flags in the arguments of the process, so that the process list shows them no
// longer. Args must be os.Args: on Linux they are the very bytes that the system shows.
func hideArguments(args []string) {
	if runtime.GOOS != "linux" {
		return
	}
	for i, arg := range args {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") || !slices.Contains(secretSettings, name) {
			continue
		}
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		if value != "" {
			copy(unsafe.Slice(unsafe.StringData(value), len(value)), strings.Repeat("*", len(value)))
		}
	}
}

// secretFile is a file whose first line is a secret. Without a name it holds none.
type secretFile struct {
	use, name string // what the secret is, and where it is
	secret    atomic.Pointer[string]
	seen      follow.State // of the file when it was read last; only one goroutine uses it
}

const maxSecret = 4 << 10 // bytes of a secret in a file

// openSecret reads a file. Use completes the sentence "cannot read ...".
func openSecret(use, name string) (*secretFile, error) {
	f := &secretFile{use: use, name: name}
	f.secret.Store(new(string))
	_, err := f.reload()
	return f, err
}

// value returns the secret that was read last; empty if there is none.
func (f *secretFile) value() string { return *f.secret.Load() }

// reload reads the file if it has changed, and reports whether it holds another secret. After an error the secret stays.
func (f *secretFile) reload() (changed bool, err error) {
	if f.name == "" {
		return false, nil
	}
	now := follow.Look(f.name)
	if now.Same(f.seen) {
		return false, nil
	}
	secret, err := readSecret(f.name)
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", f.use, err)
	}
	f.seen = now
	return *f.secret.Swap(&secret) != secret, nil
}

// readSecret returns the first line of a file without its end. Errors show nothing of it.
func readSecret(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecret+2))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	switch {
	case line == "":
		return "", fmt.Errorf("the first line of %s is empty", name)
	case len(line) > maxSecret:
		return "", fmt.Errorf("the first line of %s is longer than %d bytes", name, maxSecret)
	case line == hiddenSecret:
		return "", fmt.Errorf("%s holds the text that CONFIG GET shows in place of a password", name)
	}
	return line, nil
}

// watch reads the file again when it changes, until ctx is done, and passes another secret on. A pipe is read only once.
func (f *secretFile) watch(ctx context.Context, log *slog.Logger, changed func(secret string)) {
	if f.name == "" || f.seen[0] == nil || !f.seen[0].Mode().IsRegular() {
		return
	}
	follow.Until(ctx, follow.Interval, func() error {
		another, err := f.reload()
		if another {
			log.Info("read "+f.use+" again", "file", f.name)
			changed(f.value())
		}
		return err
	}, func(err error) {
		log.Warn("keeping "+f.use+" as read before", "err", err)
	})
}

// watchPassword reads the password of clients from its file, if there is one, and later again when the file changes.
func watchPassword(n *Node) (watch func(context.Context), err error) {
	file, err := openSecret("the password of clients", n.config.PasswordFile)
	if err != nil {
		return nil, err
	}
	if password := file.value(); password != "" {
		n.config.Server.Password = password
		n.effective.replacePassword(password)
	}
	return func(ctx context.Context) { file.watch(ctx, n.log, n.effective.replacePassword) }, nil
}
