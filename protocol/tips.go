package protocol

// Tips tell clients what flags and keys do not: above all which nodes of a cluster a command goes
// to, and how the answers of several nodes become one. A client that routes by tips gives wrong
// answers, without an error, where one is missing. They are those of Redis 7.2 (see its page
// "Command tips").
type Tips []string

// The tips, in the order in which Redis gives them.
var (
	tipsVary       = Tips{"nondeterministic_output"}       // the answer depends on more than the data
	tipsVaryInTurn = Tips{"nondeterministic_output_order"} // its parts come in any order

	tipsEachNodeOK  = Tips{"request_policy:all_nodes", "response_policy:all_succeeded"}
	tipsEachShardOK = Tips{"request_policy:all_shards", "response_policy:all_succeeded"}
	tipsShardSum    = Tips{"request_policy:all_shards", "response_policy:agg_sum"}
	tipsShardLeast  = Tips{"request_policy:all_shards", "response_policy:agg_min"}
	tipsNodeSum     = Tips{"request_policy:all_nodes", "response_policy:agg_sum"}

	tipsNodeReports  = Tips{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}
	tipsShardReports = Tips{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}
	tipsSlowlogGet   = Tips{"request_policy:all_nodes", "nondeterministic_output"}
	tipsSlowlogLen   = Tips{"request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"}
	tipsRandomKey    = Tips{"request_policy:all_shards", "response_policy:special", "nondeterministic_output"}
	tipsSlotStats    = Tips{"nondeterministic_output", "request_policy:all_shards"} // Redis 8.2
	tipsScan         = Tips{"nondeterministic_output", "request_policy:special", "response_policy:special"}

	// The keys may be split by slot. NP.MSET must not have this tip, though Redis' MSET has it:
	// NP.MSET stores all arrays or none, and a client that splits it would silently break that.
	tipsKeySum  = Tips{"request_policy:multi_shard", "response_policy:agg_sum"}
	tipsKeyEach = Tips{"request_policy:multi_shard"} // an answer for each key, in the order of the keys
)

// The uses that a command makes of its keys, as the key specifications of COMMAND name them.
var (
	keysSeen    = []string{"RO"}                             // whether they are there, or facts about them
	keysRead    = []string{"RO", "access"}                   // what is stored comes back
	keysChanged = []string{"RW", "update"}                   // a part of what is stored changes
	keysStored  = []string{"OW", "update"}                   // what was stored does not matter
	keysSet     = []string{"RW", "update", "variable_flags"} // its options look at what was stored
	keysDeleted = []string{"RM", "delete"}
)
