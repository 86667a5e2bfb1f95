// Package node joins the parts of ndring into a running node, and is the ndring program around it: command line,
// settings, log, metrics. It is the only package that sees all parts.
//
// Node is wiring and decides nothing. Three adapters, each with its own fields, are what other packages see of it:
//
//	clientCluster  the cluster, for package protocol
//	clientHost     settings and shutdown, for package protocol
//	clusterHost    the data folder's identity and the applied topology, for package cluster
//
// Order of a start: data folder, store, client ports, bus and cluster, HTTP. /readyz answers 200 only when the node
// serves all that it should. A stop reverses that: not ready, no new clients, commands under way finish, cluster,
// bus, store.
//
// Lock order: effectiveConfig.mu, then the locks of the server and the store that Reconfigure takes.
package node
