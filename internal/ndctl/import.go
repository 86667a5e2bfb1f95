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
	dryRun    bool
	maxBytes  int64
	report    string
}

func importCommand(a *app) *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use: "import URL", Short: "Copy arrays from Redis", Args: cobra.ExactArgs(1),
		Long: `Copies arrays that were stored as the bytes of np.save from Redis: redis://[user:password@]host:port[/db], rediss:// or unix://. For a Redis Cluster
the URL of one node is enough: ndctl copies from all of its primaries and must reach them at the addresses that the cluster announces. Times to live are kept.
Values that are not arrays are reported and not copied; nothing is ever unpickled. A key that exists in ndring keeps its value there, unless
--overwrite is given. The exit code is 1 if arrays could not be copied or keys could not be scanned. python -m ndring import does the same.`,
		Example: "  ndctl import redis://localhost:6379 --match 'features:*' --dry-run\n  ndctl import redis://:secret@redis1:6379/0 --report not-copied.jsonl",
		RunE: func(c *cobra.Command, args []string) error {
			if o.count < 1 || o.maxBytes < 1 {
				return usageError("--count and --max-array-bytes must be at least 1")
			}
			return a.withSession(c.Context(), func(s *session) error { return runImport(c.Context(), s, a.out, args[0], o) })
		},
	}
	f := c.Flags()
	f.StringVar(&o.match, "match", "", "only keys that match `PATTERN`")
	f.IntVar(&o.count, "count", 500, "keys per round trip")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace the values of keys that exist in ndring")
	f.BoolVar(&o.dryRun, "dry-run", false, "copy nothing, only report")
	f.Int64Var(&o.maxBytes, "max-array-bytes", 512<<20, "skip larger values")
	f.StringVar(&o.report, "report", "", "write the keys that were not copied to `FILE`, one JSON object per line")
	return document(c, &importReport{})
}

// batchBytes bounds what is fetched from the source at once; a single larger value is fetched alone.
const batchBytes = 64 << 20

func runImport(ctx context.Context, s *session, p *printer, url string, o importOptions) error {
	r := &importReport{Reasons: []*importReason{}, DryRun: o.dryRun}
	if o.report != "" {
		f, err := os.Create(o.report)
		if err != nil {
			return usageError("--report: %w", err)
		}
		defer f.Close()
		r.file = f
	}
	from, err := openSource(ctx, url)
	if err != nil {
		return err
	}
	defer from.close()
	i := &importer{session: s, out: p, source: from, options: o, report: r}
	err = i.run(ctx)
	r.sort()
	if shown := p.show(r); shown != nil {
		return shown
	}
	switch {
	case err != nil:
		return err
	case r.fileErr != nil:
		return fmt.Errorf("cannot write the report: %w", r.fileErr)
	case r.Failed > 0:
		return errPrinted
	}
	return nil
}

// importer copies arrays from a source into the cluster of a session, one after the other.
type importer struct {
	session *session
	out     *printer
	source  *source
	options importOptions
	report  *importReport
}

// run copies from all nodes of the source. If one fails, it continues with the others.
func (i *importer) run(ctx context.Context) error {
	var errs []error
	for _, n := range i.source.nodes {
		err := i.copyNode(ctx, n)
		var stop *stopError
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.As(err, &stop):
			return err
		default:
			errs = append(errs, fmt.Errorf("the source at %s failed before all of its keys were scanned: %s", n.Options().Addr, explainSource(err)))
		}
	}
	if n := i.source.slots; n > 0 && n < topology.Slots {
		errs = append(errs, fmt.Errorf("%s of the source have no primary: keys in them were not scanned", plural(topology.Slots-n, "slot")))
	}
	if len(errs) == 0 {
		return nil
	}
	return &exitError{exitFailure, errors.Join(errs...)}
}

// copyNode copies from one node of the source.
func (i *importer) copyNode(ctx context.Context, from *redis.Client) error {
	progress := isTerminal(i.out.err) && !i.out.json
	for cursor := uint64(0); ; {
		keys, next, err := from.Scan(ctx, cursor, i.options.match, int64(i.options.count)).Result()
		var found []candidate
		if err == nil && len(keys) > 0 {
			found, err = candidates(ctx, from, keys, i.options.maxBytes, i.report)
		}
		for len(found) > 0 && err == nil {
			n, bytes := 1, found[0].size
			for n < len(found) && bytes+found[n].size <= batchBytes {
				bytes += found[n].size
				n++
			}
			err = i.copyBatch(ctx, from, found[:n])
			found = found[n:]
		}
		if err != nil {
			return err
		}
		if progress {
			fmt.Fprintf(i.out.err, "\r%s, %s", plural(i.report.Scanned, "key"), plural(i.report.Copied, "array"))
		}
		if cursor = next; cursor == 0 {
			if progress {
				fmt.Fprint(i.out.err, "\r\x1b[K")
			}
			return nil
		}
	}
}

