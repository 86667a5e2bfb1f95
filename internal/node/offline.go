package node

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// offlineFlags reads the flags of a command on a folder, and what stands behind them.
func offlineFlags(flags *flag.FlagSet, args []string, stderr io.Writer, operands int) (dir string, rest []string, ok bool) {
	flags.StringVar(&dir, "dir", os.Getenv("NDRING_DIR"), "data folder of a node that does not run")
	for len(args) > 0 { // flags may stand behind operands
		if err := parseFlags(flags, args, stderr); err != nil {
			return "", nil, false
		}
		if args = flags.Args(); len(args) > 0 {
			rest, args = append(rest, args[0]), args[1:]
		}
	}
	if dir == "" || len(rest) != operands {
		fmt.Fprintf(stderr, "ndring: %s needs --dir FOLDER", flags.Name())
		if operands == 1 {
			fmt.Fprint(stderr, " and one KEY")
		}
		fmt.Fprintln(stderr, "\nTry 'ndring --help'")
		return "", nil, false
	}
	return dir, rest, true
}

// check is ndring check: it reads a data folder, says what it finds, and returns exitFailure if something is damaged.
func check(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	repair := flags.Bool("repair", false, "cut torn tails, put damaged files into the quarantine and write what is whole anew; nothing is removed")
	shards := flags.Int("shards", 0, "with --repair: the number of shards, if the folder's MANIFEST is lost")
	dir, _, ok := offlineFlags(flags, args, stderr, 0)
	if !ok {
		return exitUsage
	}
	boot, err := datafolder.BootID()
	if err != nil {
		fmt.Fprintln(stderr, "ndring: the system does not say when it was started:", err)
	}
	d, err := persistence.Inspect(vfs.OS{}, dir, boot)
	if err != nil && *repair && *shards > 0 {
		if err = restoreManifest(dir, *shards, boot, stdout); err == nil {
			d, err = persistence.Inspect(vfs.OS{}, dir, boot)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "ndring: cannot read the data folder:", err)
		if !errors.Is(err, fs.ErrPermission) && !*repair {
			fmt.Fprintln(stderr, "If its MANIFEST is lost or damaged: ndring check --repair --shards N --dir", dir)
		}
		return exitFailure
	}
	whole, err := inspect(d, stdout)
	err = errors.Join(err, d.Close(false))
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "ndring:", err)
		return exitFailure
	case whole:
		return exitOK
	case !*repair:
		fmt.Fprintln(stdout, "The next start, or ndring check --repair, goes on with what is whole.")
		return exitFailure
	}
	if err := repairFolder(dir, d.Shards(), boot, stdout); err != nil {
		fmt.Fprintln(stderr, "ndring: cannot repair the data folder:", err)
		return exitFailure
	}
	return exitOK
}

// inspect reads all shards and says what it finds; whole means that nothing is damaged, torn or missing.
func inspect(d *persistence.Disk, stdout io.Writer) (whole bool, err error) {
	whole = true
	if d.PowerLoss() {
		fmt.Fprintln(stdout, "The machine was started anew since the last run, which did not end cleanly: what was not synced may be gone.")
	}
	var keys, expired, bytes, torn, damage, quarantined, used int64
	for _, found := range d.Damage() {
		whole = false
		damage++
		fmt.Fprintln(stdout, found)
	}
	now := time.Now().UnixMilli()
	for id := range d.Shards() {
		files := d.Reader(id)
		contents, err := files.Contents()
		if err != nil {
			return false, err
		}
		x := shard.NewInspection(now)
		report, err := files.Read(x)
		if err != nil {
			return false, fmt.Errorf("shard %d: %w", id, err)
		}
		there, ofThem, gone := x.Count()
		keys, bytes, expired = keys+there, bytes+ofThem, expired+gone
		used += contents.Bytes
		quarantined += int64(contents.Quarantined)
		if report.Torn > 0 {
			whole = false
			torn += report.Torn
			fmt.Fprintf(stdout, "shard %d: %s ends with a write that was not complete: %d bytes from %d on\n", id, report.TornFile, report.Torn, report.TornAt)
		}
		for _, found := range report.Damage {
			whole = false
			damage++
			fmt.Fprintf(stdout, "shard %d: %v\n", id, found)
		}
	}
	fmt.Fprintf(stdout, "%d shards, %d keys with %d bytes of values, %d expired; %d bytes of files; %d places are damaged, %d bytes torn off; %d files in the quarantine\n",
		d.Shards(), keys, bytes, expired, used, damage, torn, quarantined)
	return whole, nil
}

