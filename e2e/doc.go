// Package e2e drives the cluster of docker-compose.yml through the engine's command line, as its operators do, and uses it as clients do: Python, redis-cli and go-redis, in
// a container beside the nodes and on the host. Its tests need Docker and are built with the tag e2e: `make e2e` runs them.
package e2e
