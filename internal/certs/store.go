package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/internal/follow"
)

// Files are the PEM files of one side of TLS.
type Files struct {
	Cert string // the certificate, followed by those between it and the CA, if any
	Key  string // its private key
	CA   string // the CAs of the other side; empty: its certificates are not checked
}

// Store holds what was last read from files, and reads them again when they change. A connection keeps what it began with.
type Store struct {
	use   string // what the certificate is for, as the log names it
	files Files
	log   *slog.Logger

	loaded atomic.Pointer[material]

	mu    sync.Mutex                    // guards all below, and serializes Reload
	seen  follow.State                  // of the files that were read last
	check func(*x509.Certificate) error // nil: any certificate is used
}

// material is what one reading of the files gave.
type material struct {
	own    tls.Certificate
	others *x509.CertPool // nil without Files.CA
	server atomic.Pointer[tls.Config]
}

// Open reads the files. Use completes the sentence "the certificate for ...".
func Open(use string, files Files, log *slog.Logger) (*Store, error) {
	s := &Store{use: use, files: files, log: log}
	if _, err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Require checks the certificate, and from now on each one that is read: one that check refuses is not used.
func (s *Store) Require(check func(*x509.Certificate) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := check(s.Leaf()); err != nil {
		return err
	}
	s.check = check
	return nil
}

// Reload reads the files if they have changed since, and reports whether other certificates are used now. After an error the
// ones before are used.
func (s *Store) Reload() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := follow.Look(s.files.Cert, s.files.Key, s.files.CA)
	if now.Same(s.seen) {
		return false, nil
	}
	m, err := s.files.read()
	if err == nil && s.check != nil {
		err = s.check(m.own.Leaf)
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the certificate for %s: %w", s.use, err)
	}
	s.seen = now // only here: the files may have been written one after the other, and are read again until they fit
	s.loaded.Store(m)
	return true, nil
}

// Watch reads the files again when they change, until ctx is done. It looks at them at an interval.
func (s *Store) Watch(ctx context.Context, every time.Duration) {
	follow.Until(ctx, every, func() error {
		changed, err := s.Reload()
		if changed {
			s.log.Info("read the certificate again", "for", s.use, "file", s.files.Cert, "until", s.Leaf().NotAfter.UTC())
		}
		return err
	}, func(err error) {
		s.log.Warn("keeping the certificate that was read before", "for", s.use, "err", err)
	})
}

// Leaf returns the node's own certificate.
func (s *Store) Leaf() *x509.Certificate { return s.loaded.Load().own.Leaf }

// Server returns the configuration of listeners. Auth says whether clients need a certificate. Each handshake takes what was
// read last.
func (s *Store) Server(auth tls.ClientAuthType) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m := s.loaded.Load()
		if c := m.server.Load(); c != nil && c.ClientAuth == auth {
			return c, nil
		}
		c := &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{m.own}, ClientAuth: auth, ClientCAs: m.others,
			DynamicRecordSizingDisabled: true, // small records help browsers show the top of a page
		}
		m.server.Store(c) // one for all connections, so that clients can resume their sessions
		return c, nil
	}}
}

// Client returns the configuration of one connection to another node, with what was read last.
func (s *Store) Client() *tls.Config {
	m := s.loaded.Load()
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{m.own}, RootCAs: m.others}
}

// read reads the files. Its errors name the file.
func (f Files) read() (*material, error) {
	var m material
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, err
	}
	if m.own, err = tls.X509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("%s with the key %s: %w", f.Cert, f.Key, err)
	}
	if now := time.Now(); now.After(m.own.Leaf.NotAfter) {
		return nil, fmt.Errorf("%s has expired on %s", f.Cert, m.own.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if f.CA == "" {
		return &m, nil
	}
	m.others, err = readPool(f.CA)
	return &m, err
}

// readPool reads a file of CA certificates.
func readPool(name string) (*x509.CertPool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New(name + " holds no certificate of a CA")
	}
	return pool, nil
}