// restoreManifest puts the folder's MANIFEST, if there is one, aside, and writes another.
func restoreManifest(dir string, shards int, boot string, stdout io.Writer) error {
	if err := topology.CheckShards(shards); err != nil {
		return err
	}
	name := filepath.Join(dir, "MANIFEST")
	aside := name + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	switch err := os.Rename(name, aside); {
	case err == nil:
		fmt.Fprintln(stdout, "The damaged MANIFEST is kept as", aside)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := persistence.RebuildManifest(vfs.OS{}, dir, shards, boot); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "The MANIFEST was written anew from what the other files say.")
	return nil
}

// repairFolder does what a start does with a damaged folder, but removes nothing.
func repairFolder(dir string, shards int, boot string, stdout io.Writer) error {
	log := slog.New(slog.DiscardHandler)
	d, err := persistence.OpenDisk(vfs.OS{}, dir, persistence.Options{
		Shards: shards, BootID: boot, Log: log, KeepAll: true, NextIncarnation: func(last uint64) uint64 { return max(last+1, uint64(time.Now().UnixMilli())) },
	})
	if err != nil {
		return err
	}
	store := shard.NewClosedStore(shards, func() int64 { return time.Now().UnixMilli() }, new(memory.Pool))
	store.UseDisk(d, true, resp.BulkFrame, log)
	store.Disk().Configure(shard.DiskConfig{Fsync: shard.FsyncEverysec})
	ctx := context.Background()
	if err := store.Disk().Recover(ctx, log); err != nil {
		return errors.Join(err, d.Close(false))
	}
	keys := store.LiveKeys() // each shard stays in its epoch: nobody serves it
	stats, _ := store.Disk().Stats()
	if err := store.Close(ctx, false); err != nil {
		return err
	}
	if failed := stats.SnapshotErrors; failed > 0 { // a start goes on without them
		return fmt.Errorf("%d of its shards could not be written anew, and are as they were: is there room on the disk?", failed)
	}
	fmt.Fprintf(stdout, "Repaired: %d keys are whole. What was put away lies in the folders named quarantine.\n", keys)
	return nil
}

// dump is ndring dump: it writes one value of a data folder as a .npy file.
func dump(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("dump", flag.ContinueOnError)
	out := flags.String("o", "-", "file to write to; - for standard output")
	dir, rest, ok := offlineFlags(flags, args, stderr, 1)
	if !ok {
		return exitUsage
	}
	boot, _ := datafolder.BootID() // without it, what may have been lost with the power is not read
	d, err := persistence.Inspect(vfs.OS{}, dir, boot)
	if err != nil {
		fmt.Fprintln(stderr, "ndring: cannot read the data folder:", err)
		return exitFailure
	}
	npy, report, err := shard.ReadNPY(d, []byte(rest[0]), time.Now().UnixMilli())
	err = errors.Join(err, d.Close(false))
	if err != nil {
		fmt.Fprintln(stderr, "ndring:", err)
		return exitFailure
	}
	for _, found := range report.Damage {
		fmt.Fprintln(stderr, "ndring: damage:", found)
	}
	if npy == nil {
		fmt.Fprintf(stderr, "ndring: there is no key %q\n", rest[0])
		return exitFailure
	}
	if *out == "-" {
		_, err = stdout.Write(npy)
	} else {
		err = os.WriteFile(*out, npy, 0o666)
	}
	if err != nil {
		fmt.Fprintln(stderr, "ndring:", err)
		return exitFailure
	}
	return exitOK
}
