package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ask sends a request and returns the status and the reply's beginning.
func ask(t *testing.T, client *http.Client, method, url string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	reply, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, string(body)
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// With a password only the probes answer everyone. The password is followed like that of clients.
func TestHTTPPassword(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := openNode(t, "--http-password-file", file)
	at := "http://" + n.HTTPAddr().String()
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for _, test := range []struct {
		path, authorization string
		want                int
	}{
		{"/healthz", "", 200}, {"/readyz", "", 200}, {"/metrics", "", 401}, {"/", "", 401}, {"/nosuch", "", 401}, {"/healthz/", "", 401}, {"/metrics/../metrics", "", 401},
		{"/metrics", basic("prometheus", "secret"), 200}, {"/metrics", basic("", "secret"), 200}, {"/metrics", "Bearer secret", 200}, {"/nosuch", "Bearer secret", 404},
		{"/metrics", basic("secret", ""), 401}, {"/metrics", basic("x", "secre"), 401}, {"/metrics", "Bearer secrets", 401}, {"/metrics", "Bearer ", 401}, {"/metrics", "secret", 401}, {"/metrics", "Basic !", 401},
	} {
		header := []string{}
		if test.authorization != "" {
			header = []string{"Authorization", test.authorization}
		}
		code, body := ask(t, client, "GET", at+test.path, header...)
		if code != test.want || strings.Contains(body, "secret") {
			t.Errorf("%s with %q: %d %s", test.path, test.authorization, code, body)
		}
	}
	if _, body := ask(t, client, "GET", at+"/metrics", "Authorization", "Bearer secret"); !strings.Contains(body, "\nndring_http_denied_total 6\n") {
		t.Error("wrong passwords are not counted")
	}
	if code, _ := ask(t, client, "POST", at+"/metrics", "Authorization", "Bearer secret"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	if err := os.WriteFile(file, []byte("another one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the new password counts", func() bool {
		code, _ := ask(t, client, "GET", at+"/metrics", "Authorization", "Bearer another one")
		return code == 200
	})
	if code, _ := ask(t, client, "GET", at+"/metrics", "Authorization", "Bearer secret"); code != 401 {
		t.Errorf("the old password: %d", code)
	}
}

// The HTTP port speaks TLS if it is to, and the health check with it.
func TestHTTPWithTLS(t *testing.T) {
	t.Parallel()
	files, pool := makeTLSFiles(t), x509.NewCertPool()
	pool.AddCert(files.authority.Certificate())
	n := openNode(t, "--http-tls", "yes", "--tls-cert", files.cert, "--tls-key", files.key)
	address := n.HTTPAddr().String()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	reply, err := client.Get("https://" + address + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode != 200 || reply.ProtoMajor != 1 || reply.TLS.Version != tls.VersionTLS13 {
		t.Errorf("%s over %s, TLS %x", reply.Status, reply.Proto, reply.TLS.Version)
	}
	if code, _ := httpGet(t, "http://"+address+"/readyz"); code != http.StatusBadRequest {
		t.Errorf("without TLS: %d", code)
	}
	if out, said, code := runProgram("healthcheck", "--addr", address, "--tls"); code != exitOK || out != "ready\n" {
		t.Errorf("health check with TLS: exit code %d, %q, %q", code, out, said)
	}
	if _, said, code := runProgram("healthcheck", "--addr", address); code != exitFailure {
		t.Errorf("health check without TLS: exit code %d, %q", code, said)
	}
	if out, err := program(t, []string{"NDRING_HTTP_TLS=yes", "NDRING_HTTP_PORT=" + portIn(address)}, "healthcheck").CombinedOutput(); err != nil {
		t.Errorf("health check by the environment: %s%v", out, err)
	}
	for _, args := range [][]string{{"--http-tls", "yes"}, {"--http-tls", "yes", "--tls-cert", files.cert}} {
		if _, err := ParseConfig(args, environment(), ""); err == nil || !strings.Contains(err.Error(), "--http-tls needs --tls-cert and --tls-key") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// Profiles have their own port on loopback, and only if one is given.
func TestProfiles(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portIn(free.Addr().String())
	free.Close()
	n := openNode(t, "--bind", "127.0.0.3", "--pprof-port", port)
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for _, test := range []struct {
		url  string
		host []string
		want int
	}{
		{"http://127.0.0.1:" + port + "/debug/pprof/", nil, 200}, {"http://127.0.0.1:" + port + "/debug/pprof/goroutine", nil, 200},
		{"http://127.0.0.1:" + port + "/debug/pprof/", []string{"Host", "localhost"}, 200}, {"http://127.0.0.1:" + port + "/debug/pprof/", []string{"Host", "evil.example:" + port}, 403},
		{"http://127.0.0.1:" + port + "/debug/pprof/cmdline", nil, 404}, {"http://127.0.0.1:" + port + "/metrics", nil, 404},
		{"http://" + n.HTTPAddr().String() + "/debug/pprof/", nil, 404},
	} {
		if code, body := ask(t, client, "GET", test.url, test.host...); code != test.want {
			t.Errorf("%s %v: %d %.200s", test.url, test.host, code, body)
		}
	}
	if conn, err := net.DialTimeout("tcp", "127.0.0.3:"+port, 10*time.Second); err == nil {
		conn.Close()
		t.Error("the profiles are on the address of --bind")
	}
}

// Clients that hold connections, send headers slowly or without end, or never read, do not keep a probe from its answer.
func TestHostileHTTP(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.config.Descriptors.HTTP = 4
	log := new(lineCounter)
	n.log = slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	if err := n.Open(ctx); err != nil {
		t.Fatal(err)
	}
	address := n.HTTPAddr().String()
	before := log.count()
	for round := range 3 {
		for i, sent := range []string{
			"", "GET", "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("x", 100_000),
			"GET /readyz HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20), "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nabc", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
			"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "*1\r\n$4\r\nPING\r\n",
		} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go io.WriteString(conn, sent) // fails when the connection ends
			if code, body := httpGet(t, "http://"+address+"/readyz"); code != 200 {
				t.Fatalf("round %d, input %d: %d %s", round, i, code, body)
			}
		}
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "GET /readyz HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 2*maxHeader))
	if reply, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || reply.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long header: %v, %v", reply, err)
	}
	if lines := log.count() - before; lines > 3 {
		t.Errorf("%d lines were logged", lines)
	}
}
