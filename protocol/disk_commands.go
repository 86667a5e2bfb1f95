package protocol

import (
	"time"

	"github.com/ndring/ndring/shard"
)

func save(c *call, store *shard.Store) {
	if err := store.Disk().Save(); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

// bgSave accepts SCHEDULE as Redis does; there is no log rewrite to wait for.
func bgSave(c *call, store *shard.Store) {
	if len(c.args) > 2 || len(c.args) == 2 && c.option(1) != "SCHEDULE" {
		c.replies.Error(errSyntax)
		return
	}
	if err := store.Disk().SaveInBackground(); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.Simple("Background saving started")
}

func lastSave(c *call, s *Server) {
	at := s.started
	if stats, ok := s.store.Disk().Stats(); ok {
		at = stats.LastSave
	}
	c.replies.Int(at.Unix())
}

// infoPersistence maps Redis' fields: its "rdb" are the snapshots, its "aof" are the logs.
func infoPersistence(_ *call, server *Server, _ Stats) []infoField {
	store := server.store
	loading := store.Disk().Loading()
	fields := []infoField{{"loading", bit(loading)}}
	if loading {
		p := store.Disk().LoadProgress()
		fields = append(fields,
			infoField{"loading_start_time", p.Began.Unix()},
			infoField{"loading_total_bytes", p.Total},
			infoField{"loading_loaded_bytes", p.Done},
			infoField{"loading_loaded_perc", percent(p.Done, p.Total)},
			infoField{"loading_eta_seconds", int64(p.Left.Seconds())})
	}
	d, ok := store.Disk().Stats()
	if !ok {
		return append(fields, infoField{"rdb_bgsave_in_progress", 0}, infoField{"aof_enabled", 0})
	}
	current := int64(-1)
	if d.Saving {
		current = int64(time.Since(d.SaveBegan).Seconds())
	}
	return append(fields, []infoField{
		{"rdb_changes_since_last_save", d.Unsaved},
		{"rdb_bgsave_in_progress", bit(d.Saving)},
		{"rdb_last_save_time", d.LastSave.Unix()},
		{"rdb_last_bgsave_status", status(d.LastSaveFailed)},
		{"rdb_last_bgsave_time_sec", int64(d.LastSaveTook.Seconds())},
		{"rdb_current_bgsave_time_sec", current},
		{"aof_enabled", bit(d.Logged)},
		{"aof_last_write_status", status(d.LastWriteFailed || d.Stopped > 0)},
		{"aof_current_size", d.LogBytes},
		{"aof_delayed_fsync", d.DelayedSyncs},
		{"aof_fsync", d.Config.Fsync},
		{"disk_bytes", d.Bytes},
		{"disk_live_bytes", d.Live},
		{"disk_dead_blob_bytes", d.DeadBytes},
		{"disk_written_bytes", d.Written},
		{"disk_full", bit(d.Full)},
		{"disk_write_errors", d.WriteErrors},
		{"disk_stopped_shards", d.Stopped},
		{"disk_throttled_writes", d.Throttled},
		{"disk_log_syncs", d.Syncs},
		{"disk_shard_snapshots", d.Snapshots},
		{"disk_shard_snapshot_errors", d.SnapshotErrors},
		{"disk_torn_bytes", d.Torn},
		{"disk_quarantined_bytes", d.Lost},
		{"disk_damage_found", d.Damage},
		{"disk_damage_repaired", d.Repaired},
		{"disk_scrubbed_bytes", d.ScrubbedBytes},
		{"disk_scrubbed_shards", d.ScrubbedShards},
		{"disk_scrub_rounds", d.Scrubs},
	}...)
}
