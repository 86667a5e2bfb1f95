// Package certs reads the TLS certificates of a node from files, follows the files when they change, and makes certificates. It
// opens no socket.
package certs
