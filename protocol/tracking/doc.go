// Package tracking decides which clients are to be told of a changed key (CLIENT TRACKING).
//
// It knows neither connections nor shards, takes no lock and has no clock: package protocol feeds it with what clients read and
// with what changes, and sends what it decides.
package tracking
