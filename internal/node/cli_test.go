package node

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// runProgram runs ndring within the test until it ends. `ndring ctl` writes its arguments and returns 7.
func runProgram(args ...string) (out, said string, code int) {
	var stdout, stderr bytes.Buffer
	ctl := func(args []string) int {
		stdout.WriteString("ctl: " + strings.Join(args, " "))
		return 7
	}
	code = Run(args, "1.2.3-test", ctl, &stdout, &stderr)
	return stdout.String(), stderr.String(), code
}

func TestHelpNamesEverySetting(t *testing.T) {
	out, said, code := runProgram("--help")
	if code != exitOK || said != "" {
		t.Fatalf("exit code %d, %s", code, said)
	}
	for _, s := range settings {
		if !strings.Contains(out, "\n  --"+s.name+" "+s.value) {
			t.Errorf("the help lacks --%s", s.name)
		}
	}
	for _, line := range strings.Split(out, "\n") {
		if len(line) > 100 {
			t.Errorf("a line of the help has %d characters: %s", len(line), line)
		}
	}
}

// The subcommands name their flags as the server does, and show where to find help.
func TestUsageErrorsOfSubcommands(t *testing.T) {
	for _, test := range []struct {
		args, want string
	}{
		{"check --nosuch", "ndring: unknown flag: --nosuch\nTry 'ndring check --help'\n"},
		{"check --shards x", "ndring: invalid value \"x\" for --shards: "},
		{"check --repair=maybe", "ndring: invalid value \"maybe\" for --repair: "},
		{"check --dir x y", "ndring: unexpected argument \"y\"\nTry 'ndring check --help'\n"},
		{"check", "ndring: check needs --dir FOLDER\nTry 'ndring check --help'\n"},
		{"dump --dir", "ndring: flag needs an argument: --dir\nTry 'ndring dump --help'\n"},
		{"dump -o", "ndring: flag needs an argument: 'o' in -o\nTry 'ndring dump --help'\n"},
		{"dump --dir x", "ndring: dump needs one KEY, not 0\nTry 'ndring dump --help'\n"},
		{"healthcheck -port 1", "ndring: unknown flag: --port\nTry 'ndring healthcheck --help'\n"},
		{"completion tcsh", "ndring: completion needs one of bash, zsh and fish, not \"tcsh\"\nTry 'ndring completion --help'\n"},
		{"nosuch", "ndring: unexpected argument \"nosuch\"\nTry 'ndring --help'\n"},
	} {
		out, said, code := runProgram(strings.Fields(test.args)...)
		if hint := strings.Contains(said, "\nTry 'ndring "); code != exitUsage || out != "" || !strings.HasPrefix(said, test.want) || !hint {
			t.Errorf("ndring %s: exit code %d, %q, want %q; output: %q", test.args, code, said, test.want, out)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]string{
		"--help":                  "Usage:\n  ndring [--flag value ...]",
		"help":                    "Usage:\n  ndring [--flag value ...]",
		"healthcheck --help":      "--addr HOST:PORT   HTTP address HOST:PORT of the node (default \"127.0.0.1:7380\")",
		"help check":              "Usage:\n  ndring check --dir FOLDER [flags]",
		"version":                 "ndring 1.2.3-test\n",
		"--version":               "ndring 1.2.3-test\n",
		"-version":                "ndring 1.2.3-test\n",
		"completion bash":         "complete -o default -F __start_ndring ndring",
		"__complete --max":        "--maxmemory\t",
		"__complete --log-level ": "debug\ninfo\nwarn\nerror\n",
	} {
		fields := strings.Split(args, " ")
		if out, _, code := runProgram(fields...); code != exitOK || !strings.Contains(out, want) {
			t.Errorf("ndring %s: exit code %d, %q, want %q", args, code, out, want)
		}
	}
}

// ndctl receives its arguments unchanged, including those of shell completion, and its exit code is passed on.
func TestCtlGetsItsArguments(t *testing.T) {
	for args, want := range map[string]string{
		"ctl": "", "ctl -insecure status --help": "-insecure status --help", "ctl --version": "--version", "__complete ctl st": "__complete st",
	} {
		if out, said, code := runProgram(strings.Fields(args)...); code != 7 || out != "ctl: "+want || said != "" {
			t.Errorf("ndring %s: exit code %d, %q, %q", args, code, out, said)
		}
	}
}

// Long flags may have one dash, and a flag with an optional value may have it as the next argument. Values of flags
// stay unchanged.
func TestNormalizeFlags(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	newSettingFlags(flags)
	flags.StringP("output", "o", "", "")
	for args, want := range map[string]string{
		"-port 1": "--port 1", "-port=1": "--port=1", "--port 1": "--port 1", "--requirepass -insecure": "--requirepass -insecure", "-requirepass --x -port 1": "--requirepass --x --port 1",
		"--insecure": "--insecure", "--insecure no --port 1": "--insecure=no --port 1", "-insecure yes": "--insecure=yes", "--insecure maybe": "--insecure maybe",
		"--insecure=no yes": "--insecure=no yes", "-nosuch": "--nosuch", "-o -file": "-o -file", "- -port": "- --port", "-- -port 1": "-- -port 1", "--port": "--port",
		"-h": "-h", "--h": "-h", "--o -file": "-o -file", "--o=x": "-o=x", "---port 1": "---port 1",
	} {
		if got := normalizeFlags(flags, strings.Fields(args)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %s", args, got, want)
		}
	}
}
