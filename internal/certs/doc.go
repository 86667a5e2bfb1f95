// Package certs reads the TLS certificates of a node from files, follows the files when they change, and makes certificates. It
// imports nothing of ndring, and opens no socket.
package certs
