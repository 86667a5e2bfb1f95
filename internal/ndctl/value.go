package ndctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/internal/crc32c"
)

func getCommand(a *app) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "get KEY", Short: "Fetch an array into a .npy file", Args: cobra.ExactArgs(1),
		Long: `Fetches an array into a .npy file, for np.load, and checks its CRC32C. The file lacks what the Python client keeps beside the data, such as a mask or
unusual strides; ndctl warns about that.`,
		Example: "  ndctl get weights -o weights.npy\n  ndctl get weights -o - | python3 -c 'import numpy, sys, io; print(numpy.load(io.BytesIO(sys.stdin.buffer.read())))'",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case out == "":
				return usageError("get needs -o FILE; - is standard output")
			case out == "-" && isTerminal(a.out.out):
				return usageError("a terminal cannot show a .npy file: give -o FILE, or use a pipe")
			}
			return a.withSession(c.Context(), func(s *session) error { return getValue(c.Context(), s, a.out, args[0], out) })
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write to; - for standard output")
	return c
}

func getValue(ctx context.Context, s *session, p *printer, key, out string) error {
	m, err := s.meta(ctx, key)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("key %q does not exist", key)
	}
	reply, err := s.doForKey(ctx, key, m.npy, "NP.GET", key, "WITHATTRS").Slice()
	if errors.Is(err, redis.Nil) {
		return fmt.Errorf("key %q no longer exists", key)
	}
	if err != nil {
		return err
	}
	npy, err := checkedNPY(reply)
	if err != nil {
		return fmt.Errorf("%q: %w", key, err)
	}
	if m.extras {
		p.warn("%q has attrs or parts of the Python client, which a .npy file cannot hold: the file contains the plain data", key)
	}
	if out == "-" {
		_, err = io.WriteString(p.out, npy)
		return err
	}
	return writeAtomically(out, npy)
}

// checkedNPY returns the .npy file in a reply to NP.GET WITHATTRS, if the CRC32C of the reply is
// right.
func checkedNPY(reply []any) (string, error) {
	if len(reply) != 5 {
		return "", fmt.Errorf("the node's answer has %d elements instead of 5", len(reply))
	}
	npy, ok := reply[0].(string)
	want, ok2 := reply[3].(int64)
	if !ok || !ok2 {
		return "", errors.New("the node's answer has the wrong types")
	}
	crc := crc32c.New()
	io.WriteString(crc, npy)
	attrs, _ := reply[1].(string)
	io.WriteString(crc, attrs)
	parts, _ := reply[4].([]any)
	for _, p := range parts {
		text, _ := p.(string)
		io.WriteString(crc, text)
	}
	if int64(crc.Sum32()) != want {
		return "", errors.New("the value was damaged on the way: its CRC32C differs from the node's")
	}
	return npy, nil
}

// writeAtomically writes a file so that it appears complete or not at all.
func writeAtomically(path, content string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, []byte(content), 0o666) // a device or a pipe
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	var where *os.PathError
	if errors.As(err, &where) {
		where.Path = path // the user does not know the temporary name
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func putCommand(a *app) *cobra.Command {
	var ex string
	var nx, xx bool
	c := &cobra.Command{
		Use: "put KEY FILE", Short: "Store a .npy file as an array", Args: cobra.ExactArgs(2),
		Long:    "Stores a .npy file, as np.save writes it, as an array; - is standard input. It checks the file before it sends anything. The exit code is 1 if the condition --nx or --xx fails.",
		Example: "  ndctl put weights weights.npy --ex 3600\n  python3 -c 'import numpy, sys; numpy.save(sys.stdout.buffer, numpy.eye(3))' | ndctl put eye -",
		RunE: func(c *cobra.Command, args []string) error {
			var options []any
			var unmet error
			switch {
			case nx && xx:
				return usageError("--nx and --xx exclude each other")
			case nx:
				options, unmet = append(options, "NX"), fmt.Errorf("nothing was stored: key %q already exists (--nx)", args[0])
			case xx:
				options, unmet = append(options, "XX"), fmt.Errorf("nothing was stored: key %q does not exist (--xx)", args[0])
			}
			if ex != "" {
				d, err := parseTTL(ex)
				if err != nil {
					return err
				}
				options = append(options, "PX", d.Milliseconds())
			}
			npy, err := readNPY(args[1], a.in)
			if err != nil {
				return err
			}
			return a.withSession(c.Context(), func(s *session) error { return putValue(c.Context(), s, args[0], npy, options, unmet) })
		},
	}
	c.Flags().StringVar(&ex, "ex", "", "time to live `TIME`: seconds, or a duration such as 90m")
	c.Flags().BoolVar(&nx, "nx", false, "only if the key does not exist")
	c.Flags().BoolVar(&xx, "xx", false, "only if the key exists")
	return c
}

// parseTTL reads seconds, or a duration with a unit.
func parseTTL(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d < time.Millisecond {
		return 0, usageError("--ex %q is not a time to live: give seconds, or a duration such as 90m", text)
	}
	return d, nil
}

// readNPY reads a .npy file, or standard input for "-", and checks it.
func readNPY(path string, stdin io.Reader) (npy []byte, err error) {
	if path == "-" {
		if isTerminal(stdin) {
			return nil, usageError("a .npy file cannot be typed: give a FILE, or use a pipe")
		}
		npy, err = io.ReadAll(stdin)
	} else {
		npy, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	if _, err := array.Check(npy, int64(len(npy))); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return npy, nil
}

// putValue stores an array. Unmet is the error to return if its condition fails.
func putValue(ctx context.Context, s *session, key string, npy []byte, options []any, unmet error) error {
	args := append([]any{"NP.SET", key, npy, "CRC32C", crc32c.Checksum(npy)}, options...)
	err := s.doForKey(ctx, key, int64(len(npy)), args...).Err()
	if errors.Is(err, redis.Nil) && unmet != nil {
		return unmet
	}
	return err
}
