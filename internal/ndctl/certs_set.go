package ndctl

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ndring/ndring/internal/certs"
	"github.com/ndring/ndring/internal/datafolder"
)

// certSet is a folder with the CA of a cluster, the gossip key, and a folder for each node and each client:
//
//	cluster-id  gossip.key
//	ca/         ca.crt ca.key
//	NODE/       tls.crt tls.key bus.crt bus.key ca.crt gossip.key
//	CLIENT/     tls.crt tls.key ca.crt
//
// A node has two certificates: that for its clients names its hosts, that for the bus names node and cluster.
type certSet struct {
	dir       string
	cluster   string
	authority *certs.Authority
}

// Names in a set.
const (
	caFolder      = "ca"
	caCert        = "ca.crt"
	caKey         = "ca.key"
	clusterIDFile = "cluster-id"
	gossipKeyFile = "gossip.key"
	tlsName       = "tls" // of tls.crt and tls.key
	busName       = "bus"
)

const (
	caDays     = 3650
	leafDays   = 365
	clockSlack = 5 * time.Minute // by which the clocks of two machines may differ when a certificate is new
)

// secretFile and secretFolder are the permissions of all that is made.
const (
	secretFile   = 0o600
	secretFolder = 0o700
)

var (
	certNames  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	clusterIDs = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// newCertSet makes a CA, a gossip key and a cluster id, if that is empty, in a folder that does not exist yet.
func newCertSet(dir, cluster string) (*certSet, error) {
	if cluster == "" {
		cluster = hex.EncodeToString(randomBytes(16))
	}
	if !clusterIDs.MatchString(cluster) || strings.Trim(cluster, "0") == "" {
		return nil, usageError("--cluster-id %q is not an id of 32 hexadecimal digits, such as ndctl status shows", cluster)
	}
	now := time.Now()
	authority, err := certs.NewAuthority("ndring cluster "+cluster, now.Add(-clockSlack), now.AddDate(0, 0, caDays))
	if err != nil {
		return nil, err
	}
	pair, err := authority.PEM()
	if err != nil {
		return nil, err
	}
	s := &certSet{dir: dir, cluster: cluster, authority: authority}
	return s, errors.Join(
		makeFolder(filepath.Join(dir, caFolder), map[string][]byte{caCert: pair.Cert, caKey: pair.Key}),
		writeSecret(filepath.Join(dir, clusterIDFile), []byte(cluster+"\n")),
		writeSecret(filepath.Join(dir, gossipKeyFile), newGossipKey()),
	)
}

// newGossipKey returns a random key as a key file has it.
func newGossipKey() []byte { return []byte(hex.EncodeToString(randomBytes(32)) + "\n") }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // it never fails
	return b
}

// openCertSet reads the CA of a set.
func openCertSet(dir string) (*certSet, error) {
	id, err := os.ReadFile(filepath.Join(dir, clusterIDFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure("%s has no set of certificates: make one with ndctl certs init --out %[1]s, or name its folder with --out", dir)
	}
	if err != nil {
		return nil, err
	}
	s := &certSet{dir: dir, cluster: strings.TrimSpace(string(id))}
	var pair certs.Pair
	if pair.Cert, err = os.ReadFile(s.file(caFolder, caCert)); err != nil {
		return nil, err
	}
	pair.Key, err = os.ReadFile(s.file(caFolder, caKey))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure("%s is missing: the key of the CA is needed to make and renew certificates", s.file(caFolder, caKey))
	}
	if err != nil {
		return nil, err
	}
	if s.authority, err = certs.LoadAuthority(pair); err != nil {
		return nil, failure("%s: %w", s.file(caFolder), err)
	}
	return s, nil
}

// file returns a path in the set.
func (s *certSet) file(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

// names returns the nodes and clients of the set.
func (s *certSet) names() (all []string, err error) {
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		if e.IsDir() && e.Name() != caFolder && certNames.MatchString(e.Name()) {
			all = append(all, e.Name())
		}
	}
	return all, err
}

// checkCertName refuses a name that cannot be that of a folder in the set.
func checkCertName(name string) error {
	if !certNames.MatchString(name) || slices.Contains([]string{caFolder, gossipKeyFile, clusterIDFile}, name) {
		return usageError("%q cannot be the name of a node or a client here: it takes up to 64 letters, digits, dots, hyphens and underscores, begins with a letter or a digit, and is not %s, %s or %s",
			name, caFolder, gossipKeyFile, clusterIDFile)
	}
	return nil
}

// addNode makes the folder of a node.
func (s *certSet) addNode(name string, hosts []string, days int) error {
	gossip, err := os.ReadFile(s.file(gossipKeyFile))
	if err != nil {
		return err
	}
	uri := certs.Name{Cluster: s.cluster, Node: string(datafolder.NodeID(name))}.URI()
	files := map[string][]byte{gossipKeyFile: gossip}
	if err := s.issue(files, tlsName, certs.Request{Name: name, Hosts: allHosts(name, hosts)}, days); err != nil {
		return err
	}
	if err := s.issue(files, busName, certs.Request{Name: name, URIs: []*url.URL{uri}}, days); err != nil {
		return err
	}
	return s.add(name, files)
}

