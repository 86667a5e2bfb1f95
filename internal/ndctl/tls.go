package ndctl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// tlsOptions say whether connections to nodes have TLS, and with which certificates.
type tlsOptions struct {
	on                     bool
	caCert, cert, key, sni string

	config *tls.Config // nil: plain connections; set by load
}

func (o *tlsOptions) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.on, "tls", false, "connect with TLS (default: NDRING_TLS)")
	flags.StringVar(&o.caCert, "cacert", "", "`FILE` with the CA of the nodes' certificates (default: NDRING_TLS_CA, else the CAs of the system)")
	flags.StringVar(&o.cert, "cert", "", "`FILE` with the certificate of this client, if nodes want one (default: NDRING_TLS_CERT)")
	flags.StringVar(&o.key, "key", "", "`FILE` with the private key of --cert (default: NDRING_TLS_KEY)")
	flags.StringVar(&o.sni, "sni", "", "`HOST` that the nodes' certificates must have (default: the host of each address)")
}

// load reads the files. The environment counts where there is no flag; a node's container has most of it already.
func (o *tlsOptions) load(env environment) error {
	given := o.caCert + o.cert + o.key + o.sni
	switch text := strings.ToLower(env.get("NDRING_TLS")); {
	case o.on:
	case text == "yes" || text == "1" || text == "true":
		o.on = true
	case text == "no" || text == "0" || text == "false":
	case text != "":
		return usageError("NDRING_TLS %q is neither yes nor no", text)
	case env.get("NDRING_TLS_CERT") != "":
		o.on = true
	}
	if !o.on {
		if given != "" {
			return usageError("--cacert, --cert, --key and --sni need --tls")
		}
		return nil
	}
	ca, cert, key := o.caCert, o.cert, o.key
	if ca == "" {
		ca = env.get("NDRING_TLS_CA")
	}
	if cert == "" && key == "" {
		cert, key = env.get("NDRING_TLS_CERT"), env.get("NDRING_TLS_KEY")
	}
	if (cert == "") != (key == "") {
		return usageError("--cert and --key go together")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.sni}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return usageError("--cacert: %w", err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(text) {
			return usageError("--cacert: %s holds no certificate of a CA", ca)
		}
	}
	if cert != "" {
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return usageError("--cert %s with --key %s: %w", cert, key, err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil } // also to a node with another CA, which says so
	}
	o.config = config
	return nil
}

// encrypted reports whether connections to nodes have TLS.
func (o *tlsOptions) encrypted() bool { return o.config != nil }

// explainTLS says in plain words what is wrong with TLS; "" for an error that is about something else.
func explainTLS(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	text := err.Error()
	switch {
	case errors.As(err, &authority):
		return "the node's certificate is signed by an unknown authority: give its CA with --cacert FILE"
	case errors.As(err, &host):
		return fmt.Sprintf("the node's certificate is for other hosts than %s (%v): give one of these with --sni, or the node a certificate for this one (ndctl certs node --host)", host.Host, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the node's certificate has expired, or is not valid yet: " + invalid.Detail
	case errors.As(err, &verification):
		return "the node's certificate is not accepted: " + text
	case errors.As(err, &record):
		return "the node does not speak TLS on this port: leave out --tls, or give the address of a listener with TLS"
	case isGarbled(err) && strings.Contains(text, `\x15\x03`):
		return "the node speaks TLS on this port: give --tls"
	case strings.Contains(text, "tls: certificate required"):
		return "the node wants a client certificate: give --cert FILE and --key FILE (ndctl certs client makes one)"
	case strings.Contains(text, "remote error: tls: "):
		return "the node refuses this client's certificate (" + text[strings.Index(text, "tls: ")+5:] + "): see --cert and --key"
	}
	return ""
}
