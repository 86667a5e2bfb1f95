// Command node is the ndring server, and the tools that come with it: `ndring --help` lists them. `ndring ctl` is
// ndctl, so that an image with this one binary has it too.
package main

import (
	"os"

	"github.com/ndring/ndring/internal/ndctl"
	"github.com/ndring/ndring/internal/node"
)

// version is set when a release is built.
var version = "0.1.0-dev"

func main() {
	ctl := func(args []string) int { return ndctl.Run("ndring ctl", args, version) }
	os.Exit(node.Run(os.Args[1:], version, ctl, os.Stdout, os.Stderr))
}
