// Command ndctl is the operators' command line. `ndctl --help` says what it can do.
package main

import (
	"os"

	"github.com/ndring/ndring/internal/ndctl"
)

// version is set when a release is built.
var version = "0.1.0-dev"

func main() { os.Exit(ndctl.Run("ndctl", os.Args[1:], version)) }
