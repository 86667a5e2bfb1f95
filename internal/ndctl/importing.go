package ndctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/crc32c"
)

// importOptions are the flags of import.
type importOptions struct {
	match     string
	count     int
	overwrite bool
	dry       bool
	limit     int64
	report    string
}

func (a *app) importCommand() *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use: "import URL", Short: "Copy arrays out of a Redis", Args: cobra.ExactArgs(1),
		Long: `Copies arrays that were stored as the bytes of np.save out of a Redis: redis://[user:password@]host:port[/db], rediss:// or unix://. Of a Redis Cluster
one node is enough: it is copied from all of its primaries, which have to be reached by the addresses that it tells. Times to live are kept.
What is no array is reported and left where it is; nothing is ever unpickled. A key that ndring has already is left as it is there, unless
--overwrite is given. Exit code 1 if arrays could not be copied, or not all keys could be looked at. python -m ndring import does the same.`,
		Example: "  ndctl import redis://localhost:6379 --match 'features:*' --dry-run\n  ndctl import redis://:secret@redis1:6379/0 --report not-copied.jsonl",
		RunE: func(c *cobra.Command, args []string) error {
			if o.count < 1 || o.limit < 1 {
				return usageError("--count and --max-array-bytes must be at least 1")
			}
			return a.onCluster(c.Context(), func(v *view) error { return v.importAll(c.Context(), args[0], o) })
		},
	}
	f := c.Flags()
	f.StringVar(&o.match, "match", "", "only keys that match this `PATTERN`")
	f.IntVar(&o.count, "count", 500, "keys a round trip")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace what ndring has under a key already")
	f.BoolVar(&o.dry, "dry-run", false, "copy nothing, only report")
	f.Int64Var(&o.limit, "max-array-bytes", 512<<20, "leave out larger ones")
	f.StringVar(&o.report, "report", "", "write what was not copied to `FILE`, a line of JSON a key")
	return document(c, importReport{})
}

const batchBytes = 64 << 20 // that are fetched at once, unless one value alone has more

func (v *view) importAll(ctx context.Context, url string, o importOptions) error {
	r := &importReport{Reasons: []*importReason{}, DryRun: o.dry}
	if o.report != "" {
		f, err := os.Create(o.report)
		if err != nil {
			return usageError("--report: %w", err)
		}
		defer f.Close()
		r.file = f
	}
	s, err := openSource(ctx, url)
	if err != nil {
		return err
	}
	defer s.close()
	err = v.importNodes(ctx, s, o, r)
	r.sort()
	if shown := v.app.show(r, func() { r.write(v.app.out) }); shown != nil {
		return shown
	}
	switch {
	case err != nil:
		return err
	case r.fileErr != nil:
		return fmt.Errorf("cannot write the report: %w", r.fileErr)
	case r.Failed > 0:
		return errSaid
	}
	return nil
}

// importNodes copies from one node after the other. When one fails, the others are copied nevertheless.
func (v *view) importNodes(ctx context.Context, s *source, o importOptions, r *importReport) error {
	var errs []error
	for _, n := range s.nodes {
		err := v.importFrom(ctx, n, s.exact, o, r)
		var stop *stopError
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.As(err, &stop):
			return err
		default:
			errs = append(errs, fmt.Errorf("the source at %s fails, and not all of its keys were looked at: %s", n.Options().Addr, sourceWords(err)))
		}
	}
	if s.slots > 0 && s.slots < topology.Slots {
		errs = append(errs, fmt.Errorf("nobody serves %s of the source: what is in them was not looked at", plural(topology.Slots-s.slots, "slot")))
	}
	if len(errs) == 0 {
		return nil
	}
	return &exitError{exitFailure, errors.Join(errs...)}
}

func (v *view) importFrom(ctx context.Context, from *redis.Client, exact bool, o importOptions, r *importReport) error {
	for cursor := uint64(0); ; {
		keys, next, err := from.Scan(ctx, cursor, o.match, int64(o.count)).Result()
		var wanted []candidate
		if err == nil && len(keys) > 0 {
			wanted, err = sift(ctx, from, keys, o.limit, r)
		}
		for len(wanted) > 0 && err == nil {
			n, bytes := 1, wanted[0].size
			for n < len(wanted) && bytes+wanted[n].size <= batchBytes {
				bytes += wanted[n].size
				n++
			}
			err = v.copy(ctx, from, wanted[:n], exact, o, r)
			wanted = wanted[n:]
		}
		if err != nil {
			return err
		}
		if terminal(v.app.err) && !v.app.json {
			fmt.Fprintf(v.app.err, "\r%s, %s", plural(r.Scanned, "key"), plural(r.Copied, "array"))
		}
		if cursor = next; cursor == 0 {
			if terminal(v.app.err) && !v.app.json {
				fmt.Fprint(v.app.err, "\r\x1b[K")
			}
			return nil
		}
	}
}

