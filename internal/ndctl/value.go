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

func (a *app) getCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "get KEY", Short: "Fetch an array into a .npy file", Args: cobra.ExactArgs(1),
		Long: `Fetches an array into a .npy file, which np.load reads. The CRC32C is checked. What the Python client keeps beside the data, such as a mask or
unusual strides, is not in the file; it says so then.`,
		Example: "  ndctl get weights -o weights.npy\n  ndctl get weights -o - | python3 -c 'import numpy, sys, io; print(numpy.load(io.BytesIO(sys.stdin.buffer.read())))'",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case out == "":
				return usageError("get needs -o FILE; - is standard output")
			case out == "-" && terminal(a.out):
				return usageError("a .npy file is nothing for a terminal: give -o FILE, or a pipe")
			}
			return a.onCluster(c.Context(), func(v *view) error { return v.get(c.Context(), args[0], out) })
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "`FILE` to write to; - for standard output")
	return c
}

func (v *view) get(ctx context.Context, key, out string) error {
	m, err := v.meta(ctx, key)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("there is no key %q", key)
	}
	reply, err := v.keyed(ctx, key, m.npy, "NP.GET", key, "WITHATTRS").Slice()
	if errors.Is(err, redis.Nil) {
		return fmt.Errorf("there is no key %q any more", key)
	}
	if err != nil {
		return err
	}
	npy, err := checked(reply)
	if err != nil {
		return fmt.Errorf("%q: %w", key, err)
	}
	if m.extras {
		fmt.Fprintf(v.app.err, "%s: %q has attrs or parts of the Python client, which a .npy file cannot carry: the file has the plain data\n", v.app.name, key)
	}
	if out == "-" {
		_, err = io.WriteString(v.app.out, npy)
		return err
	}
	return writeWhole(out, npy)
}

// checked returns the .npy of a reply to NP.GET WITHATTRS, if its CRC32C is right.
func checked(reply []any) (string, error) {
	if len(reply) != 5 {
		return "", fmt.Errorf("the node answers with %d things, not 5", len(reply))
	}
	npy, ok := reply[0].(string)
	want, ok2 := reply[3].(int64)
	if !ok || !ok2 {
		return "", errors.New("the node's answer makes no sense")
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
		return "", errors.New("other bytes arrived than the node has (CRC32C)")
	}
	return npy, nil
}

// writeWhole writes a file that is there as a whole or not at all.
func writeWhole(path, content string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, []byte(content), 0o666) // a device, a pipe
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	var where *os.PathError
	if errors.As(err, &where) {
		where.Path = path // nobody knows the other name
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

func (a *app) putCommand() *cobra.Command {
	var ex string
	var nx, xx bool
	c := &cobra.Command{
		Use: "put KEY FILE", Short: "Store a .npy file as an array", Args: cobra.ExactArgs(2),
		Long:    "Stores a .npy file, such as np.save writes, as an array; - is standard input. The file is looked at before anything is sent. Exit code 1 if --nx or --xx does not hold.",
		Example: "  ndctl put weights weights.npy --ex 3600\n  python3 -c 'import numpy, sys; numpy.save(sys.stdout.buffer, numpy.eye(3))' | ndctl put eye -",
		RunE: func(c *cobra.Command, args []string) error {
			var options []any
			var unmet error
			switch {
			case nx && xx:
				return usageError("--nx and --xx exclude each other")
			case nx:
				options, unmet = append(options, "NX"), fmt.Errorf("nothing was stored: there is a key %q already (--nx)", args[0])
			case xx:
				options, unmet = append(options, "XX"), fmt.Errorf("nothing was stored: there is no key %q (--xx)", args[0])
			}
			if ex != "" {
				d, err := lifetime(ex)
				if err != nil {
					return err
				}
				options = append(options, "PX", d.Milliseconds())
			}
			npy, err := a.read(args[1])
			if err != nil {
				return err
			}
			return a.onCluster(c.Context(), func(v *view) error { return v.put(c.Context(), args[0], npy, options, unmet) })
		},
	}
	c.Flags().StringVar(&ex, "ex", "", "`TIME` to live: seconds, or such as 90m")
	c.Flags().BoolVar(&nx, "nx", false, "only if the key does not exist")
	c.Flags().BoolVar(&xx, "xx", false, "only if the key exists")
	return c
}

// lifetime reads seconds, or a duration with a unit.
func lifetime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d < time.Millisecond {
		return 0, usageError("--ex %q is no time to live: seconds, or such as 90m", text)
	}
	return d, nil
}

// read reads a .npy file, and checks that it is one.
func (a *app) read(path string) (npy []byte, err error) {
	if path == "-" {
		if terminal(a.in) {
			return nil, usageError("a .npy file cannot be typed: give a FILE, or a pipe")
		}
		npy, err = io.ReadAll(a.in)
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

// put stores an array; unmet is the error for a condition that does not hold.
func (v *view) put(ctx context.Context, key string, npy []byte, options []any, unmet error) error {
	args := append([]any{"NP.SET", key, npy, "CRC32C", crc32c.Checksum(npy)}, options...)
	err := v.keyed(ctx, key, int64(len(npy)), args...).Err()
	if errors.Is(err, redis.Nil) && unmet != nil {
		return unmet
	}
	return err
}
