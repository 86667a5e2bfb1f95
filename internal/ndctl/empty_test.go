package ndctl

import (
	"strings"
	"sync/atomic"
	"testing"
)

// An empty argument or flag comes from an unset variable in a script. It must do nothing: an empty
// name means neither another node nor all of them.
func TestEmptyNamesAreRefused(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	addr := fakeServer(t, func([]string) any {
		asked.Add(1)
		return "OK"
	})
	for _, tc := range []struct{ args, err string }{ // _ stands for the empty string
		{"leave _ --yes", "argument 1 of leave is empty"},
		{"begin-empty _ --yes", "argument 1 of begin-empty is empty"},
		{"forget _ --yes", "argument 1 of forget is empty"},
		{"shards --node _", "--node is empty"},
		{"slots --node _", "--node is empty"},
		{"slot _", "argument 1 of slot is empty"},
		{"where _", "argument 1 of where is empty"},
		{"get _ -o -", "argument 1 of get is empty"},
		{"get k -o _", "--output is empty"},
		{"put _ f.npy", "argument 1 of put is empty"},
		{"put k _", "argument 2 of put is empty"},
		{"put k f.npy --ex _", "--ex is empty"},
		{"import _", "argument 1 of import is empty"},
		{"import redis://h --match _", "--match is empty"},
		{"import redis://h --report _", "--report is empty"},
		{"bigkeys --match _", "--match is empty"},
		{"join _", "argument 1 of join is empty"},
		{"config get _", "argument 1 of config get is empty"},
		{"config get timeout --node _", "--node is empty"},
		{"config set timeout 5 --node _", "--node is empty"},
		{"config set _ 5", "argument 1 of config set is empty"},
		{"config set timeout 5 _ 5", "argument 3 of config set is empty"},
		{"config reset _ --cluster", "argument 1 of config reset is empty"},
		{"raft recover --yes --dir _", "--dir is empty"},
		{"status --addr _", "--addr is empty"},
		{"status --addr 127.0.0.1:1 --addr _", "--addr is empty"},
		{"status --addr 127.0.0.1:1,,127.0.0.1:2", "--addr \"\" is not HOST:PORT"},
		{"status --user _", "--user is empty"},
		{"status --password-file _", "--password-file is empty"},
	} {
		args := strings.Fields(tc.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", "")
		}
		r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", args...)
		if r.code != exitUsage || r.out != "" || !matches(r.err, "ndctl: "+tc.err+"\n") {
			t.Errorf("ndctl %q: %+v", args, r)
		}
	}
	if r := runWith(t, map[string]string{"NDRING_ADDR": " , "}, "", "status"); r.code != exitUsage || !matches(r.err, `NDRING_ADDR " , " contains no HOST:PORT`) {
		t.Errorf("NDRING_ADDR of separators: %+v", r)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the node was asked %d times", n)
	}
}

// A setting may have an empty value.
func TestEmptyValuesOfSettings(t *testing.T) {
	t.Parallel()
	set := make(chan []string, 1)
	addr := fakeServer(t, func(args []string) any {
		if args[1] == "TOPOLOGY" {
			return oneNode
		}
		set <- args
		return "OK"
	})
	r := runWith(t, map[string]string{"NDRING_ADDR": addr}, "", "config", "set", "save", "", "timeout", "5")
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if got := strings.Join(<-set, "|"); got != "CONFIG|SET|save||timeout|5" {
		t.Errorf("sent %q", got)
	}
}

func TestVersionFlag(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"version", "--version", "-v"} {
		if r := runWith(t, nil, "", args); r.code != 0 || r.out != "ndctl 1.2.3-test\n" || r.err != "" {
			t.Errorf("ndctl %s: %+v", args, r)
		}
	}
}
