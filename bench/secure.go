package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The files of the certificate that all servers with TLS use.
var certFile, keyFile string

// makeCertificate makes the certificate in a temporary folder, and in the same folder under root, for a server that runs there.
func makeCertificate(root string) (remove func(), err error) {
	folder, err := os.MkdirTemp("", "ndring-bench-")
	if err != nil {
		return nil, err
	}
	folders := []string{folder}
	remove = func() {
		for _, f := range folders {
			os.RemoveAll(f)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "usr/bin/valkey-server")); err == nil {
		folders = append(folders, filepath.Join(root, folder))
	}
	cert, key, err := certificate()
	if err != nil {
		return remove, err
	}
	certFile, keyFile = filepath.Join(folder, "bench.crt"), filepath.Join(folder, "bench.key")
	for _, f := range folders {
		if err := os.MkdirAll(f, 0o755); err != nil {
			return remove, err
		}
		for name, text := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := os.WriteFile(filepath.Join(f, filepath.Base(name)), text, 0o600); err != nil {
				return remove, err
			}
		}
	}
	return remove, nil
}

func certificate() (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey}), nil
}

// secureKinds returns the servers that speak TLS, started so.
func secureKinds(kinds []kind) (all []kind) {
	for _, k := range kinds {
		if k.withTLS != nil {
			k.command, k.secure = k.withTLS, true
			all = append(all, k)
		}
	}
	return all
}
