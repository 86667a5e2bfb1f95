// Package screen stands between the gossip port and memberlist: it reads every datagram and every
// stream before memberlist does, and lets through only messages that a node of ndring sends.
//
// Memberlist trusts what it is sent. Without a key anybody who reaches the port may write to it,
// and version 0.6.0 makes a buffer of any announced length, decompresses without a bound and
// indexes lists that it has not looked at, in goroutines where a panic ends the process. So each
// message is parsed here by a grammar that knows its fields, their types and the longest value of
// each; lengths are checked before anything is allocated, and compressed messages are decompressed
// here, within the same bounds. With a key the contents are authenticated, so that only lengths,
// streams and rates are bounded.
package screen
