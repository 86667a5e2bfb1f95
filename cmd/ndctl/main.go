// Command ndctl is the operators' command line. `ndctl --help` lists its commands.
package main

import (
	"os"

	"github.com/ndring/ndring/internal/ndctl"
)

// version is set by the release build.
var version = "0.1.0-dev"

func main() { os.Exit(ndctl.Run("ndctl", os.Args[1:], version)) }
