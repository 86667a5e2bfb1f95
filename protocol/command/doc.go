// Package command describes commands: the rows of the command table, how a command is found in it, and
// what COMMAND answers about it. It knows no handler; package protocol gives each row one and executes it.
package command