// stopError ends an import, because the next keys would fail in the same way.
type stopError struct{ err error }

func (e *stopError) Error() string { return "ndring failed: " + explain(e.err) }

func (e *stopError) Unwrap() error { return e.err }

// copyBatch fetches values with their times to live, and stores them.
func (i *importer) copyBatch(ctx context.Context, from *redis.Client, keys []candidate) error {
	p := from.Pipeline()
	values, ttls := make([]*redis.StringCmd, len(keys)), make([]*redis.Cmd, len(keys))
	command := "PTTL" // counts from when the source executes it
	if i.source.exact {
		command = "PEXPIRETIME"
	}
	for k, c := range keys {
		values[k], ttls[k] = p.Get(ctx, c.key), p.Do(ctx, command, c.key)
	}
	if _, err := p.Exec(ctx); err != nil && isConnectionError(err) {
		return err
	}
	now := time.Now().UnixMilli()
	for k, c := range keys {
		npy, err := values[k].Bytes()
		deadline, ttlErr := ttls[k].Int64() // -1: does not expire; -2: gone
		if deadline >= 0 && !i.source.exact {
			deadline += now
		}
		switch {
		case errors.Is(err, redis.Nil), err == nil && ttlErr == nil && (deadline == -2 || deadline >= 0 && deadline <= time.Now().UnixMilli()):
			i.report.expired()
		case err != nil || ttlErr != nil:
			i.report.refused(c.key, errors.Join(err, ttlErr))
		default:
			if err := i.store(ctx, c.key, npy, deadline); err != nil {
				return err
			}
		}
	}
	return nil
}

// store stores one array. A negative deadline is none.
func (i *importer) store(ctx context.Context, key string, npy []byte, deadline int64) error {
	r, size := i.report, int64(len(npy))
	if reason := notAnArray(npy[:min(peekBytes, len(npy))], size, i.options.maxBytes); reason != "" { // the value has changed since it was inspected
		r.skip(key, "string", size, reason, "", false)
		return nil
	}
	header, err := array.Check(npy, i.options.maxBytes)
	if err != nil {
		r.skip(key, "string", size, brokenReason(npy, err), err.Error(), false)
		return nil
	}
	if key == "" {
		r.skip(key, "string", size, "ndring refused it", "the key is empty", true)
		return nil
	}
	switch err := i.set(ctx, key, npy, deadline); {
	case errors.Is(err, redis.Nil):
		r.Scanned++
		r.There++
	case err == nil:
		r.Scanned++
		r.Copied++
		r.Bytes += header.DataBytes()
	case mustStop(err):
		r.skip(key, "string", size, "ndring could not be reached", explain(err), true)
		return &stopError{err}
	default:
		prefix, _, _ := strings.Cut(err.Error(), " ")
		r.skip(key, "string", size, "ndring refused it: "+prefix, err.Error(), true)
	}
	return nil
}

// set executes NP.SET, or checks with --dry-run whether it would store. It returns redis.Nil if the
// key exists and may not be overwritten.
func (i *importer) set(ctx context.Context, key string, npy []byte, deadline int64) error {
	if i.options.dryRun {
		n, err := i.session.doForKey(ctx, key, 0, "EXISTS", key).Int()
		if err == nil && n > 0 && !i.options.overwrite {
			return redis.Nil
		}
		return err
	}
	args := []any{"NP.SET", key, npy, "CRC32C", crc32c.Checksum(npy)}
	if !i.options.overwrite {
		args = append(args, "NX")
	}
	if deadline >= 0 {
		args = append(args, "PXAT", deadline)
	}
	return i.session.doForKey(ctx, key, int64(len(npy)), args...).Err()
}

// mustStop reports whether the next array would fail in the same way.
func mustStop(err error) bool {
	var node *nodeError
	return errors.As(err, &node) || isConnectionError(err) || rightsHint(err) != "" || strings.HasPrefix(err.Error(), "CLUSTERDOWN ")
}

// brokenReason says why a value that begins like a .npy file is not a valid one.
func brokenReason(npy []byte, err error) string {
	header, parseErr := array.Parse(npy)
	switch {
	case strings.Contains(err.Error(), "object"):
		return "an array of objects, which contains a pickle"
	case parseErr == nil && int64(len(npy)) > header.FileBytes():
		return "a .npy file with trailing bytes"
	}
	return "a damaged .npy file"
}
