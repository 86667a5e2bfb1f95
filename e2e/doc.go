// Package e2e tests the cluster of docker-compose.yml. It drives the cluster through the engine's command
// line, like an operator, and uses it through real clients: Python, redis-cli and go-redis, in a container
// beside the nodes and on the host. The tests need Docker and the build tag e2e: `make e2e` runs them.
package e2e
