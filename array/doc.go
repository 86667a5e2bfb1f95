// Package array understands the header of a .npy file: what the array is, how large it is, and whether the file is exactly that.
//
// It exists so that ndring stores nothing that numpy could not read back, and so that shape and dtype are known without the
// data. Headers come from strangers: numpy reads them with Python's literal evaluator, this package with a small fixed grammar that
// checks each size before it uses it. Nothing here evaluates, imports or unpickles, ever. The package knows bytes
// and numbers only: no keys, no connections, no storage.
//
// The format is numpy's, as its documentation of numpy.lib.format and its NEP 1 describe it.
package array
