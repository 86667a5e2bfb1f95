// Package acl says who may do what: users, the rules that Redis' ACL gives them, and the check of a command against them.
//
// It is pure: it reads no file, knows no connection and takes no lock. A User and a set of Users never change; a
// change makes new ones, so any number of connections may check against them. Layers says which of several definitions
// of a user is in effect on a node.
package acl
