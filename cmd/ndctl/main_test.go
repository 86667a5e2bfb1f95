package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asProgram is the environment variable that makes this test binary run the program.
const asProgram = "NDCTL_TEST_IS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// onPath returns a folder that contains the command ndctl.
func onPath(t *testing.T) (dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ndctl"), []byte("#!/bin/sh\n"+asProgram+"=1 exec '"+self+"' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	program := filepath.Join(onPath(t), "ndctl")
	for args, want := range map[string]int{"version": 0, "slot k": 0, "status --help": 0, "": 2, "nosuch": 2, "status --addr 127.0.0.1:1": 3, "put k /no/such/file": 1} {
		err := exec.Command(program, strings.Fields(args)...).Run()
		got := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("ndctl %s: exit code %d, want %d", args, got, want)
		}
	}
}

// completing does what bash does at a Tab after an unfinished word. Without the package
// bash-completion, it defines the simplest form of what the script needs from it.
const completing = `
if [ -r /usr/share/bash-completion/bash_completion ]; then
	. /usr/share/bash-completion/bash_completion
else
	_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
	__ltrim_colon_completions() { :; }
fi
compopt() { :; } # no completion is in progress
source <(ndctl completion bash)
[[ $(complete -p ndctl) == *' -F __start_ndctl ndctl' ]] || exit 3
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMP_KEY=9
__start_ndctl
printf '%s\n' "${COMPREPLY[@]}"
`

// The completion script works in a real bash.
func TestCompletionInBash(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + onPath(t) + ":" + os.Getenv("PATH")
	for line, want := range map[string]string{
		"st":                "status",
		"s":                 "shards slot slots slowlog status",
		"config ":           "get reset set",
		"raft rec":          "recover",
		"shards --uns":      "--unserved",
		"completion z":      "zsh",
		"get k --out":       "--output",
		"nosuch ":           "",
		"status --json no ": "",
	} {
		args := append([]string{"-c", completing, "bash", "ndctl"}, strings.Split(line, " ")...)
		cmd := exec.Command(bash, args...)
		cmd.Env = append(os.Environ(), path, "NDRING_ADDR=127.0.0.1:1")
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		var names []string
		for reply := range strings.Lines(string(out)) {
			if fields := strings.Fields(reply); len(fields) > 0 {
				names = append(names, fields[0]) // without the description
			}
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("ndctl %s<Tab>: %q, want %q: %v %s", line, got, want, err, &said)
		}
	}
}
