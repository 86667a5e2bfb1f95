package command

// Tips tell clients what flags and keys do not: to which nodes a command goes, and how the answers of
// several nodes become one. A client that routes by tips silently gives wrong answers where one is
// missing. They are those of Redis 7.2 (see its page "Command tips").
type Tips []string

// The tips, in Redis' order.
var (
	TipsVary       = Tips{"nondeterministic_output"}       // the reply depends on more than the data
	TipsVaryInTurn = Tips{"nondeterministic_output_order"} // the order of its parts varies

	TipsEachNodeOK  = Tips{"request_policy:all_nodes", "response_policy:all_succeeded"}
	TipsEachShardOK = Tips{"request_policy:all_shards", "response_policy:all_succeeded"}
	TipsShardSum    = Tips{"request_policy:all_shards", "response_policy:agg_sum"}
	TipsShardLeast  = Tips{"request_policy:all_shards", "response_policy:agg_min"}
	TipsNodeSum     = Tips{"request_policy:all_nodes", "response_policy:agg_sum"}

	TipsNodeReports  = Tips{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}
	TipsShardReports = Tips{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}
	TipsSlowlogGet   = Tips{"request_policy:all_nodes", "nondeterministic_output"}
	TipsSlowlogLen   = Tips{"request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"}
	TipsRandomKey    = Tips{"request_policy:all_shards", "response_policy:special", "nondeterministic_output"}
	TipsSlotStats    = Tips{"nondeterministic_output", "request_policy:all_shards"} // Redis 8.2
	TipsScan         = Tips{"nondeterministic_output", "request_policy:special", "response_policy:special"}

	// The keys may be split by slot. Unlike Redis' MSET, NP.MSET must not have this tip: it is atomic,
	// and a client that splits it would silently break that.
	TipsKeySum  = Tips{"request_policy:multi_shard", "response_policy:agg_sum"}
	TipsKeyEach = Tips{"request_policy:multi_shard"} // a reply for each key, in the order of the keys
)

// What commands do with their keys, in the words of COMMAND's key specifications.
var (
	KeysSeen    = []string{"RO"}                             // returns whether they exist, or metadata
	KeysRead    = []string{"RO", "access"}                   // returns their values
	KeysChanged = []string{"RW", "update"}                   // changes a part of what is stored
	KeysStored  = []string{"OW", "update"}                   // replaces what is stored
	KeysSet     = []string{"RW", "update", "variable_flags"} // its options depend on what is stored
	KeysDeleted = []string{"RM", "delete"}
)
