// Package cluster makes one cache of many nodes: it finds them by gossip (memberlist) and agrees with them on one topology (raft).
//
// What there is to decide, package topology decides: this package carries facts to it and its decisions to the log, and hands each
// new topology to whoever runs the node. It never sees a client or the bytes of an array, and its callbacks never block.
// docs/cluster.md draws the whole.
package cluster
