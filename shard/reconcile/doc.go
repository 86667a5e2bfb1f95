// Package reconcile makes the shards of a node match the topology. It decides which shards the node opens, closes, clears
// and hands over, and when clients may be redirected to a new primary.
//
// The decisions are pure functions (decide.go, redirects.go): topology, node id, incarnation and shard states in,
// actions out. The Reconciler around them is a thin shell that applies the actions to the store and sends proposals
// to the cluster.
//
// The Reconciler owns the applied topology, the one by which the node routes clients. It applies a new topology in this
// order: the settings, the shards that the node gains, the routing, the shards that it loses. So no shard opens under
// old settings, and a client that finds a closed shard finds a topology that says where the shard went.
//
// Lock order: Reconciler.mu, then the locks of gossip (Config.Alive). The Reconciler holds no lock while it opens or
// closes a shard, proposes, or waits for another node.
//
// The package must never know how nodes gossip, agree or connect: internal/node passes that in as functions.
package reconcile
