package protocol

import "github.com/ndring/ndring/protocol/command"

// aclRows are the rows of ACL.
func aclRows() []*command.Spec {
	const anyone, operator = command.Loading | command.Stale, command.Admin | command.Loading | command.Stale
	row := func(name string, arity int, flags command.Flags, h command.Handler, syntax, summary string) *command.Spec {
		return &command.Spec{Name: name, Arity: arity, Flags: flags, Group: command.GroupServer, Since: "0.1.0", Handler: h, Syntax: syntax, Summary: summary}
	}
	return []*command.Spec{{Name: "acl", Arity: -2, Group: command.GroupServer, Since: "0.1.0", Summary: "A container for commands about users.", Sub: []*command.Spec{
		row("cat", -2, anyone, onServer(aclCat), "[category]", "Returns the categories of commands, or the commands of one."),
		row("deluser", -3, operator|command.Audited, onConns(aclDelUser), "name [name ...]", "Deletes users on this node until it stops, and closes their connections."),
		row("dryrun", -4, operator, onServer(aclDryRun), "name command [argument ...]", "Says whether a user may execute a command, without executing it."),
		row("genpass", -2, anyone, plain(aclGenPass), "[bits]", "Returns a random password in hexadecimal digits."),
		row("getuser", 3, operator, onServer(aclGetUser), "name", "Returns the rules of a user."),
		row("list", 2, operator, onServer(aclList), "", "Returns the users in effect on this node, each as a line of an ACL file."),
		row("load", 2, operator|command.Audited, onConn(aclLoad), "", "Reads the ACL file again, and drops what SETUSER and DELUSER have changed."),
		row("log", -2, operator, onServer(aclLog), "[count | RESET]", "Returns the latest denials, or clears them."),
		row("save", 2, operator|command.Audited, onServer(aclSave), "", "Writes the users of this node to the ACL file."),
		row("setuser", -3, operator|command.Audited|command.NoSlowlog, onServer(aclSetUser), "name [rule ...]",
			"Creates or changes a user on this node until it stops."),
		row("users", 2, operator, onServer(aclUsers), "", "Returns the names of the users."),
		row("whoami", 2, anyone, onConn(aclWhoAmI), "", "Returns the user of this connection."),
	}}}
}
