package node

import "github.com/ndring/ndring/internal/certs"

// tlsSettings are the files of TLS.
var tlsSettings = []setting{
	{"tls-cert", "FILE", "", "file with this node's certificate (PEM), and those between it and the CA. Read again when it changes",
		textField(func(c *Config) *string { return &c.TLS.Cert }), false},
	{"tls-key", "FILE", "", "file with the private key of --tls-cert (PEM)", textField(func(c *Config) *string { return &c.TLS.Key }), false},
	{"tls-ca", "FILE", "", "file with the CAs whose certificates are accepted from others (PEM)", textField(func(c *Config) *string { return &c.TLS.CA }), false},
}

// openCertificates reads the certificate of the HTTP port; nil if it is plain.
func openCertificates(n *Node) (*certs.Store, error) {
	if !n.config.HTTP.TLS {
		return nil, nil
	}
	return certs.Open("HTTP", n.config.TLS, n.log)
}
