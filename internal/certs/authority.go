package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// Authority is a CA that signs the certificates of a cluster.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Request says what a certificate is for.
type Request struct {
	Name  string     // common name
	Hosts []string   // names and IP addresses
	URIs  []*url.URL // such as ndring://cluster/<id>/node/<id>
	From  time.Time
	Until time.Time
}

// Pair is a certificate with its private key, both in PEM.
type Pair struct{ Cert, Key []byte }

// NewAuthority makes a CA with a new key.
func NewAuthority(name string, from, until time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

// LoadAuthority returns the CA of a pair as PEM returns it.
func LoadAuthority(pair Pair) (*Authority, error) {
	block, _ := pem.Decode(pair.Cert)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("there is no certificate of a CA")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("the certificate of %s is not one of a CA", cert.Subject.CommonName)
	}
	if block, _ = pem.Decode(pair.Key); block == nil {
		return nil, errors.New("there is no key of a CA")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(crypto.Signer)
	public, comparable := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !comparable || !public.Equal(key.Public()) {
		return nil, errors.New("the key is not the one of the CA's certificate")
	}
	return &Authority{cert, key}, nil
}

// Certificate returns the CA's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// PEM returns the CA's certificate and key.
func (a *Authority) PEM() (Pair, error) { return encode(a.cert.Raw, a.key) }

// Issue makes a key and its certificate, for both sides of TLS.
func (a *Authority) Issue(r Request) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: r.Name}, NotBefore: r.From, NotAfter: r.Until, URIs: r.URIs, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range r.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, err := sign(template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, err
	}
	return encode(cert.Raw, key)
}

// sign gives a certificate its serial number and signs it.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(raw)
}

func encode(cert []byte, key crypto.Signer) (Pair, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	}, nil
}
