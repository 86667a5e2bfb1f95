// Command node is the ndring server. `ndring --help` says how to run it. `ndring ctl` is ndctl, for where there is one binary alone.
package main

import (
	"os"

	"github.com/ndring/ndring/internal/ndctl"
	"github.com/ndring/ndring/internal/node"
)

// version is set when a release is built.
var version = "0.1.0-dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "ctl" {
		os.Exit(ndctl.Run("ndring ctl", os.Args[2:], version))
	}
	os.Exit(node.Run(os.Args[1:], version, os.Stdout, os.Stderr))
}
