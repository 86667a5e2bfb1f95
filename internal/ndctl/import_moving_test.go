package ndctl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/redcon"
)

// scriptedSource is a Redis server with an array under each key. Expiry answers PTTL and PEXPIRETIME.
func scriptedSource(t *testing.T, keys []string, expiry func(command, key string) any) (url string) {
	t.Helper()
	npy := npyOf(3)
	return "redis://" + fakeServer(t, func(args []string) any {
		switch command := strings.ToUpper(args[0]); command {
		case "INFO":
			return "redis_version:6.2.0\r\ncluster_enabled:0\r\n"
		case "SCAN":
			return []any{"0", keys}
		case "TYPE":
			return redcon.SimpleString("string")
		case "STRLEN":
			return redcon.SimpleInt(len(npy))
		case "GETRANGE":
			return npy[:peekBytes]
		case "EXISTS":
			return redcon.SimpleInt(1)
		case "GET":
			return npy
		case "PTTL", "PEXPIRETIME":
			return expiry(command, args[1])
		default:
			return errText("ERR unknown command '" + args[0] + "'")
		}
	})
}

// scriptedTarget is a node that answers NP.SET with what answer returns, and records the commands.
func scriptedTarget(t *testing.T, answer func() any) (addr string, sent func() [][]string) {
	t.Helper()
	var mu sync.Mutex
	var all [][]string // guarded by mu
	addr = fakeServer(t, func(args []string) any {
		switch args[0] {
		case "CLUSTER":
			return oneNode
		case "NP.SET":
			mu.Lock()
			defer mu.Unlock()
			all = append(all, args)
			return answer()
		}
		return errText("ERR unknown command '" + args[0] + "'")
	})
	return addr, func() [][]string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func ok() any { return "OK" }

// An import stops when it loses the cluster: every further key would wait for the same failure and
// be reported as refused.
func TestImportStopsWithoutTheTarget(t *testing.T) {
	t.Parallel()
	keys := []string{"a", "b", "c", "d"}
	for _, tc := range []struct {
		reply any
		code  int
		err   string
	}{
		{hangUp, 1, "ndctl: ndring failed: n1 ("},
		{errText("CLUSTERDOWN the node that serves slot 1 is down"), 1, "ndctl: ndring failed: CLUSTERDOWN "},
		{errText("NOPERM this user has no permissions"), 4, "ndctl: the user lacks the permission"},
	} {
		url := scriptedSource(t, keys, func(string, string) any { return redcon.SimpleInt(-1) })
		addr, sent := scriptedTarget(t, func() any { return tc.reply })
		r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", "import", url)
		if r.code != tc.code || !matches(r.err, tc.err) || !matches(r.out, "1 key: 0 arrays copied", "1 not copied, 1 of them failed") || len(sent()) != 1 {
			t.Errorf("%v: %d keys sent, %+v", tc.reply, len(sent()), r)
		}
	}
}

// A key may expire between the reply with its value and the reply with its time to live. It must
// not be stored then, least of all without an expiry.
func TestImportOfKeysThatExpireMeanwhile(t *testing.T) {
	t.Parallel()
	past := strconv.FormatInt(time.Now().Add(-time.Second).UnixMilli(), 10)
	for _, tc := range []struct {
		what    string
		replies map[string]string // by command
	}{
		{"PTTL", map[string]string{"PTTL": "-2"}},
		{"PEXPIRETIME", map[string]string{"PEXPIRETIME": "-2"}},
		{"a deadline in the past", map[string]string{"PEXPIRETIME": past}},
		{"no time left", map[string]string{"PTTL": "0"}},
	} {
		url := scriptedSource(t, []string{"gone"}, func(command, key string) any {
			n, known := tc.replies[command]
			if !known {
				return errText("ERR unknown command '" + command + "'")
			}
			at, _ := strconv.Atoi(n)
			return redcon.SimpleInt(at)
		})
		addr, sent := scriptedTarget(t, ok)
		r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", "import", url)
		if r.code != 0 || !matches(r.out, "1 key: 0 arrays copied", " 1 expired meanwhile, 0 not copied") || len(sent()) != 0 {
			t.Errorf("%s: sent %q, %+v", tc.what, sent(), r)
		}
	}
}

// PTTL returns the remaining time, which counts from the moment of the request. Redis before
// version 7 has nothing else.
func TestImportKeepsTimesToLive(t *testing.T) {
	t.Parallel()
	const left = 3_600_000 // ms
	moment := time.Now().Add(2 * time.Hour).UnixMilli()
	for _, tc := range []struct {
		command string
		reply   int64
		exact   bool
	}{
		{"PTTL", left, false},
		{"PEXPIRETIME", moment, true},
	} {
		url := scriptedSource(t, []string{"k"}, func(command, key string) any {
			if command != tc.command {
				return errText("ERR unknown command '" + command + "'")
			}
			return redcon.SimpleInt(tc.reply)
		})
		addr, sent := scriptedTarget(t, ok)
		before := time.Now().UnixMilli()
		r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", "import", url)
		after := time.Now().UnixMilli()
		if r.code != 0 || len(sent()) != 1 {
			t.Fatalf("%s: sent %q, %+v", tc.command, sent(), r)
		}
		args := sent()[0]
		at := slices.Index(args, "PXAT")
		if at < 0 {
			t.Fatalf("%s: no PXAT in %q", tc.command, args[3:])
		}
		first, last := before+left, after+left
		if tc.exact {
			first, last = moment, moment
		}
		if got, err := strconv.ParseInt(args[at+1], 10, 64); err != nil || got < first || got > last {
			t.Errorf("%s: expires at %s, want %d to %d", tc.command, args[at+1], first, last)
		}
	}
}

// A key without a time to live does not expire.
func TestImportOfKeysThatStay(t *testing.T) {
	t.Parallel()
	url := scriptedSource(t, []string{"k"}, func(string, string) any { return redcon.SimpleInt(-1) })
	addr, sent := scriptedTarget(t, ok)
	r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", "import", url)
	if all := sent(); r.code != 0 || len(all) != 1 || slices.Contains(all[0], "PXAT") {
		t.Errorf("sent %s, %+v", fmt.Sprint(all), r)
	}
}