// allHosts returns the hosts of a node's certificate for clients: those that were given, else its name, and those that stand for the
// machine itself.
func allHosts(name string, given []string) (all []string) {
	if len(given) == 0 {
		given = []string{name}
	}
	for _, host := range append(slices.Clone(given), "localhost", "127.0.0.1", "::1") {
		if !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

// addClient makes the folder of a client.
func (s *certSet) addClient(name string, days int) error {
	files := map[string][]byte{}
	if err := s.issue(files, tlsName, certs.Request{Name: name}, days); err != nil {
		return err
	}
	return s.add(name, files)
}

// issue adds a certificate and its key to files.
func (s *certSet) issue(files map[string][]byte, name string, r certs.Request, days int) error {
	now := time.Now()
	r.From, r.Until = now.Add(-clockSlack), now.AddDate(0, 0, days)
	if ca := s.authority.Certificate(); r.Until.After(ca.NotAfter) {
		return failure("the CA of %s is valid until %s: give fewer --days, or make a new set (ndctl certs init)", s.dir, ca.NotAfter.UTC().Format(time.DateOnly))
	}
	pair, err := s.authority.Issue(r)
	files[name+".crt"], files[name+".key"] = pair.Cert, pair.Key
	return err
}

// add makes the folder of a node or client, with the certificate of the CA.
func (s *certSet) add(name string, files map[string][]byte) error {
	if _, err := os.Lstat(s.file(name)); err == nil {
		return failure("%s exists: ndctl certs renew %s gives it new certificates", s.file(name), name)
	}
	ca, err := os.ReadFile(s.file(caFolder, caCert))
	if err != nil {
		return err
	}
	files[caCert] = ca
	return makeFolder(s.file(name), files)
}

// renew gives a node or a client certificates with the same names and hosts, and a new key and time. Days is 0 for as many as before.
// Each file is replaced at once: a node that reads it sees the old one or the new one, and waits until they fit together.
func (s *certSet) renew(name string, days int) error {
	files := map[string][]byte{}
	for _, kind := range []string{tlsName, busName} {
		old, err := readCert(s.file(name, kind+".crt"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		valid := days
		if valid == 0 {
			valid = max(1, int((old.NotAfter.Sub(old.NotBefore)).Hours()/24))
		}
		if err := s.issue(files, kind, certs.Request{Name: old.Subject.CommonName, Hosts: hostsOf(old), URIs: old.URIs}, valid); err != nil {
			return err
		}
	}
	if len(files) == 0 {
		return failure("%s has no certificate", s.file(name))
	}
	replaced := map[string][]byte{}
	for file, content := range files {
		replaced[s.file(name, file)] = content
	}
	return replaceSecrets(replaced)
}

// hostsOf returns the names and addresses of a certificate.
func hostsOf(cert *x509.Certificate) []string {
	hosts := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}

// readCert reads the first certificate of a file.
func readCert(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, failure("%s holds no certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, failure("%s: %w", path, err)
	}
	return cert, nil
}

// checkHost refuses what cannot be a host in a certificate.
func checkHost(host string) error {
	if net.ParseIP(host) == nil && (host == "" || len(host) > 253 || strings.ContainsAny(host, " :/@,[]")) {
		return usageError("--host %q is neither a name nor an IP address", host)
	}
	return nil
}

// makeFolder makes a folder with files, all of it or nothing. It replaces nothing.
func makeFolder(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(filepath.Dir(dir), secretFolder); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), ".new-") // with 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(made) // of what is left after an error
	for name, content := range files {
		if err := writeSecret(filepath.Join(made, name), content); err != nil {
			return err
		}
	}
	return os.Rename(made, dir)
}

// writeSecret makes a file that must not exist.
func writeSecret(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, secretFile)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// replaceSecrets replaces files, each at once and all within a moment. They keep their owners.
func replaceSecrets(files map[string][]byte) error {
	for path, content := range files {
		os.Remove(path + ".new") // of an attempt that was interrupted
		if err := writeSecret(path+".new", content); err != nil {
			return err
		}
		if err := likeBefore(path+".new", path); err != nil {
			return err
		}
	}
	for path := range files {
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

// likeBefore gives a file the owner and the permissions of the one that it replaces.
func likeBefore(path, before string) error {
	info, err := os.Stat(before)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(path, info.Mode().Perm())
}

// describe says in a few words what a certificate is of.
func describe(cert *x509.Certificate) (node, cluster string) {
	names, _ := certs.Names(cert) // certificates of others may be in the folder
	for _, n := range names {
		return n.Node, n.Cluster
	}
	return "", ""
}

// daysLeft returns the full days until a time; negative after it.
func daysLeft(until, now time.Time) int {
	left := until.Sub(now)
	if left < 0 {
		return -1 - int(-left/(24*time.Hour))
	}
	return int(left / (24 * time.Hour))
}

// errExpiry names what expires, for the exit code.
func errExpiry(soon []string, warn int) error {
	return failure("expired, or %d days or less are left: %s. ndctl certs renew gives them new ones", warn, strings.Join(soon, ", "))
}
