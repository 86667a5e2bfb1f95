// Command node is the ndring server. `ndring --help` says how to run it.
package main

import (
	"os"

	"github.com/ndring/ndring/internal/node"
)

// version is set when a release is built.
var version = "0.1.0-dev"

func main() { os.Exit(node.Run(os.Args[1:], version, os.Stdout, os.Stderr)) }
