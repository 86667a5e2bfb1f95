package node

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
)

// parseFlags reads the flags of a small command, and writes errors and help to stderr.
func parseFlags(flags *flag.FlagSet, args []string, stderr io.Writer) error {
	flags.SetOutput(io.Discard) // package flag would write their names with one dash
	flags.Usage = func() {}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		writeFlags(flags, stderr)
	case err != nil:
		fmt.Fprintf(stderr, "ndring: %s: %v\n", flags.Name(), dashed(err))
		writeFlags(flags, stderr)
	}
	return err
}

func writeFlags(flags *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, "Flags of %s:\n", flags.Name())
	flags.VisitAll(func(f *flag.Flag) {
		value, help := flag.UnquoteUsage(f)
		if value != "" {
			value = " " + value
		}
		dashes := "--"
		if len(f.Name) == 1 {
			dashes = "-"
		}
		fmt.Fprintf(w, "  %s%s%s\n        %s", dashes, f.Name, value, help)
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "false" {
			fmt.Fprintf(w, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(w)
	})
}

// oneDash finds the name of the flag in an error of package flag.
var oneDash = regexp.MustCompile(`^(flag provided but not defined: |flag needs an argument: |invalid (?:boolean )?value "(?:[^"\\]|\\.)*" for (?:flag )?)-([^-:]{2})`)

// dashed rewrites an error of package flag: it names the flag as --help does.
func dashed(err error) error { return errors.New(oneDash.ReplaceAllString(err.Error(), "${1}--${2}")) }
