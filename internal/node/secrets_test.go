package node

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const marker = "MARKED"

// No output of a node shows a password, whichever way it came, and whatever a client does with it.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const password = marker + "-started"
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\r\nnothing more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, way := range map[string]struct{ env, args []string }{
		"flag":                    {nil, []string{"--requirepass", password}},
		"flag with =":             {nil, []string{"-requirepass=" + password}},
		"environment":             {[]string{"NDRING_REQUIREPASS=" + password}, nil},
		"file":                    {nil, []string{"--requirepass-file", file}},
		"file in the environment": {[]string{"NDRING_REQUIREPASS_FILE=" + file}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := startCommand(t, program(t, way.env, append([]string{"--port", "0", "--http-port", "0", "--dir", dir, "--log-level", "debug", "--slowlog-log-slower-than", "0"}, way.args...)...))
			said := useSecrets(t, p, password)
			cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			said["the process list"] = string(cmdline)
			if flags := way.args != nil && strings.Contains(way.args[0], "requirepass") && !strings.Contains(way.args[0], "file"); flags != strings.Contains(p.logged(), "Prefer --requirepass-file") {
				t.Errorf("the warning about the process list:\n%s", p.logged())
			}
			_, said["/metrics"] = httpGet(t, "http://"+p.http+"/metrics")
			p.cmd.Process.Signal(os.Interrupt)
			p.awaitExit(t)
			said["the log"] = p.logged()
			if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				text, err := os.ReadFile(path)
				said["the data folder, "+path] = string(text)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			for where, text := range said {
				if i := strings.Index(text, marker); i >= 0 {
					t.Errorf("%s shows a password: ...%.200q", where, text[max(0, i-100):])
				}
				if text == "" && !strings.HasPrefix(where, "the data folder") {
					t.Errorf("%s is empty", where)
				}
			}
		})
	}
}

// useSecrets logs in, fails to, and changes the password in many ways. It returns what the node says to a client about all that.
func useSecrets(t *testing.T, p *process, password string) map[string]string {
	t.Helper()
	c := p.dial(t)
	say := func(prefix string, args ...string) {
		t.Helper()
		if got := c.say(args...); !strings.HasPrefix(got, prefix) {
			t.Errorf("%q: %.200s, want %s", args, got, prefix)
		}
	}
	say("-WRONGPASS", "AUTH", marker+"-wrong")
	say("-WRONGPASS", "AUTH", "someone", marker+"-wrong")
	say("-WRONGPASS", "HELLO", "3", "AUTH", "default", marker+"-wrong")
	say("-NOAUTH", "AUHT", marker+"-typo")
	say("+OK", "AUTH", password)
	say("[", "HELLO", "2", "AUTH", "default", password)
	say("+OK", "CONFIG", "SET", "requirepass", marker+"-changed")
	say("-ERR", "CONFIG", "SET", "requirepas", marker+"-typo")
	say("-ERR", "CONFIG", "SET", "requirepass", marker+"-odd", "x")
	say("-ERR", "CONFIG", "SET", "requirepass", hiddenSecret)
	say("-ERR", "CLUSTER", "CONFIG", "SET", "requirepass", marker+"-cluster")
	say("-ERR", "COMMAND", "GETKEYS", "CONFIG", "SET", "requirepass", marker+"-getkeys")
	say("+OK", "MULTI")
	say("+QUEUED", "AUTH", marker+"-changed")
	say("+QUEUED", "HELLO", "2", "AUTH", "default", marker+"-wrong")
	say("+QUEUED", "CONFIG", "SET", "requirepass", marker+"-again")
	say("[+OK", "EXEC")
	say("+OK", "AUTH", marker+"-again")
	say(`["requirepass" "(redacted)"]`, "CONFIG", "GET", "requirepass")
	said := map[string]string{}
	for _, command := range []string{"CONFIG GET *", "SLOWLOG GET -1", "INFO everything", "CLIENT LIST", "CLIENT INFO", "CLUSTER CONFIG GET *", "CLUSTER TOPOLOGY", "MEMORY DOCTOR", "LATENCY LATEST", "COMMAND INFO auth"} {
		said[command] = c.say(strings.Fields(command)...)
	}
	if !strings.Contains(said["SLOWLOG GET -1"], hiddenSecret) {
		t.Errorf("the slow log shows no CONFIG SET: %.500s", said["SLOWLOG GET -1"])
	}
	return said
}

