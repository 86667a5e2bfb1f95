// Package screen stands between the gossip port and memberlist: it reads every datagram and every
// stream before memberlist does, and passes only messages that an ndring node sends.
//
// Memberlist trusts its input. Without a key anyone who reaches the port can write to it, and version
// 0.6.0 allocates a buffer of any announced length, decompresses without a bound and indexes lists
// that it has not checked, in goroutines where a panic ends the process. So this package parses every
// message with a grammar that knows its fields, their types and their maximum lengths. It checks
// lengths before it allocates, and decompresses within the same bounds. With a key the contents are
// authenticated; then it bounds only lengths, streams and rates.
//
// It must never know what the messages mean: memberlist interprets them.
package screen
