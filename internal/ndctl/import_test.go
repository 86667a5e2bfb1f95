package ndctl

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Arrays are copied with their time to live; values that are not arrays are reported and not copied.
func TestImport(t *testing.T) {
	t.Parallel()
	url, from := startRedis(t)
	ctx := t.Context()
	var zipped bytes.Buffer
	if err := zip.NewWriter(&zipped).Close(); err != nil {
		t.Fatal(err)
	}
	zipped.Reset()
	w := zip.NewWriter(&zipped)
	if f, err := w.Create("arr_0.npy"); err != nil {
		t.Fatal(err)
	} else if _, err := f.Write([]byte(npyOf(1))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	object := strings.Replace(npyOf(1), "'<f8'", "'|O' ", 1)
	values := map[string]string{
		"np:a": npyOf(3), "np:b": npyOf(1000), "np:there": npyOf(2), "np:big": npyOf(5000), "np:short": npyOf(3)[:140], "np:long": npyOf(3) + "more",
		"np:object": object, "np:zip": zipped.String(), "np:pickle": "\x80\x04K\x01.", "np:empty": "", "np:text": "hello", "other": npyOf(1), "odd\xff\n": npyOf(4),
	}
	pairs := []any{}
	for k, v := range values {
		pairs = append(pairs, k, v)
	}
	if err := errors.Join(from.MSet(ctx, pairs...).Err(), from.LPush(ctx, "np:list", "x").Err(), from.Expire(ctx, "np:b", time.Hour).Err()); err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, 2)
	if r := runWith(t, c.env(), npyOf(9), "put", "np:there", "-"); r.code != 0 {
		t.Fatal(r.err)
	}
	reasons := []string{
		"\n1 x a .npy file with trailing bytes:\n \"np:long\" (string, SIZE: ", "\n1 x a damaged .npy file:\n \"np:short\" (", "\n1 x a list, not a string:\n \"np:list\" (list)\n",
		"\n1 x a pickle, which is never loaded:\n \"np:pickle\" (", "\n1 x a zip file, as np.savez writes it; save its arrays one by one:\n \"np:zip\"",
		"\n1 x an array of objects, which contains a pickle:\n \"np:object\" (", "\n1 x an empty string:\n \"np:empty\" (string, SIZE)\n",
		"\n1 x larger than --max-array-bytes 20000:\n \"np:big\" (", "\n1 x not a .npy file:\n \"np:text\" (string, SIZE)\n",
	}
	dry := c.run(c.env(), "import", url, "--match", "np:*", "--max-array-bytes", "20000", "--dry-run", "--count", "3")
	if dry.code != 0 || !matches(c.plainly(dry.out), append(reasons, "12 keys: 2 arrays would be copied (SIZE), 1 existed already, 0 expired meanwhile, 9 not copied\n")...) {
		t.Errorf("--dry-run: %d\n%s%s", dry.code, c.plainly(dry.out), dry.err)
	}
	if r := c.run(c.env(), "where", "np:a"); !matches(r.out, "exists     no") {
		t.Errorf("--dry-run copied: %s", r.out)
	}
	report := filepath.Join(t.TempDir(), "report")
	real := c.run(c.env(), "import", url, "--match", "np:*", "--max-array-bytes", "20000", "--report", report)
	if real.code != 0 || !matches(c.plainly(real.out), append(reasons, "12 keys: 2 arrays copied (SIZE), 1 existed already")...) {
		t.Errorf("import: %d\n%s%s", real.code, c.plainly(real.out), real.err)
	}
	checkReport(t, report)
	for key, want := range map[string]string{"np:a": npyOf(3), "np:b": npyOf(1000), "np:there": npyOf(9)} {
		if r := c.run(c.env(), "get", key, "-o", "-"); r.out != want {
			t.Errorf("%s: %d bytes, want %d: %s", key, len(r.out), len(want), r.err)
		}
	}
	expires := from.PExpireTime(ctx, "np:b").Val().Milliseconds()
	if got := expiry(t, c, "np:b"); got != expires {
		t.Errorf("it expires at %d in Redis, at %d in ndring", expires, got)
	}
	again := c.run(c.env(), "import", url, "--overwrite", "--json")
	var r importReport
	if err := json.Unmarshal([]byte(again.out), &r); err != nil || again.code != 0 || r.Scanned != 14 || r.Copied != 6 || r.There != 0 || r.Left != 8 || r.Failed != 0 {
		t.Errorf("--overwrite --json: %v %+v", err, again)
	}
	for key, want := range map[string]string{"np:there": npyOf(2), "odd\xff\n": npyOf(4)} {
		if r := c.run(c.env(), "get", key, "-o", "-"); r.out != want {
			t.Errorf("%q: %d bytes, want %d: %s", key, len(r.out), len(want), r.err)
		}
	}
}

// expiry returns when a key expires in the cluster, as Unix time in ms.
func expiry(t *testing.T, c *testCluster, key string) int64 {
	t.Helper()
	to := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.ports[0]}, Protocol: 2})
	defer to.Close()
	n, err := to.Do(context.Background(), "PEXPIRETIME", key).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func checkReport(t *testing.T, path string) {
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(content)) {
		var entry struct{ Key, Type, Reason string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Key == "" || entry.Type == "" || entry.Reason == "" {
			t.Errorf("%v: %s", err, line)
		}
		lines++
	}
	if lines != 9 {
		t.Errorf("the report has %d lines, want 9", lines)
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	withPassword, _ := startRedis(t, "--requirepass", "secret")
	for _, tc := range []struct {
		args string
		code int
		err  string
	}{
		{"import", 2, "import takes URL, not 0 arguments"},
		{"import http://x", 2, `"http://x" is not the URL of a Redis server`},
		{"import http://bob:secret@x", 2, `"http://...@x" is not the URL of a Redis server`},
		{"import redis://127.0.0.1:1", 1, "the source at 127.0.0.1:1: connection refused"},
		{"import redis://" + c.ports[0], 1, "the source at " + c.ports[0] + ": this is an ndring node, not Redis"},
		{"import " + withPassword, 1, "the source at " + strings.TrimPrefix(withPassword, "unix://") + ": a password is required: redis://:PASSWORD@HOST:PORT\n"},
		{"import unix://:wrong@" + strings.TrimPrefix(withPassword, "unix://"), 1, "WRONGPASS "},
		{"import unix://:secret@" + strings.TrimPrefix(withPassword, "unix://"), 0, ""},
		{"import redis://127.0.0.1:1 --count 0", 2, "must be at least 1"},
		{"import redis://127.0.0.1:1 --report /no/such/file", 2, "--report: open /no/such/file"},
	} {
		if r := c.run(c.env(), strings.Fields(tc.args)...); r.code != tc.code || !matches(r.err, tc.err, "!secret") {
			t.Errorf("ndctl %s: %+v", tc.args, r)
		}
	}
}