// stopError ends an import: the next keys would fare no better.
type stopError struct{ err error }

func (e *stopError) Error() string { return "ndring fails: " + words(e.err) }

func (e *stopError) Unwrap() error { return e.err }

// copy fetches some arrays and stores them.
func (v *view) copy(ctx context.Context, from *redis.Client, keys []candidate, exact bool, o importOptions, r *importReport) error {
	p := from.Pipeline()
	values, ends := make([]*redis.StringCmd, len(keys)), make([]*redis.Cmd, len(keys))
	command := "PTTL" // counts from when it is asked
	if exact {
		command = "PEXPIRETIME"
	}
	for i, c := range keys {
		values[i], ends[i] = p.Get(ctx, c.key), p.Do(ctx, command, c.key)
	}
	if _, err := p.Exec(ctx); err != nil && lost(err) {
		return err
	}
	asked := time.Now().UnixMilli()
	for i, c := range keys {
		npy, err := values[i].Bytes()
		at, endErr := ends[i].Int64()
		if at >= 0 && !exact {
			at += asked
		}
		switch {
		case errors.Is(err, redis.Nil), err == nil && endErr == nil && (at == -2 || at >= 0 && at <= time.Now().UnixMilli()):
			r.gone()
		case err != nil || endErr != nil:
			r.refused(c.key, errors.Join(err, endErr))
		default:
			if err := v.keep(ctx, c.key, npy, at, o, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep stores one array that is to expire at a time in ms, or never.
func (v *view) keep(ctx context.Context, key string, npy []byte, at int64, o importOptions, r *importReport) error {
	size := int64(len(npy))
	if reason := noArray(npy[:min(peek, len(npy))], size, o.limit); reason != "" { // it may be another one by now
		r.leave(key, "string", size, reason, "", false)
		return nil
	}
	header, err := array.Check(npy, o.limit)
	if err != nil {
		r.leave(key, "string", size, brokenText(npy, err), err.Error(), false)
		return nil
	}
	if key == "" {
		r.leave(key, "string", size, "ndring refused it", "the empty key", true)
		return nil
	}
	var cmd *redis.Cmd
	if o.dry {
		cmd = v.keyed(ctx, key, 0, "EXISTS", key)
		if n, _ := cmd.Int(); cmd.Err() == nil && n > 0 && !o.overwrite {
			cmd.SetErr(redis.Nil)
		}
	} else {
		args := []any{"NP.SET", key, npy, "CRC32C", crc32c.Checksum(npy)}
		if !o.overwrite {
			args = append(args, "NX")
		}
		if at >= 0 {
			args = append(args, "PXAT", at)
		}
		cmd = v.keyed(ctx, key, size, args...)
	}
	switch err := cmd.Err(); {
	case errors.Is(err, redis.Nil):
		r.Scanned++
		r.There++
	case err == nil:
		r.Scanned++
		r.Copied++
		r.Bytes += header.DataBytes()
	case mustStop(err):
		r.leave(key, "string", size, "ndring was lost", words(err), true)
		return &stopError{err}
	default:
		prefix, _, _ := strings.Cut(err.Error(), " ")
		r.leave(key, "string", size, "ndring refused it: "+prefix, err.Error(), true)
	}
	return nil
}

// mustStop reports whether the next array would fare no better.
func mustStop(err error) bool {
	var node *nodeError
	return errors.As(err, &node) || lost(err) || rightsHint(err) != "" || strings.HasPrefix(err.Error(), "CLUSTERDOWN ")
}

// brokenText says what a file is that begins like an array and is none.
func brokenText(npy []byte, err error) string {
	header, parseErr := array.Parse(npy)
	switch {
	case strings.Contains(err.Error(), "object"):
		return "an array of objects, which is a pickle"
	case parseErr == nil && int64(len(npy)) > header.FileBytes():
		return "a .npy file with something behind it"
	}
	return "a broken .npy file"
}
