package certs

import (
	"crypto/x509"
	"net/url"
	"reflect"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Name{
		"ndring://node/a": {Node: "a"}, "ndring://cluster/c/node/a": {Cluster: "c", Node: "a"},
		"ndring://node/": {}, "ndring://node": {}, "ndring://cluster//node/a": {}, "ndring://cluster/c": {}, "ndring://cluster/c/node/": {}, "ndring://node/a/b": {},
		"ndring://cluster/c/node/a/": {}, "ndring://cluster/c/shard/a": {}, "ndring:node/a": {}, "https://node/a": {}, "ndring://me@node/a": {}, "ndring://node/a?b": {}, "ndring://node/a#b": {},
	} {
		uri, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseName(uri)
		if got != want || (err == nil) != (want != Name{}) {
			t.Errorf("%s is %+v: %v", text, got, err)
		}
		if err == nil && got.URI().String() != text {
			t.Errorf("%s became %s", text, got.URI())
		}
	}
	uris := []*url.URL{{Scheme: "spiffe", Host: "x"}, Name{"c", "a"}.URI(), Name{"", "b"}.URI()}
	if all, err := Names(&x509.Certificate{URIs: uris}); err != nil || !reflect.DeepEqual(all, []Name{{"c", "a"}, {"", "b"}}) {
		t.Error(all, err)
	}
	if _, err := Names(&x509.Certificate{URIs: append(uris, &url.URL{Scheme: Scheme, Host: "x"})}); err == nil {
		t.Error("a URI that names nothing is accepted")
	}
}

// Whatever a certificate contains, a name that is read is written the same way, so that two nodes never take one URI for different names.
func FuzzParseName(f *testing.F) {
	f.Add("ndring://node/a")
	f.Add("ndring://cluster/0123456789abcdef0123456789abcdef/node/0123456789abcdef0123456789abcdef01234567")
	f.Add("ndring://cluster/c%2Fnode/node/a")
	f.Fuzz(func(t *testing.T, text string) {
		uri, err := url.Parse(text)
		if err != nil {
			return
		}
		n, err := ParseName(uri)
		if err != nil {
			return
		}
		if again, err := ParseName(n.URI()); err != nil || again != n {
			t.Errorf("%q is %+v, and again %+v: %v", text, n, again, err)
		}
	})
}
