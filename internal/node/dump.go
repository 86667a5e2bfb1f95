package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/shard"
)

func (p *cli) dumpCommand() *cobra.Command {
	var dir, out string
	c := &cobra.Command{
		Use: "dump --dir FOLDER KEY", Short: "Write one array of a data folder as a .npy file",
		Long: "Reads the array of a key from the data folder of a stopped node, and writes it as a .npy file.",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case dir == "":
				return errDirNeeded(c)
			case len(args) != 1:
				return usageError{fmt.Errorf("dump needs one KEY, not %d", len(args))}
			}
			return dump(dir, args[0], out, p.out, p.err)
		},
	}
	dirFlag(c, &dir)
	c.Flags().StringVarP(&out, "output", "o", "-", "`FILE` to write to; - for standard output")
	return c
}

// dump writes the committed value of a key as a .npy file. It reports damage that it finds, and records
// that are held back, on stderr.
func dump(dir, key, file string, stdout, stderr io.Writer) error {
	boot, _ := datafolder.BootID() // without it, data that a power loss may have damaged is not read
	d, err := persistence.Inspect(vfs.OS{}, dir, boot)
	if err != nil {
		return fmt.Errorf("cannot read the data folder: %w", err)
	}
	npy, report, err := shard.ReadNPY(d, []byte(key), time.Now().UnixMilli())
	if err := errors.Join(err, d.Close(false)); err != nil {
		return err
	}
	for _, found := range report.Damage {
		fmt.Fprintln(stderr, "ndring: damage:", found)
	}
	if report.HeldBack > 0 {
		fmt.Fprintf(stderr, "ndring: in the shard of the key, %s\n", heldBack(report))
	}
	if npy == nil {
		return fmt.Errorf("there is no key %q", key)
	}
	if file == "-" {
		_, err = stdout.Write(npy)
		return err
	}
	return os.WriteFile(file, npy, 0o666)
}
