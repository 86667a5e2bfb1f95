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

	groupTransactions = "transactions"
)

func commandRows() []*Command {
	const read, write, anytime = ReadOnly | Fast, Write | Fast, Loading | Stale | Fast
	const operator = Admin | Loading | Stale
	rows := []*Command{
		{Name: "np.set", Arity: -3, Flags: Write | DenyOOM | Uploads, Keys: oneKey, KeyUse: keysSet, Group: groupArray, Since: "0.1.0", Handler: npSet,
			Syntax: "key npy [ATTRS json] [PART name bytes ...] [CRC32C n] [NX | XX | IFVERSION v] " +
				"[EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] [WC ONE | SYNC | ALL] [REQID id] [WITHVERSION]",
			Summary: "Stores an array, given as a .npy file."},
		{Name: "np.get", Arity: -2, Flags: read, Keys: oneKey, KeyUse: keysRead, Group: groupArray, Since: "0.1.0", Handler: npGet,
			Syntax: "key [WITHATTRS] [IFNEWER v]", Summary: "Returns an array as a .npy file."},
		{Name: "np.mset", Arity: -3, Flags: Write | DenyOOM | Uploads, Keys: otherKeys, KeyUse: keysStored, Group: groupArray, Since: "0.1.0", Handler: npMSet,
			Syntax: "key npy [key npy ...]", Summary: "Stores arrays of one slot, all at once."},
		{Name: "np.mget", Arity: -2, Flags: read, Keys: allKeys, KeyUse: keysRead, Tips: tipsKeyEach, Group: groupArray, Since: "0.1.0", Handler: npMGet,
			Syntax: "key [key ...]", Summary: "Returns arrays of one slot."},
		{Name: "np.shape", Arity: 2, Flags: read, Keys: oneKey, KeyUse: keysSeen, Group: groupArray, Since: "0.1.0", Handler: npShape,
			Syntax: "key", Summary: "Returns the shape of an array."},
		{Name: "np.dtype", Arity: 2, Flags: read, Keys: oneKey, KeyUse: keysSeen, Group: groupArray, Since: "0.1.0", Handler: npDtype,
			Syntax: "key", Summary: "Returns numpy's descr of an array's dtype."},
		{Name: "np.meta", Arity: 2, Flags: read, Keys: oneKey, KeyUse: keysSeen, Tips: tipsVary, Group: groupArray, Since: "0.1.0", Handler: npMeta,
			Syntax: "key", Summary: "Returns all that is known of an array without its data."},
		{Name: "np.slice", Arity: 3, Flags: ReadOnly, Keys: oneKey, KeyUse: keysRead, Group: groupArray, Since: "0.1.0", Handler: npSlice,
			Syntax: "key start:stop:step[,...]", Summary: "Returns a part of an array as a .npy file."},
		{Name: "np.verify", Arity: 2, Flags: ReadOnly, Keys: oneKey, KeyUse: keysSeen, Group: groupArray, Since: "0.1.0", Handler: npVerify,
			Syntax: "key", Summary: "Computes the CRC32C of an array again and compares."},

		{Name: "unlink", Arity: -2, Flags: write, Keys: allKeys, KeyUse: keysDeleted, Tips: tipsKeySum, Group: groupGeneric, Since: "0.1.0", Handler: del,
			Syntax: "key [key ...]", Summary: "Deletes keys."},
		{Name: "pexpireat", Arity: -3, Flags: write, Keys: oneKey, KeyUse: keysChanged, Group: groupGeneric, Since: "0.1.0", Handler: expire(1, false),
			Syntax: "key unix-time-milliseconds [NX | XX | GT | LT]", Summary: "Sets the time at which a key expires, in ms since 1970."},
		{Name: "expireat", Arity: -3, Flags: write, Keys: oneKey, KeyUse: keysChanged, Group: groupGeneric, Since: "0.1.0", Handler: expire(1000, false),
			Syntax: "key unix-time-seconds [NX | XX | GT | LT]", Summary: "Sets the time at which a key expires, in s since 1970."},
		{Name: "expiretime", Arity: 2, Flags: read, Keys: oneKey, KeyUse: keysRead, Group: groupGeneric, Since: "0.1.0", Handler: expireTime(1000),
			Syntax: "key", Summary: "Returns when a key expires, in s since 1970."},
		{Name: "pexpiretime", Arity: 2, Flags: read, Keys: oneKey, KeyUse: keysRead, Group: groupGeneric, Since: "0.1.0", Handler: expireTime(1),
			Syntax: "key", Summary: "Returns when a key expires, in ms since 1970."},
		{Name: "type", Arity: 2, Flags: read, Keys: oneKey, KeyUse: keysSeen, Group: groupGeneric, Since: "0.1.0", Handler: typeOf,
			Syntax: "key", Summary: "Returns ndarray, or none."},

		{Name: "touch", Arity: -2, Flags: read, Keys: allKeys, KeyUse: keysSeen, Tips: tipsKeySum, Group: groupGeneric, Since: "0.1.0", Handler: touch,
			Syntax: "key [key ...]", Summary: "Makes keys count as used, and returns how many of them are there."},
		{Name: "randomkey", Arity: 1, Flags: ReadOnly | NoMulti, Tips: tipsRandomKey, Group: groupGeneric, Since: "0.1.0", Handler: randomKey,
			Summary: "Returns one of the node's keys."},

		{Name: "auth", Arity: -2, Flags: anytime | NoAuth | NoSlowlog, Group: groupConnection, Since: "0.1.0", Handler: auth,
			Syntax: "[username] password", Summary: "Gives the password."},
		{Name: "reset", Arity: 1, Flags: anytime | NoAuth | Control, Group: groupConnection, Since: "0.1.0", Handler: reset,
			Summary: "Makes the connection as new."},
		{Name: "readonly", Arity: 1, Flags: anytime, Categories: []string{"connection"}, Group: groupCluster, Since: "0.1.0", Handler: readOnly(true),
			Summary: "Allows reads from replicas on this connection."},
		{Name: "readwrite", Arity: 1, Flags: anytime, Categories: []string{"connection"}, Group: groupCluster, Since: "0.1.0", Handler: readOnly(false),
			Summary: "Takes READONLY back."},
		{Name: "asking", Arity: 1, Flags: anytime, Categories: []string{"connection"}, Group: groupCluster, Since: "0.1.0", Handler: asking,
			Summary: "Precedes a command that ASK sent here."},
		{Name: "ping", Arity: -1, Flags: Fast, Tips: tipsEachShardOK, Group: groupConnection, Since: "0.1.0", Handler: ping,
			Syntax: "[message]", Summary: "Returns PONG, or the message."},
		{Name: "echo", Arity: 2, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: echo,
			Syntax: "message", Summary: "Returns the message."},
		{Name: "hello", Arity: -1, Flags: anytime | NoAuth | NoSlowlog, Group: groupConnection, Since: "0.1.0", Handler: hello,
			Syntax: "[protover [AUTH username password] [SETNAME name]]", Summary: "Chooses RESP2 or RESP3 and returns facts of the server."},
		{Name: "quit", Arity: -1, Flags: anytime | NoAuth | Control, Group: groupConnection, Since: "0.1.0", Handler: quit,
			Summary: "Closes the connection."},
		{Name: "select", Arity: 2, Flags: anytime, Group: groupConnection, Since: "0.1.0", Handler: selectDB,
			Syntax: "0", Summary: "Does nothing: there is one database."},
		{Name: "client", Arity: -2, Group: groupConnection, Since: "0.1.0", Summary: "A container for commands about connections.", Sub: []*Command{
			{Name: "id", Arity: 2, Flags: Loading | Stale, Group: groupConnection, Since: "0.1.0", Handler: clientID,
				Summary: "Returns the number of the connection."},
			{Name: "getname", Arity: 2, Flags: Loading | Stale, Group: groupConnection, Since: "0.1.0", Handler: clientGetName,
				Summary: "Returns the name of the connection."},
			{Name: "info", Arity: 2, Flags: Loading | Stale, Tips: tipsVary, Group: groupConnection, Since: "0.1.0", Handler: clientInfo,
				Summary: "Returns what the node knows of the connection."},
			{Name: "list", Arity: -2, Flags: operator, Tips: tipsVary, Group: groupConnection, Since: "0.1.0", Handler: clientList,
				Syntax: "[TYPE type] [ID id [id ...]]", Summary: "Returns what the node knows of its connections, a line each."},
			{Name: "getredir", Arity: 2, Flags: Loading | Stale, Group: groupConnection, Since: "0.1.0", Handler: clientGetRedir,
				Summary: "Returns -1: there is no tracking."},
			{Name: "kill", Arity: -3, Flags: operator | Audited, Group: groupConnection, Since: "0.1.0", Handler: clientKill,
				Syntax: "address | [ID id] [ADDR address] [LADDR address] [TYPE type] [USER user] [MAXAGE s] [SKIPME yes | no]", Summary: "Closes connections."},
			{Name: "no-evict", Arity: 3, Flags: operator, Group: groupConnection, Since: "0.1.0", Handler: clientNoEvict,
				Syntax: "ON | OFF", Summary: "Is accepted; no connection is closed for want of memory."},
			{Name: "no-touch", Arity: 3, Flags: Loading | Stale, Group: groupConnection, Since: "0.1.0", Handler: clientNoTouch,
				Syntax: "ON | OFF", Summary: "Says whether this connection's reads leave keys as unused as they were."},
			{Name: "pause", Arity: -3, Flags: operator | Audited, Group: groupConnection, Since: "0.1.0", Handler: clientPause,
				Syntax: "ms [WRITE | ALL]", Summary: "Lets the commands of all clients wait for so many ms."},
			{Name: "unpause", Arity: 2, Flags: operator | Unpaused | Audited, Group: groupConnection, Since: "0.1.0", Handler: clientUnpause,
				Summary: "Ends what CLIENT PAUSE began."},
			{Name: "reply", Arity: 3, Flags: Loading | Stale | NoMulti, Group: groupConnection, Since: "0.1.0", Handler: clientReply,
				Syntax: "ON | OFF | SKIP", Summary: "Says whether this connection gets replies."},
			{Name: "tracking", Arity: -3, Flags: Loading | Stale, Group: groupConnection, Since: "0.1.0", Handler: clientTracking,
				Syntax: "OFF", Summary: "Is accepted; there is no tracking of keys that could be turned on."},
			{Name: "setname", Arity: 3, Flags: Loading | Stale, Tips: tipsEachNodeOK, Group: groupConnection, Since: "0.1.0", Handler: clientSetName,
				Syntax: "name", Summary: "Names the connection."},
			{Name: "setinfo", Arity: 4, Flags: Loading | Stale, Tips: tipsEachNodeOK, Group: groupConnection, Since: "0.1.0", Handler: clientSetInfo,
				Syntax: "LIB-NAME name | LIB-VER version", Summary: "Says which client library this is."},
		}},

		{Name: "multi", Arity: 1, Flags: anytime | Control, Group: groupTransactions, Since: "0.1.0", Handler: multi,
			Summary: "Begins a transaction: commands are queued until EXEC."},
		{Name: "exec", Arity: 1, Flags: Loading | Stale | NoSlowlog | Control, Group: groupTransactions, Since: "0.1.0", Handler: exec,
			Summary: "Does all that was queued, with nothing of others in between. All keys must be of one slot."},
		{Name: "discard", Arity: 1, Flags: anytime | Control, Group: groupTransactions, Since: "0.1.0", Handler: discard,
			Summary: "Drops what was queued."},
		{Name: "watch", Arity: -2, Flags: anytime | Control, Keys: allKeys, KeyUse: keysSeen, Group: groupTransactions, Since: "0.1.0", Handler: watch,
			Syntax: "key [key ...]", Summary: "Makes the next EXEC do nothing if a key has changed by then."},
		{Name: "unwatch", Arity: 1, Flags: anytime, Group: groupTransactions, Since: "0.1.0", Handler: unwatch,
			Summary: "Forgets what is watched."},

		{Name: "config", Arity: -2, Group: groupServer, Since: "0.1.0", Summary: "A container for commands about settings.", Sub: []*Command{
			{Name: "get", Arity: -3, Flags: operator, Group: groupServer, Since: "0.1.0", Handler: configGet,
				Syntax: "pattern [pattern ...]", Summary: "Returns settings."},
			{Name: "set", Arity: -4, Flags: operator | Audited, Tips: tipsEachNodeOK, Group: groupServer, Since: "0.1.0", Handler: configSet,
				Syntax: "setting value [setting value ...]", Summary: "Changes settings of this node until it ends, all of them or none."},
			{Name: "resetstat", Arity: 2, Flags: operator | Audited, Tips: tipsEachNodeOK, Group: groupServer, Since: "0.1.0", Handler: configResetStat,
				Summary: "Sets the counters of INFO to zero."},
			{Name: "rewrite", Arity: 2, Flags: operator, Tips: tipsEachNodeOK, Group: groupServer, Since: "0.1.0", Handler: configRewrite,
				Summary: "Fails: there is no configuration file."},
		}},
		{Name: "slowlog", Arity: -2, Group: groupServer, Since: "0.1.0", Summary: "A container for commands about slow commands.", Sub: []*Command{
			{Name: "get", Arity: -2, Flags: operator, Tips: tipsSlowlogGet, Group: groupServer, Since: "0.1.0", Handler: slowlogGet,
				Syntax: "[count]", Summary: "Returns the last commands that took slowlog-log-slower-than µs or longer, the newest first."},
			{Name: "len", Arity: 2, Flags: operator, Tips: tipsSlowlogLen, Group: groupServer, Since: "0.1.0", Handler: slowlogLen,
				Summary: "Returns how many commands the slow log has."},
			{Name: "reset", Arity: 2, Flags: operator, Tips: tipsEachNodeOK, Group: groupServer, Since: "0.1.0", Handler: slowlogReset,
				Summary: "Empties the slow log."},
		}},
		{Name: "latency", Arity: -2, Group: groupServer, Since: "0.1.0", Summary: "A container for commands about latency.", Sub: []*Command{
			{Name: "histogram", Arity: -2, Flags: operator, Tips: tipsNodeReports, Group: groupServer, Since: "0.1.0", Handler: latencyHistogram,
				Syntax: "[command ...]", Summary: "Returns how many calls of each command took up to 1, 2, 4, ... µs."},
			{Name: "history", Arity: 3, Flags: operator, Tips: tipsNodeReports, Group: groupServer, Since: "0.1.0", Handler: latencyHistory,
				Syntax: "event", Summary: "Returns time (s) and duration (ms) of the last commands above latency-monitor-threshold."},
			{Name: "latest", Arity: 2, Flags: operator, Tips: tipsNodeReports, Group: groupServer, Since: "0.1.0", Handler: latencyLatest,
				Summary: "Returns the newest and the longest of each event."},
			{Name: "reset", Arity: -2, Flags: operator, Tips: tipsNodeSum, Group: groupServer, Since: "0.1.0", Handler: latencyReset,
				Syntax: "[event ...]", Summary: "Forgets events, and returns how many."},
		}},
		{Name: "memory", Arity: -2, Group: groupServer, Since: "0.1.0", Summary: "A container for commands about memory.", Sub: []*Command{
			{Name: "usage", Arity: -3, Flags: ReadOnly, Keys: secondKey, KeyUse: keysSeen, Group: groupServer, Since: "0.1.0", Handler: memoryUsage,
				Syntax: "key [SAMPLES count]", Summary: "Returns about how many bytes a key and its array take."},
			{Name: "stats", Arity: 2, Flags: Loading | Stale, Tips: tipsShardReports, Group: groupServer, Since: "0.1.0", Handler: memoryStats,
				Summary: "Returns where the node's memory is, in bytes."},
			{Name: "doctor", Arity: 2, Flags: Loading | Stale, Tips: tipsShardReports, Group: groupServer, Since: "0.1.0", Handler: memoryDoctor,
				Summary: "Says what looks wrong with the node's memory."},
			{Name: "purge", Arity: 2, Flags: Loading | Stale, Tips: tipsEachShardOK, Group: groupServer, Since: "0.1.0", Handler: memoryPurge,
				Summary: "Gives idle memory back to the system."},
		}},
		{Name: "object", Arity: -2, Group: groupGeneric, Since: "0.1.0", Summary: "A container for commands about one key.", Sub: []*Command{
			{Name: "encoding", Arity: 3, Flags: ReadOnly, Keys: secondKey, KeyUse: keysSeen, Tips: tipsVary, Group: groupGeneric, Since: "0.1.0", Handler: objectEncoding,
				Syntax: "key", Summary: "Returns npy, or null."},
			{Name: "freq", Arity: 3, Flags: ReadOnly, Keys: secondKey, KeyUse: keysSeen, Tips: tipsVary, Group: groupGeneric, Since: "0.1.0", Handler: objectFreq,
				Syntax: "key", Summary: "Returns how often a key was used, as a logarithm that fades (0 to 255). Fails unless maxmemory-policy is an LFU policy."},
			{Name: "idletime", Arity: 3, Flags: ReadOnly, Keys: secondKey, KeyUse: keysSeen, Tips: tipsVary, Group: groupGeneric, Since: "0.1.0", Handler: objectIdleTime,
				Syntax: "key", Summary: "Returns for how many s nobody has used a key."},
		}},
		{Name: "shutdown", Arity: -1, Flags: operator | NoMulti | Unpaused, Group: groupServer, Since: "0.1.0", Handler: shutdown,
			Syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", Summary: "Ends the node in order."},

		{Name: "time", Arity: 1, Flags: anytime, Tips: tipsVary, Group: groupServer, Since: "0.1.0", Handler: timeNow,
			Summary: "Returns the node's Unix time: s, and µs of the second."},
		{Name: "role", Arity: 1, Flags: anytime, Categories: []string{"admin", "dangerous"}, Group: groupServer, Since: "0.1.0", Handler: role,
			Summary: "Returns what the node is in replication."},
		{Name: "wait", Arity: 3, Tips: tipsShardLeast, Categories: []string{"connection"}, Group: groupGeneric, Since: "0.1.0", Handler: wait, Syntax: "numreplicas timeout",
			Summary: "Returns how many replicas have this connection's writes."},
		{Name: "save", Arity: 1, Flags: Admin | NoMulti, Group: groupServer, Since: "0.1.0", Handler: save,
			Summary: "Writes snapshots of all shards that have changed, and returns when they are on disk."},
		{Name: "bgsave", Arity: -1, Flags: Admin, Group: groupServer, Since: "0.1.0", Handler: bgSave,
			Syntax: "[SCHEDULE]", Summary: "Begins what SAVE does."},
		{Name: "lastsave", Arity: 1, Flags: anytime, Tips: tipsVary, Categories: []string{"admin", "dangerous"}, Group: groupServer, Since: "0.1.0", Handler: lastSave,
			Summary: "Returns the Unix time in s of the last SAVE or BGSAVE that came to its end."},
		{Name: "info", Arity: -1, Flags: Loading | Stale, Tips: tipsShardReports, Categories: []string{"dangerous"}, Group: groupServer, Since: "0.1.0", Handler: info,
			Syntax: "[section ...]", Summary: "Returns facts and counters of the node."},
		{Name: "dbsize", Arity: 1, Flags: read, Tips: tipsShardSum, Categories: []string{"keyspace"}, Group: groupServer, Since: "0.1.0", Handler: dbSize,
			Summary: "Returns the number of keys of the node."},
		{Name: "flushdb", Arity: -1, Flags: Write | NoMulti | Audited, Tips: tipsEachShardOK, Categories: []string{"keyspace", "dangerous"}, Group: groupServer, Since: "0.1.0", Handler: flush,
			Syntax: "[ASYNC | SYNC]", Summary: "Deletes all keys of the node."},
		{Name: "flushall", Arity: -1, Flags: Write | NoMulti | Audited, Tips: tipsEachShardOK, Categories: []string{"keyspace", "dangerous"}, Group: groupServer, Since: "0.1.0", Handler: flush,
			Syntax: "[ASYNC | SYNC]", Summary: "Deletes all keys of the node."},
		{Name: "command", Arity: -1, Flags: Loading | Stale, Tips: tipsVaryInTurn, Categories: []string{"connection"}, Group: groupServer, Since: "0.1.0", Handler: commandAll,
			Summary: "Returns the command table.", Sub: []*Command{
				{Name: "count", Arity: 2, Flags: Loading | Stale, Categories: []string{"connection"}, Group: groupServer, Since: "0.1.0", Handler: commandCount,
					Summary: "Returns the number of commands."},
				{Name: "getkeys", Arity: -4, Flags: Loading | Stale, Categories: []string{"connection"}, Group: groupServer, Since: "0.1.0", Handler: commandGetKeys,
					Syntax: "command [argument ...]", Summary: "Returns the keys of a command."},
				{Name: "getkeysandflags", Arity: -4, Flags: Loading | Stale, Categories: []string{"connection"}, Group: groupServer, Since: "0.1.0", Handler: commandGetKeysAndFlags,
					Syntax: "command [argument ...]", Summary: "Returns the keys of a command, each with what becomes of it."},
				{Name: "list", Arity: -2, Flags: Loading | Stale, Tips: tipsVaryInTurn, Categories: []string{"connection"}, Group: groupServer, Since: "0.1.0", Handler: commandList,
					Syntax: "[FILTERBY MODULE module | ACLCAT category | PATTERN pattern]", Summary: "Returns the names of the commands."},
				{Name: "docs", Arity: -2, Flags: Loading | Stale, Tips: tipsVaryInTurn, Categories: []string{"connection"}, Group: groupServer, Since: "0.1.0", Handler: commandDocs,
					Syntax: "[name ...]", Summary: "Returns the documentation of commands."},
				{Name: "info", Arity: -2, Flags: Loading | Stale, Tips: tipsVaryInTurn, Categories: []string{"connection"}, Group: groupServer, Since: "0.1.0", Handler: commandInfo,
					Syntax: "[name ...]", Summary: "Returns rows of the command table."},
			}},

		{Name: "cluster", Arity: -2, Group: groupCluster, Since: "0.1.0", Summary: "A container for commands about the cluster.", Sub: []*Command{
			{Name: "slots", Arity: 2, Flags: Loading | Stale, Tips: tipsVary, Group: groupCluster, Since: "0.1.0", Handler: clusterSlots,
				Summary: "Returns which node serves which slots."},
			{Name: "nodes", Arity: 2, Flags: Loading | Stale, Tips: tipsVary, Group: groupCluster, Since: "0.1.0", Handler: clusterNodes,
				Summary: "Returns the nodes as Redis Cluster writes them."},
			{Name: "info", Arity: 2, Flags: Loading | Stale, Tips: tipsVary, Group: groupCluster, Since: "0.1.0", Handler: clusterInfo,
				Summary: "Returns the state of the cluster."},
			{Name: "topology", Arity: 2, Flags: Loading | Stale, Tips: tipsVary, Group: groupCluster, Since: "0.1.0", Handler: clusterTopology,
				Summary: "Returns nodes, shards and voters as JSON, with the names that their operators gave them."},
			{Name: "keyslot", Arity: 3, Flags: Loading | Stale, Group: groupCluster, Since: "0.1.0", Handler: clusterKeySlot,
				Syntax: "key", Summary: "Returns the slot of a key."},
			{Name: "countkeysinslot", Arity: 3, Flags: Stale, Group: groupCluster, Since: "0.1.0", Handler: clusterCountKeysInSlot,
				Syntax: "slot", Summary: "Returns the number of keys in a slot."},
			{Name: "getkeysinslot", Arity: 4, Flags: Stale | NoMulti, Tips: tipsVary, Group: groupCluster, Since: "0.1.0", Handler: clusterGetKeysInSlot,
				Syntax: "slot count", Summary: "Returns keys of a slot."},
			{Name: "shards", Arity: 2, Flags: Loading | Stale, Tips: tipsVary, Group: groupCluster, Since: "0.1.0", Handler: clusterShards,
				Summary: "Returns the nodes with their slots."},
			{Name: "slot-stats", Arity: -4, Flags: Loading | Stale, Tips: tipsSlotStats, Group: groupCluster, Since: "0.1.0", Handler: clusterSlotStats,
				Syntax:  "SLOTSRANGE first last | ORDERBY metric [LIMIT count] [ASC | DESC]",
				Summary: "Returns key-count, cpu-usec, network-bytes-in, network-bytes-out and memory-bytes of slots."},
			{Name: "links", Arity: 2, Flags: Loading | Stale, Tips: tipsVary, Group: groupCluster, Since: "0.1.0", Handler: clusterLinks,
				Summary: "Returns the connections to other nodes."},
			{Name: "meet", Arity: -4, Flags: operator, Group: groupCluster, Since: "0.1.0", Handler: clusterMeet,
				Syntax: "ip port [bus-port]", Summary: "Fails: a node joins with --join when it starts."},
			{Name: "forget", Arity: 3, Flags: operator | NoMulti | Audited, Group: groupCluster, Since: "0.1.0", Handler: clusterForget,
				Syntax: "node-id", Summary: "Removes a node that is gone for good, and gives up the copies that it had."},
			{Name: "leave", Arity: 2, Flags: operator | NoMulti | Audited, Group: groupCluster, Since: "0.1.0", Handler: clusterLeave,
				Summary: "Lets this node hand over its shards, which must be empty, and leave the cluster."},
			{Name: "config", Arity: -4, Flags: operator | NoMulti | Audited, Group: groupCluster, Since: "0.1.0", Handler: clusterConfig,
				Syntax:  "GET pattern [pattern ...] | SET setting value [setting value ...] | RESET setting [setting ...]",
				Summary: "Returns or changes settings of all nodes, which the cluster keeps. SET and RESET change all of them or none."},
			{Name: "failover", Arity: -2, Flags: operator, Group: groupCluster, Since: "0.1.0", Handler: clusterFailover,
				Syntax: "[FORCE | TAKEOVER]", Summary: "Makes a replica the primary."},
			{Name: "replicas", Arity: 3, Flags: operator, Tips: tipsVary, Group: groupCluster, Since: "0.1.0", Handler: clusterReplicas,
				Syntax: "node-id", Summary: "Returns the nodes that have copies of a node's shards."},
			{Name: "myid", Arity: 2, Flags: Loading | Stale, Group: groupCluster, Since: "0.1.0", Handler: clusterMyID,
				Summary: "Returns the id of the node."},
		}},
	}
	return append(rows, twoNames([]*Command{
		{Name: "scan", Arity: -2, Flags: ReadOnly | NoMulti, Tips: tipsScan, Handler: scan, Syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
			Summary: "Walks the node's keys, some a call."},
		{Name: "del", Arity: -2, Flags: Write, Keys: allKeys, KeyUse: keysDeleted, Tips: tipsKeySum, Handler: del, Syntax: "key [key ...]", Summary: "Deletes keys."},
		{Name: "exists", Arity: -2, Flags: read, Keys: allKeys, KeyUse: keysSeen, Tips: tipsKeySum, Handler: exists, Syntax: "key [key ...]",
			Summary: "Returns how many of the keys are there."},
		{Name: "ttl", Arity: 2, Flags: read, Keys: oneKey, KeyUse: keysRead, Tips: tipsVary, Handler: ttl(1000), Syntax: "key", Summary: "Returns the time to live of a key in s."},
		{Name: "pttl", Arity: 2, Flags: read, Keys: oneKey, KeyUse: keysRead, Tips: tipsVary, Handler: ttl(1), Syntax: "key", Summary: "Returns the time to live of a key in ms."},
		{Name: "expire", Arity: -3, Flags: write, Keys: oneKey, KeyUse: keysChanged, Handler: expire(1000, true), Syntax: "key seconds [NX | XX | GT | LT]",
			Summary: "Sets the time to live of a key in s."},
		{Name: "pexpire", Arity: -3, Flags: write, Keys: oneKey, KeyUse: keysChanged, Handler: expire(1, true), Syntax: "key milliseconds [NX | XX | GT | LT]",
			Summary: "Sets the time to live of a key in ms."},
		{Name: "persist", Arity: 2, Flags: write, Keys: oneKey, KeyUse: keysChanged, Handler: persist, Syntax: "key", Summary: "Takes the time to live of a key away."},
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
