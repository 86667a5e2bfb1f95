package ndctl

import (
	"strconv"
	"strings"

	"github.com/ndring/ndring/cluster/view"
)

// info holds the fields of INFO or CLUSTER INFO.
type info map[string]string

func parseInfo(text string) info {
	fields := info{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// number returns a numeric field, or 0 if it is missing.
func (i info) number(name string) int64 {
	n, _ := strconv.ParseInt(i[name], 10, 64)
	return n
}

// keys returns the number of keys.
func (i info) keys() int64 {
	for part := range strings.SplitSeq(i["db0"], ",") {
		if text, ok := strings.CutPrefix(part, "keys="); ok {
			n, _ := strconv.ParseInt(text, 10, 64)
			return n
		}
	}
	return 0
}

// report returns what the verdict on the cluster's health needs.
func (i info) report(address string) view.Report {
	failed := func(field string) bool { return i[field] != "" && i[field] != "ok" }
	return view.Report{
		Address: address, Waiting: i["cluster_waiting_for"], RefusedSettings: i["cluster_settings_refused"], Loading: i.number("loading") == 1,
		StoppedShards: int(i.number("disk_stopped_shards")), DiskFull: i.number("disk_full") > 0,
		LogFailed: failed("aof_last_write_status"), SnapshotFailed: failed("rdb_last_bgsave_status"),
	}
}

// pointer returns a pointer to n, for fields that JSON writes as null when they are unknown.
func pointer[T int64 | uint64](n T) *T { return &n }
