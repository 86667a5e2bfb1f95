package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// dirFlag adds the flag with which a command takes the data folder of a stopped node.
func dirFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "dir", os.Getenv("NDRING_DIR"), "data `FOLDER` of a stopped node")
}

// errDirNeeded returns the error of a command that lacks its data folder.
func errDirNeeded(c *cobra.Command) error {
	return usageError{fmt.Errorf("%s needs --dir FOLDER", c.Name())}
}

func (p *cli) checkCommand() *cobra.Command {
	k := &checker{out: p.out, err: p.err}
	c := &cobra.Command{
		Use: "check --dir FOLDER", Short: "Check a data folder for damage, or repair it", Args: noArguments,
		Long: "Reads the data folder of a stopped node and reports what is damaged. The exit code is 1 if anything is.",
		RunE: func(c *cobra.Command, _ []string) error {
			if k.dir == "" {
				return errDirNeeded(c)
			}
			return k.run()
		},
	}
	dirFlag(c, &k.dir)
	c.Flags().BoolVar(&k.repair, "repair", false, "cut torn tails, move damaged files to the quarantine and rewrite what is intact; removes nothing")
	c.Flags().IntVar(&k.shards, "shards", 0, "with --repair: the number of shards, if the folder's MANIFEST is lost")
	return c
}

// checker is one run of ndring check.
type checker struct {
	dir      string
	repair   bool
	shards   int
	out, err io.Writer
}

func (k *checker) run() error {
	boot, err := datafolder.BootID()
	if err != nil {
		fmt.Fprintln(k.err, "ndring: cannot tell when the system was booted:", err)
	}
	d, err := persistence.Inspect(vfs.OS{}, k.dir, boot)
	if persistence.ManifestLost(err) && k.repair && k.shards > 0 {
		if err = k.rebuildManifest(boot); err == nil {
			d, err = persistence.Inspect(vfs.OS{}, k.dir, boot)
		}
	}
	if err != nil {
		fmt.Fprintln(k.err, "ndring: cannot read the data folder:", err)
		if persistence.ManifestLost(err) && !k.repair {
			fmt.Fprintln(k.err, "If its MANIFEST is lost or damaged: ndring check --repair --shards N --dir", k.dir)
		}
		return exitError(exitFailure)
	}
	intact, err := k.inspect(d)
	err = errors.Join(err, d.Close(false))
	switch {
	case err != nil || intact:
		return err
	case !k.repair:
		fmt.Fprintln(k.out, "The next start, or ndring check --repair, continues with what is intact.")
		return exitError(exitFailure)
	}
	if err := k.repairFolder(d.Shards(), boot); err != nil {
		return fmt.Errorf("cannot repair the data folder: %w", err)
	}
	return nil
}

// inspect reads all shards and reports what it finds. It returns true if nothing is damaged, torn or missing.
func (k *checker) inspect(d *persistence.Disk) (intact bool, err error) {
	intact = true
	if d.PowerLoss() {
		fmt.Fprintln(k.out, "The machine rebooted after the last run, which did not end cleanly: unsynced writes may be lost.")
	}
	var keys, expired, bytes, held, torn, damage, quarantined, used int64
	for _, found := range d.Damage() {
		intact = false
		damage++
		fmt.Fprintln(k.out, found)
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
		live, liveBytes, gone := x.Count()
		keys, bytes, expired = keys+live, bytes+liveBytes, expired+gone
		used += contents.Bytes
		quarantined += int64(contents.Quarantined)
		if report.HeldBack > 0 {
			held += report.HeldBack
			fmt.Fprintf(k.out, "shard %d: %s\n", id, heldBack(report))
		}
		if report.Torn > 0 {
			intact = false
			torn += report.Torn
			fmt.Fprintf(k.out, "shard %d: %s ends with an incomplete write: %d bytes from offset %d\n", id, report.TornFile, report.Torn, report.TornAt)
		}
		for _, found := range report.Damage {
			intact = false
			damage++
			fmt.Fprintf(k.out, "shard %d: %v\n", id, found)
		}
	}
	fmt.Fprintf(k.out, "%d shards, %d keys with %d bytes of values, %d expired; %d bytes of files; records held back: %d, damaged places: %d, torn bytes: %d, quarantined files: %d\n",
		d.Shards(), keys, bytes, expired, used, held, damage, torn, quarantined)
	return intact, nil
}

// heldBack says how many records of a shard a start would not show yet. They are no damage.
func heldBack(r *persistence.Report) string {
	return fmt.Sprintf("%d records after the commit index %d, up to %d, are held back: they count once they are committed", r.HeldBack, r.Commit, r.Has.Seq)
}

// rebuildManifest writes a new MANIFEST. It keeps the old one, if there is one, under another name.
func (k *checker) rebuildManifest(boot string) error {
	if err := topology.CheckShards(k.shards); err != nil {
		return err
	}
	name := filepath.Join(k.dir, "MANIFEST")
	aside := name + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	switch err := os.Rename(name, aside); {
	case err == nil:
		fmt.Fprintln(k.out, "The damaged MANIFEST is kept as", aside)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := persistence.RebuildManifest(vfs.OS{}, k.dir, k.shards, boot); err != nil {
		if back := os.Rename(aside, name); back == nil {
			fmt.Fprintln(k.out, "It is back in its place, since it could not be rebuilt.")
		}
		return err
	}
	fmt.Fprintln(k.out, "The MANIFEST has been rebuilt from the other files.")
	return nil
}

// repairFolder recovers a damaged folder as a start does, but removes nothing.
func (k *checker) repairFolder(shards int, boot string) error {
	log := slog.New(slog.DiscardHandler)
	d, err := persistence.OpenDisk(vfs.OS{}, k.dir, persistence.Options{
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
	keys := store.LiveKeys() // the shards stay closed, each in its epoch
	stats, _ := store.Disk().Stats()
	if err := store.Close(ctx, false); err != nil {
		return err
	}
	if failed := stats.SnapshotErrors; failed > 0 { // unlike here, a start ignores them
		return fmt.Errorf("%d shards could not be rewritten and are unchanged: is the disk full?", failed)
	}
	fmt.Fprintf(k.out, "Repaired: %d keys are intact. Damaged data is kept in the folders named quarantine.\n", keys)
	return nil
}
