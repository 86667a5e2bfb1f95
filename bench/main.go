// Bench compares ndring with common servers in one run. See README.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/ndring/ndring/bench/null"
)

type options struct {
	binary, base  string
	root, python  string
	servers, only string
	rounds        int
	long          time.Duration
	out           string
	quick, smoke  bool
}

// commands are the comparisons of their own, with their arguments.
var commands = map[string]func(args []string) error{"disk": diskMain, "replicas": replicasMain}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "null" {
		l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
		if err == nil {
			err = null.Serve(l)
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		if err := commands[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.binary, "binary", "../bin/ndring", "the ndring program")
	flag.StringVar(&o.base, "base", "", "the ndring program of another commit, measured as the server base")
	flag.StringVar(&o.root, "root", "../.cache/trixie", "a Debian 13 root file system with Valkey")
	flag.StringVar(&o.python, "python", "../.venv/bin/python", "a Python with numpy, redis-py and the ndring client")
	flag.StringVar(&o.servers, "servers", "ndring,redis,valkey,memcached,null", "servers to measure")
	flag.StringVar(&o.only, "only", "", "measure only cases whose name contains this: 'GET 1 KiB', python, memory, large")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds per case and server")
	flag.DurationVar(&o.long, "time", 800*time.Millisecond, "length of each round")
	flag.StringVar(&o.out, "out", "", "write the report and the plots to this folder")
	flag.BoolVar(&o.quick, "quick", false, "fewer cases, in about two minutes")
	flag.BoolVar(&o.smoke, "smoke", false, "a minimal run of each case, in seconds, to check that it works; the figures mean nothing")
	flag.Parse()
	if o.smoke {
		o.rounds, o.long = 1, 10*time.Millisecond
	}
	r, err := o.measure()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	r.write(os.Stdout)
	if o.out != "" {
		if err := r.save(o.out, o.quick); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
}

func (o *options) measure() (*report, error) {
	r := &report{command: strings.Join(append([]string{"bench"}, os.Args[1:]...), " "), began: time.Now(), samples: map[load]map[string][]sample{}}
	wanted := strings.Split(o.servers, ",")
	if o.base != "" {
		wanted = append(wanted, "base")
	}
	for _, k := range kinds(o.binary, o.base, o.root) {
		if !slices.Contains(wanted, k.name) {
			continue
		}
		r.kinds = append(r.kinds, k)
		if k.version != nil {
			out, err := exec.Command(k.version[0], k.version[1:]...).Output()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
			r.versions = append(r.versions, strings.TrimSpace(string(out)))
		}
	}
	remove, err := makeCertificate(o.root)
	if remove != nil {
		defer remove()
	}
	if err != nil {
		return nil, err
	}
	for _, g := range o.groups() {
		if len(g.loads) == 0 {
			continue
		}
		if err := o.group(r, g); err != nil {
			return nil, err
		}
	}
	if err := o.memory(r); err != nil {
		return nil, err
	}
	if strings.Contains("large", o.only) && slices.Contains(wanted, "ndring") {
		say("an array of 512 MiB")
		bytes, long := 512<<20, 4*time.Second
		if o.smoke {
			bytes, long = 8<<20, 20*time.Millisecond
		}
		use, err := measureLarge(r.kinds[0], bytes, long)
		if err != nil {
			return nil, err
		}
		r.large = &use
	}
	if strings.Contains("python", o.only) {
		if err := o.pythonPart(r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (o *options) loads(r *report, g group, p *process, a *array) error {
	for _, l := range g.loads {
		say("%s: %s", l, p.name)
		s, err := l.run(p, a, o.long)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", p.name, l, err)
		}
		if r.samples[l] == nil {
			r.samples[l] = map[string][]sample{}
			r.loads = append(r.loads, l)
		}
		r.samples[l][p.name] = append(r.samples[l][p.name], s)
	}
	return nil
}

func (o *options) memory(r *report) error {
	if !strings.Contains("memory", o.only) {
		return nil
	}
	for _, c := range []struct{ data, keys int }{{256 << 10, 8192}, {1 << 10, 1_000_000}} {
		long := 4 * time.Second
		switch {
		case o.smoke:
			c.keys, long = c.keys/1000, 20*time.Millisecond
		case o.quick:
			c.keys /= 4
		}
		for _, k := range r.kinds {
			if !k.stores {
				continue
			}
			say("memory of %d arrays of %s: %s", c.keys, size(c.data), k.name)
			use, err := measureMemory(k, c.data, c.keys, long)
			if err != nil {
				return fmt.Errorf("%s, memory: %w", k.name, err)
			}
			r.memory = append(r.memory, namedMemory{k.name, use})
		}
	}
	return nil
}

func (o *options) pythonPart(r *report) error {
	var ports []string
	for _, name := range []string{"ndring", "redis", "null"} {
		i := slices.IndexFunc(r.kinds, func(k kind) bool { return k.name == name })
		if i < 0 {
			return nil
		}
		p, err := r.kinds[i].start()
		if err != nil {
			return err
		}
		defer p.stop()
		_, port, _ := net.SplitHostPort(p.addr)
		ports = append(ports, port)
	}
	say("the Python client and the recipe")
	args := append([]string{"-W", "error", "python/recipe.py"}, ports...)
	switch {
	case o.smoke:
		args = append(args, "--smoke")
	case o.quick:
		args = append(args, "--seconds", "2")
	}
	cmd := exec.Command(o.python, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("python: %w", err)
	}
	return json.Unmarshal(out, &r.python)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
