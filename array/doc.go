// Package array parses the header of a .npy file: what the array is, how large it is, and whether
// the file matches that exactly.
//
// Thanks to it ndring stores only what numpy can read back, and knows shape and dtype without
// looking at the data. Headers are untrusted input. numpy reads them with Python's literal
// evaluator; this package has a small fixed grammar and checks each size before it uses it. It
// never evaluates, imports or unpickles anything. It knows bytes and numbers, and must not learn of
// keys, connections or storage.
//
// The format is numpy's: see the documentation of numpy.lib.format, and NEP 1.
package array