// Errors about settings do not show passwords either.
func TestErrorsShowNoSecret(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), marker[:3])
	if err := os.WriteFile(secret, []byte("\n"+marker+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		env  string
		args []string
		code int
		want string
	}{
		{"", []string{"--requirepass", hiddenSecret}, exitUsage, "invalid value for --requirepass: must be a password"},
		{"NDRING_REQUIREPASS=" + hiddenSecret, nil, exitUsage, "invalid value in NDRING_REQUIREPASS: must be a password"},
		{"", []string{"--requirepass", "two", marker}, exitUsage, "put the value of --requirepass in quotes"},
		{"", []string{"--requirepas=" + marker}, exitUsage, "unknown flag: --requirepas"},
		{"", []string{"--requirepass", marker, "--port", "x"}, exitUsage, "for --port"},
		{"", []string{"--requirepass", marker, "--requirepass-file", secret}, exitUsage, "exclude each other"},
		{"NDRING_REQUIREPASS=" + marker, []string{"--requirepass-file", secret}, exitUsage, "exclude each other"},
		{"", []string{"--requirepass-file", secret, "--dir=", "--port=0", "--http-port=0"}, exitFailure, "is empty"},
		{"", []string{"--requirepass-file", secret + "-missing", "--dir=", "--port=0", "--http-port=0"}, exitFailure, "no such file"},
	} {
		out, err := program(t, []string{test.env}, test.args...).CombinedOutput()
		if exitCode(err) != test.code || !strings.Contains(string(out), test.want) || strings.Contains(string(out), marker) {
			t.Errorf("%q: exit code %d, %s", test.args, exitCode(err), out)
		}
	}
}

// A running node takes another password from its file. CONFIG SET overrides the file until its secret changes.
func TestPasswordFileIsReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	n := openNode(t, "--requirepass-file", file)
	say := func(args ...string) string { return dialTalker(t, n).say(args...) }
	takes := func(password string) {
		t.Helper()
		until(t, "the password is "+password, func() bool { return say("AUTH", password) == "+OK" })
	}
	takes("first")
	c := dialTalker(t, n)
	if got := c.say("AUTH", "first"); got != "+OK" {
		t.Fatal(got)
	}
	write("second\nthe rest\n")
	takes("second")
	if got := say("AUTH", "first"); !strings.HasPrefix(got, "-WRONGPASS") {
		t.Errorf("the first password: %s", got)
	}
	if got := c.say("CONFIG", "SET", "requirepass", "third"); got != "+OK" { // logged in before, as after CONFIG SET
		t.Fatal(got)
	}
	takes("third")
	write("second\n") // the same secret
	write("\n")       // none
	write("fourth")
	takes("fourth")
	if got := say("AUTH", "third"); !strings.HasPrefix(got, "-WRONGPASS") {
		t.Errorf("CONFIG SET outlives a change of the file: %s", got)
	}
}

func TestSecretFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Duration(len(text)) * time.Second)
		if err := os.Chtimes(file, later, later); err != nil { // the clock of a file system may be coarse
			t.Fatal(err)
		}
	}
	write("one\n")
	f, err := openSecret("the secret", file)
	if err != nil || f.value() != "one" {
		t.Fatalf("%q, %v", f.value(), err)
	}
	for i, step := range []struct {
		text    string // of the file; empty to remove it
		changed bool
		fails   bool
		want    string
	}{
		{"one\n\n\n", false, false, "one"}, {" two \r\nthree", true, false, " two "}, {"\ntwo", false, true, " two "}, {hiddenSecret + "\n", false, true, " two "},
		{strings.Repeat("x", maxSecret+1), false, true, " two "}, {strings.Repeat("x", maxSecret) + "\n", true, false, strings.Repeat("x", maxSecret)},
		{"", false, true, strings.Repeat("x", maxSecret)}, {"four", true, false, "four"},
	} {
		if step.text == "" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		} else {
			write(step.text)
		}
		changed, err := f.reload()
		if changed != step.changed || (err != nil) != step.fails || f.value() != step.want {
			t.Errorf("step %d: %v, %v, %.20q", i, changed, err, f.value())
		}
		if again, _ := f.reload(); again {
			t.Errorf("step %d: changes twice", i)
		}
	}
	none, err := openSecret("the secret", "")
	if err != nil || none.value() != "" {
		t.Errorf("without a file: %q, %v", none.value(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	none.watch(ctx, slog.New(slog.DiscardHandler), nil)
}
