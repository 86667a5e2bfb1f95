package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/ndring/ndring/internal/certs"
)

// TLSConfig is how client listeners speak TLS.
type TLSConfig struct {
	Cert, Key  string // files; empty: no listener speaks TLS
	CA         string // file with the CAs of clients; may be empty
	ClientAuth string // a key of clientAuths
}

// clientAuths are the values of tls-client-auth.
var clientAuths = map[string]tls.ClientAuthType{"no": tls.NoClientCert, "optional": tls.VerifyClientCertIfGiven, "require": tls.RequireAndVerifyClientCert}

func setClientAuth(c *Config, s string) error {
	if _, known := clientAuths[s]; !known {
		return errors.New("must be no, optional or require")
	}
	c.TLS.ClientAuth = s
	return nil
}

// speaksTLS reports whether the clients of a listener speak TLS.
func (c *Config) speaksTLS(l ListenerConfig) bool {
	return l.TLS == "yes" || l.TLS == "" && c.TLS.Cert != ""
}

// checkTLS refuses settings of TLS that need others.
func (c *Config) checkTLS() error {
	t := &c.TLS
	switch {
	case t.Cert != "" && t.Key == "":
		return errors.New("--tls-cert needs --tls-key, the file with the private key of the certificate")
	case t.Key != "" && t.Cert == "":
		return errors.New("--tls-key needs --tls-cert, the file with the certificate of the key")
	case t.ClientAuth != "no" && t.CA == "":
		return fmt.Errorf("--tls-client-auth %s needs --tls-ca, the file with the CAs of the clients' certificates", t.ClientAuth)
	case t.CA != "" && t.Cert == "":
		return errors.New("--tls-ca needs --tls-cert and --tls-key")
	}
	for _, l := range c.Listen {
		if l.TLS == "yes" && t.Cert == "" {
			return fmt.Errorf("--listen %s=%s has tls=yes, which needs --tls-cert and --tls-key", l.Name, l.Address)
		}
	}
	return nil
}

// openClientTLS reads the certificate of the client listeners, and returns the TLS configuration of each, nil for those without TLS.
func openClientTLS(config *Config, log *slog.Logger) (*certs.Store, []*tls.Config, error) {
	all := make([]*tls.Config, len(config.Listen))
	if !slices.ContainsFunc(config.Listen, config.speaksTLS) {
		return nil, all, nil
	}
	files := certs.Files{Cert: config.TLS.Cert, Key: config.TLS.Key, CA: config.TLS.CA}
	store, err := certs.Open("clients", files, log)
	if err != nil {
		return nil, nil, err
	}
	server := store.Server(clientAuths[config.TLS.ClientAuth])
	var names []string
	for i, l := range config.Listen {
		if config.speaksTLS(l) {
			all[i] = server
			names = append(names, l.Name)
		}
	}
	log.Info("clients speak TLS", "listeners", strings.Join(names, ","), "certificate", config.TLS.Cert, "until", store.Leaf().NotAfter.UTC(), "client-auth", config.TLS.ClientAuth)
	return store, all, nil
}
