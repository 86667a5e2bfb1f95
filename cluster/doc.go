// Package cluster makes one cache out of many nodes. Gossip (memberlist) finds them and notices
// failures; raft commits one topology for all of them. docs/cluster.md describes the whole.
//
// Package topology makes the decisions. This package brings facts to it, sends its decisions
// through the log, and publishes each new topology to the Host. It must never see a client or the
// bytes of an array, and its callbacks never block.
//
// Cluster assembles the parts and is their public face. Each part owns its fields:
//
//   - startup brings the node into its cluster: it discovers one, or has the bootstrapper form one,
//     and starts raft
//   - bootstrapper collects claims as coordinator and grants this node's claim
//   - joiner asks members for admission; admitter answers, on the leader
//   - rejoiner keeps a running node in touch: seeds, addressBook and advertiser
//   - members is what gossip knows about other nodes; gossip writes it
//   - consensus is raft with its fsm, transport, streamLayer and stores; controller runs on the
//     leader, proposer on every node
//   - identityStore is what the node has durably promised; membership is the only way into a cluster
//
// Lock order: gossip.sending, gossip.mu, identityStore.mu, then members.mu, addressBook.mu and
// streamLayer.mu, under which no other lock is taken. No lock is held while waiting for another
// node, except gossip.sending.
package cluster
