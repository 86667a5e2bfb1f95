package protocol

// commands is the one command table: dispatch, COMMAND, its docs and the limits of arguments are all read from it.
var commands Table

// The table is made here because its handlers read it: Go takes that for a cycle in a variable's own initializer.
func init() { commands = newTable(commandRows()) }

const (
	groupArray      = "array" // ndring's own
	groupGeneric    = "generic"
	groupConnection = "connection"
	groupServer     = "server"
	groupCluster    = "cluster"
)

func commandRows() []*Command {
	const read, write, anytime = ReadOnly | Fast, Write | Fast, Loading | Stale | Fast
	rows := []*Command{
		{Name: "np.set", Arity: -3, Flags: Write | DenyOOM | Uploads, Keys: oneKey, Group: groupArray, Since: "0.1.0", Handler: npSet,
			Syntax: "key npy [ATTRS json] [PART name bytes ...] [CRC32C n] [NX | XX | IFVERSION v] " +
				"[EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] [WC ONE | SYNC | ALL] [REQID id] [WITHVERSION]",
			Summary: "Stores an array, given as a .npy file."},
		{Name: "np.get", Arity: -2, Flags: read, Keys: oneKey, Group: groupArray, Since: "0.1.0", Handler: npGet,
			Syntax: "key [WITHATTRS] [IFNEWER v]", Summary: "Returns an array as a .npy file."},
		{Name: "np.mset", Arity: -3, Flags: Write | DenyOOM | Uploads, Keys: otherKeys, Group: groupArray, Since: "0.1.0", Handler: npMSet,
			Syntax: "key npy [key npy ...]", Summary: "Stores arrays of one slot, all at once."},
		{Name: "np.mget", Arity: -2, Flags: read, Keys: allKeys, Group: groupArray, Since: "0.1.0", Handler: npMGet,
			Syntax: "key [key ...]", Summary: "Returns arrays of one slot."},
		{Name: "np.shape", Arity: 2, Flags: read, Keys: oneKey, Group: groupArray, Since: "0.1.0", Handler: npShape,
			Syntax: "key", Summary: "Returns the shape of an array."},
		{Name: "np.dtype", Arity: 2, Flags: read, Keys: oneKey, Group: groupArray, Since: "0.1.0", Handler: npDtype,
			Syntax: "key", Summary: "Returns numpy's descr of an array's dtype."},
		{Name: "np.meta", Arity: 2, Flags: read, Keys: oneKey, Group: groupArray, Since: "0.1.0", Handler: npMeta,
			Syntax: "key", Summary: "Returns all that is known of an array without its data."},
		{Name: "np.verify", Arity: 2, Flags: ReadOnly, Keys: oneKey, Group: groupArray, Since: "0.1.0", Handler: npVerify,
			Syntax: "key", Summary: "Computes the CRC32C of an array again and compares."},

		{Name: "unlink", Arity: -2, Flags: write, Keys: allKeys, Group: groupGeneric, Since: "0.1.0", Handler: del,
			Syntax: "key [key ...]", Summary: "Deletes keys."},
		{Name: "pexpireat", Arity: -3, Flags: write, Keys: oneKey, Group: groupGeneric, Since: "0.1.0", Handler: expire(1, false),
			Syntax: "key unix-time-milliseconds [NX | XX | GT | LT]", Summary: "Sets the time at which a key expires, in ms since 1970."},
		{Name: "expireat", Arity: -3, Flags: write, Keys: oneKey, Group: groupGeneric, Since: "0.1.0", Handler: expire(1000, false),
			Syntax: "key unix-time-seconds [NX | XX | GT | LT]", Summary: "Sets the time at which a key expires, in s since 1970."},
		{Name: "expiretime", Arity: 2, Flags: read, Keys: oneKey, Group: groupGeneric, Since: "0.1.0", Handler: expireTime(1000),
			Syntax: "key", Summary: "Returns when a key expires, in s since 1970."},
		{Name: "pexpiretime", Arity: 2, Flags: read, Keys: oneKey, Group: groupGeneric, Since: "0.1.0", Handler: expireTime(1),
			Syntax: "key", Summary: "Returns when a key expires, in ms since 1970."},
		{Name: "type", Arity: 2, Flags: read, Keys: oneKey, Group: groupGeneric, Since: "0.1.0", Handler: typeOf,
			Syntax: "key", Summary: "Returns ndarray, or none."},

		{Name: "touch", Arity: -2, Flags: read, Keys: allKeys, Group: groupGeneric, Since: "0.1.0", Handler: exists,
			Syntax: "key [key ...]", Summary: "Returns how many of the keys are there."},
		{Name: "randomkey", Arity: 1, Flags: ReadOnly, Group: groupGeneric, Since: "0.1.0", Handler: randomKey,
			Summary: "Returns one of the node's keys."},

		{Name: "auth", Arity: -2, Flags: anytime | NoAuth, Group: groupConnection, Since: "0.1.0", Handler: auth,
			Syntax: "[username] password", Summary: "Gives the password."},
		{Name: "reset", Arity: 1, Flags: anytime | NoAuth, Group: groupConnection, Since: "0.1.0", Handler: reset,
			Summary: "Makes the connection as new."},
		{Name: "readonly", Arity: 1, Flags: anytime, Group: groupCluster, Since: "0.1.0", Handler: readOnly,
			Summary: "Allows reads from replicas on this connection."},
		{Name: "readwrite", Arity: 1, Flags: anytime, Group: groupCluster, Since: "0.1.0", Handler: readOnly,
			Summary: "Takes READONLY back."},
		{Name: "asking", Arity: 1, Flags: anytime, Group: groupCluster, Since: "0.1.0", Handler: readOnly,
			Summary: "Precedes a command that ASK sent here."},
		{Name: "ping", Arity: -1, Flags: Fast, Group: groupConnection, Since: "0.1.0", Handler: ping,
			Syntax: "[message]", Summary: "Returns PONG, or the message."},
		{Name: "echo", Arity: 2, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: echo,
			Syntax: "message", Summary: "Returns the message."},
		{Name: "hello", Arity: -1, Flags: anytime | NoAuth, Group: groupConnection, Since: "0.1.0", Handler: hello,
			Syntax: "[protover [AUTH username password] [SETNAME name]]", Summary: "Chooses RESP2 or RESP3 and returns facts of the server."},
		{Name: "quit", Arity: -1, Flags: anytime | NoAuth, Group: groupConnection, Since: "0.1.0", Handler: quit,
			Summary: "Closes the connection."},
		{Name: "select", Arity: 2, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: selectDB,
			Syntax: "0", Summary: "Does nothing: there is one database."},
		{Name: "client", Arity: -2, Group: groupConnection, Since: "0.1.0", Summary: "A container for commands about connections.", Sub: []*Command{
			{Name: "id", Arity: 2, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: clientID,
				Summary: "Returns the number of the connection."},
			{Name: "getname", Arity: 2, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: clientGetName,
				Summary: "Returns the name of the connection."},
			{Name: "info", Arity: 2, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: clientInfo,
				Summary: "Returns what the node knows of the connection."},
			{Name: "list", Arity: -2, Flags: Loading | Stale, Group: groupConnection, Since: "0.1.0", Handler: clientList,
				Syntax: "[TYPE type] [ID id [id ...]]", Summary: "Returns what the node knows of its connections, a line each."},
			{Name: "no-evict", Arity: 3, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: clientSwitch,
				Syntax: "ON | OFF", Summary: "Is accepted; no connection is closed for want of memory."},
			{Name: "no-touch", Arity: 3, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: clientSwitch,
				Syntax: "ON | OFF", Summary: "Is accepted; no command marks keys as used."},
			{Name: "setname", Arity: 3, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: clientSetName,
				Syntax: "name", Summary: "Names the connection."},
			{Name: "setinfo", Arity: 4, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: clientSetInfo,
				Syntax: "LIB-NAME name | LIB-VER version", Summary: "Says which client library this is."},
		}},

		{Name: "time", Arity: 1, Flags: anytime, Group: groupServer, Since: "0.1.0", Handler: timeNow,
			Summary: "Returns the node's Unix time: s, and µs of the second."},
		{Name: "role", Arity: 1, Flags: anytime, Group: groupServer, Since: "0.1.0", Handler: role,
			Summary: "Returns what the node is in replication."},
		{Name: "wait", Arity: 3, Group: groupGeneric, Since: "0.1.0", Handler: wait, Syntax: "numreplicas timeout",
			Summary: "Returns how many replicas have this connection's writes."},
		{Name: "info", Arity: -1, Flags: Loading | Stale, Group: groupServer, Since: "0.1.0", Handler: info,
			Syntax: "[section ...]", Summary: "Returns facts and counters of the node."},
		{Name: "dbsize", Arity: 1, Flags: read, Group: groupServer, Since: "0.1.0", Handler: dbSize,
			Summary: "Returns the number of keys of the node."},
		{Name: "flushdb", Arity: -1, Flags: Write, Group: groupServer, Since: "0.1.0", Handler: flush,
			Syntax: "[ASYNC | SYNC]", Summary: "Deletes all keys of the node."},
		{Name: "flushall", Arity: -1, Flags: Write, Group: groupServer, Since: "0.1.0", Handler: flush,
			Syntax: "[ASYNC | SYNC]", Summary: "Deletes all keys of the node."},
		{Name: "command", Arity: -1, Flags: Loading | Stale, Group: groupServer, Since: "0.1.0", Handler: commandAll,
			Summary: "Returns the command table.", Sub: []*Command{
				{Name: "count", Arity: 2, Flags: anytime, Group: groupServer, Since: "0.1.0", Handler: commandCount,
					Summary: "Returns the number of commands."},
				{Name: "getkeys", Arity: -4, Flags: Loading | Stale, Group: groupServer, Since: "0.1.0", Handler: commandGetKeys,
					Syntax: "command [argument ...]", Summary: "Returns the keys of a command."},
				{Name: "list", Arity: -2, Flags: Loading | Stale, Group: groupServer, Since: "0.1.0", Handler: commandList,
					Syntax: "[FILTERBY MODULE module | ACLCAT category | PATTERN pattern]", Summary: "Returns the names of the commands."},
				{Name: "docs", Arity: -2, Flags: Loading | Stale, Group: groupServer, Since: "0.1.0", Handler: commandDocs,
					Syntax: "[name ...]", Summary: "Returns the documentation of commands."},
				{Name: "info", Arity: -2, Flags: Loading | Stale, Group: groupServer, Since: "0.1.0", Handler: commandInfo,
					Syntax: "[name ...]", Summary: "Returns rows of the command table."},
			}},

		{Name: "cluster", Arity: -2, Group: groupCluster, Since: "0.1.0", Summary: "A container for commands about the cluster.", Sub: []*Command{
			{Name: "slots", Arity: 2, Flags: Loading | Stale, Group: groupCluster, Since: "0.1.0", Handler: clusterSlots,
				Summary: "Returns which node serves which slots."},
			{Name: "nodes", Arity: 2, Flags: Loading | Stale, Group: groupCluster, Since: "0.1.0", Handler: clusterNodes,
				Summary: "Returns the nodes as Redis Cluster writes them."},
			{Name: "info", Arity: 2, Flags: Loading | Stale, Group: groupCluster, Since: "0.1.0", Handler: clusterInfo,
				Summary: "Returns the state of the cluster."},
			{Name: "keyslot", Arity: 3, Flags: anytime, Group: groupCluster, Since: "0.1.0", Handler: clusterKeySlot,
				Syntax: "key", Summary: "Returns the slot of a key."},
			{Name: "countkeysinslot", Arity: 3, Flags: Stale, Group: groupCluster, Since: "0.1.0", Handler: clusterCountKeysInSlot,
				Syntax: "slot", Summary: "Returns the number of keys in a slot."},
			{Name: "getkeysinslot", Arity: 4, Flags: Stale, Group: groupCluster, Since: "0.1.0", Handler: clusterGetKeysInSlot,
				Syntax: "slot count", Summary: "Returns keys of a slot."},
			{Name: "myid", Arity: 2, Flags: anytime, Group: groupCluster, Since: "0.1.0", Handler: clusterMyID,
				Summary: "Returns the id of the node."},
		}},
	}
	return append(rows, twoNames([]*Command{
		{Name: "scan", Arity: -2, Flags: ReadOnly, Handler: scan, Syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
			Summary: "Walks the node's keys, some a call."},
		{Name: "del", Arity: -2, Flags: Write, Keys: allKeys, Handler: del, Syntax: "key [key ...]", Summary: "Deletes keys."},
		{Name: "exists", Arity: -2, Flags: read, Keys: allKeys, Handler: exists, Syntax: "key [key ...]",
			Summary: "Returns how many of the keys are there."},
		{Name: "ttl", Arity: 2, Flags: read, Keys: oneKey, Handler: ttl(1000), Syntax: "key", Summary: "Returns the time to live of a key in s."},
		{Name: "pttl", Arity: 2, Flags: read, Keys: oneKey, Handler: ttl(1), Syntax: "key", Summary: "Returns the time to live of a key in ms."},
		{Name: "expire", Arity: -3, Flags: write, Keys: oneKey, Handler: expire(1000, true), Syntax: "key seconds [NX | XX | GT | LT]",
			Summary: "Sets the time to live of a key in s."},
		{Name: "pexpire", Arity: -3, Flags: write, Keys: oneKey, Handler: expire(1, true), Syntax: "key milliseconds [NX | XX | GT | LT]",
			Summary: "Sets the time to live of a key in ms."},
		{Name: "persist", Arity: 2, Flags: write, Keys: oneKey, Handler: persist, Syntax: "key", Summary: "Takes the time to live of a key away."},
	})...)
}

// twoNames gives rows that Redis has too their second name, NP.*, for clients that send everything of ndring's with that prefix.
func twoNames(plain []*Command) []*Command {
	var rows []*Command
	for _, row := range plain {
		row.Group, row.Since = groupGeneric, "0.1.0"
		own := *row
		own.Name = "np." + row.Name
		own.Group = groupArray
		rows = append(rows, row, &own)
	}
	return rows
}
