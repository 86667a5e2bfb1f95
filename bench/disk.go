package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// diskBench measures the cost of persistence, compared with redis-server.
type diskBench struct {
	binary string
	folder string // for the data folders
	live   int64  // bytes
	rounds int
	long   time.Duration
	only   string
	fewer  int // divisor of the number of keys where none is given
	out    *strings.Builder
}

func diskMain(args []string) error {
	flags := flag.NewFlagSet("bench disk", flag.ExitOnError)
	b := diskBench{out: new(strings.Builder)}
	flags.StringVar(&b.binary, "binary", "../bin/ndring", "the ndring program")
	flags.Int64Var(&b.live, "live", 2<<30, "bytes to store in the cases of 2 GiB")
	flags.IntVar(&b.rounds, "rounds", 3, "rounds per case")
	flags.DurationVar(&b.long, "time", 3*time.Second, "length of each round")
	flags.StringVar(&b.only, "only", "", "one of set, start, save, stall, space")
	out := flags.String("out", "", "also write the report to this file")
	smoke := flags.Bool("smoke", false, "a minimal run of each case, in seconds, to check that it works; the figures mean nothing")
	flags.Parse(args)
	b.fewer = 1
	if *smoke {
		b.live, b.rounds, b.long, b.fewer = 8<<20, 1, 10*time.Millisecond, 500
	}
	var err error
	if b.folder, err = os.MkdirTemp("", "ndring-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.folder)
	for _, part := range []struct {
		name string
		run  func() error
	}{{"set", b.sets}, {"start", b.starts}, {"save", b.saves}, {"stall", b.stalls}, {"space", b.space}} {
		if b.only != "" && b.only != part.name {
			continue
		}
		if err := part.run(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if *out != "" {
		return os.WriteFile(*out, []byte(b.out.String()), 0o644)
	}
	return nil
}

func (b *diskBench) say(format string, args ...any) {
	text := fmt.Sprintf(format+"\n", args...)
	fmt.Print(text)
	b.out.WriteString(text)
}

// diskServer is a server with a data folder.
type diskServer struct {
	*process
	dir string
}

// start starts the named server on a folder.
func (b *diskBench) start(name, dir string) (*diskServer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	redis := []string{"redis-server", "--port", "PORT", "--bind", "127.0.0.1", "--daemonize", "no", "--dir", dir, "--rdbcompression", "no", "--save", ""}
	k := kind{name: name, stores: true}
	switch name {
	case "ndring":
		k.prefix, k.command = "NP.", []string{b.binary, "--port", "PORT", "--http-port", "0", "--dir", dir}
	case "ndring, no log":
		k.prefix, k.command = "NP.", []string{b.binary, "--port", "PORT", "--http-port", "0", "--dir", dir, "--appendonly", "no"}
	case "redis":
		k.command = append(redis, "--appendonly", "yes", "--appendfsync", "everysec")
	case "redis, no log":
		k.command = append(redis, "--appendonly", "no")
	}
	p, err := k.start()
	if err != nil {
		return nil, err
	}
	return &diskServer{p, dir}, nil
}

// ask sends a command and returns the first line of the reply, or the content of a bulk string.
func (c *client) ask(words ...string) (string, error) {
	c.head = append(strconv.AppendInt(append(c.head[:0], '*'), int64(len(words)), 10), crlf...)
	for _, w := range words {
		c.bulk([]byte(w))
	}
	if _, err := c.Write(c.head); err != nil {
		return "", err
	}
	line, err := c.line()
	if err != nil || line[0] != '$' {
		return line, err
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil {
		return "", err
	}
	if err := c.fill(n + 2); err != nil {
		return "", err
	}
	text := string(c.ready[:n])
	c.ready = c.ready[n+2:]
	return text, nil
}

func (c *client) line() (string, error) {
	for n := 1; ; n = len(c.ready) + 1 {
		if i := strings.Index(string(c.ready), "\r\n"); i >= 0 {
			line := string(c.ready[:i])
			c.ready = c.ready[i+2:]
			return line, nil
		}
		if err := c.fill(n); err != nil {
			return "", err
		}
	}
}

// info returns a number from INFO persistence.
func (c *client) info(field string) (int64, error) {
	text, err := c.ask("INFO", "persistence")
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(text, "\r\n") {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("INFO has no %s", field)
}

// folderBytes returns the disk usage of a folder in bytes.
func folderBytes(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil // a file that was just removed
	})
	return n
}

func (b *diskBench) fresh(name string) (*diskServer, error) {
	dir, err := os.MkdirTemp(b.folder, "data-")
	if err != nil {
		return nil, err
	}
	return b.start(name, dir)
}

func (b *diskBench) discard(s *diskServer) {
	s.kill()
	os.RemoveAll(s.dir)
}

func middle(values []float64) float64 { return median(values).Median }

// sets compares SETs with and without a log.
func (b *diskBench) sets() error {
	b.say("## SET with a log that is synced every second\n")
	b.say("Arrays per second, medians of %d rounds of %v, with all servers in turn in each round. Ratios are medians of the ratios per round.\n", b.rounds, b.long)
	b.say("| array | connections | ndring | redis | ndring / redis | redis / redis without a log | ndring / ndring without a log | bytes written per byte stored |")
	b.say("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	servers := []string{"ndring", "redis", "ndring, no log", "redis, no log"}
	for _, c := range []struct{ data, keys, connections int }{
		{1 << 10, 100_000, 1}, {1 << 10, 100_000, 50}, {256 << 10, 1024, 1}, {256 << 10, 1024, 16}, {4 << 20, 64, 1}, {4 << 20, 64, 4},
	} {
		a := newArray(c.data, max(2, c.keys/b.fewer))
		rates := map[string][]float64{}
		var amplification []float64
		for range b.rounds {
			for _, name := range servers {
				s, err := b.fresh(name)
				if err != nil {
					return err
				}
				if err := s.process.fill(a); err != nil {
					return err
				}
				probe, err := s.dial(a)
				if err != nil {
					return err
				}
				before := int64(0)
				if name == "ndring" {
					if before, err = probe.info("disk_written_bytes"); err != nil {
						return err
					}
				}
				began := time.Now()
				sample, err := load{Op: "SET", Data: c.data, Connections: c.connections, Pipeline: 1, Keys: a.keys}.run(s.process, a, b.long)
				if err != nil {
					return err
				}
				if name == "ndring" {
					after, err := probe.info("disk_written_bytes")
					if err != nil {
						return err
					}
					amplification = append(amplification, float64(after-before)/(sample.MB*1e6*time.Since(began).Seconds()))
				}
				rates[name] = append(rates[name], sample.Ops)
				probe.Close()
				b.discard(s)
			}
		}
		ratio := func(x, y string) float64 {
			var ratios []float64
			for i := range rates[x] {
				ratios = append(ratios, rates[x][i]/rates[y][i])
			}
			return middle(ratios)
		}
		own, redis, both := ratio("ndring", "ndring, no log"), ratio("redis", "redis, no log"), ratio("ndring", "redis")
		b.say("| %s | %d | %.0f | %.0f | **%.2f** | %.2f | %.2f | %.2f |", size(c.data), c.connections, middle(rates["ndring"]), middle(rates["redis"]), both, redis, own, middle(amplification))
	}
	return nil
}

// starts compares the time from process start until a server serves.
func (b *diskBench) starts() error {
	b.say("\n## Start with %s on disk\n", size(int(b.live)))
	b.say("Seconds from the start of the process until it serves keys; medians of %d. The files are in the page cache.\n", b.rounds)
	b.say("| array | ndring, snapshots | ndring, log (after kill -9) | redis, RDB | ndring / redis |")
	b.say("| --- | ---: | ---: | ---: | ---: |")
	for _, data := range []int{1 << 10, 256 << 10, 4 << 20} {
		a := newArray(data, int(b.live)/data)
		measure := func(name string, prepare func(*diskServer) error) (float64, error) {
			s, err := b.fresh(name)
			if err != nil {
				return 0, err
			}
			defer os.RemoveAll(s.dir)
			if err := s.process.fill(a); err != nil {
				return 0, err
			}
			if err := prepare(s); err != nil {
				return 0, err
			}
			var took []float64
			for range b.rounds {
				began := time.Now()
				if s, err = b.start(name, s.dir); err != nil {
					return 0, err
				}
				took = append(took, time.Since(began).Seconds())
				s.kill()
			}
			return middle(took), nil
		}
		save := func(s *diskServer) error {
			c, err := s.dial(a)
			if err != nil {
				return err
			}
			defer c.Close()
			if reply, err := c.ask("SAVE"); err != nil || reply != "+OK" {
				return fmt.Errorf("SAVE: %s %w", reply, err)
			}
			s.kill()
			return nil
		}
		snapshots, err := measure("ndring", save)
		if err != nil {
			return err
		}
		log, err := measure("ndring", func(s *diskServer) error { s.kill(); return nil })
		if err != nil {
			return err
		}
		redis, err := measure("redis, no log", save)
		if err != nil {
			return err
		}
		b.say("| %s | %.2f | %.2f | %.2f | **%.2f** |", size(data), snapshots, log, redis, snapshots/redis)
	}
	return nil
}

// saves compares SAVE.
func (b *diskBench) saves() error {
	b.say("\n## SAVE of %s\n", size(int(b.live)))
	b.say("Seconds, medians of %d; Redis without compression.\n", b.rounds)
	b.say("| array | ndring | redis | ndring / redis |")
	b.say("| --- | ---: | ---: | ---: |")
	for _, data := range []int{1 << 10, 256 << 10, 4 << 20} {
		a := newArray(data, int(b.live)/data)
		took := map[string][]float64{}
		for range b.rounds {
			for _, name := range []string{"ndring, no log", "redis, no log"} {
				s, err := b.fresh(name)
				if err != nil {
					return err
				}
				if err := s.process.fill(a); err != nil {
					return err
				}
				c, err := s.dial(a)
				if err != nil {
					return err
				}
				began := time.Now()
				if reply, err := c.ask("SAVE"); err != nil || reply != "+OK" {
					return fmt.Errorf("%s: SAVE: %s %w", name, reply, err)
				}
				took[name] = append(took[name], time.Since(began).Seconds())
				c.Close()
				b.discard(s)
			}
		}
		n, r := middle(took["ndring, no log"]), middle(took["redis, no log"])
		b.say("| %s | %.2f | %.2f | **%.2f** |", size(data), n, r, n/r)
	}
	return nil
}
