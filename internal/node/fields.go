package node

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ndring/ndring/shard"
)

func textField(at func(*Config) *string) field {
	return field{
		set: func(c *Config, s string) error { *at(c) = s; return nil },
		get: func(c *Config) string { return *at(c) },
	}
}

// shortTextField is a name of at most 64 characters.
func shortTextField(at func(*Config) *string) field {
	f := textField(at)
	return field{get: f.get, set: func(c *Config, s string) error {
		if len(s) > 64 {
			return errors.New("must have at most 64 characters")
		}
		return f.set(c, s)
	}}
}

func boolField(at func(*Config) *bool) field {
	return field{
		set: func(c *Config, s string) error {
			if s != "yes" && s != "no" {
				return errors.New("must be yes or no")
			}
			*at(c) = s == "yes"
			return nil
		},
		get: func(c *Config) string {
			if *at(c) {
				return "yes"
			}
			return "no"
		},
	}
}

func intField(low, high int, at func(*Config) *int) field {
	return field{
		set: func(c *Config, s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < low || n > high {
				return fmt.Errorf("must be a number from %d to %d", low, high)
			}
			*at(c) = n
			return nil
		},
		get: func(c *Config) string { return strconv.Itoa(*at(c)) },
	}
}

func bytesField(low, high int64, at func(*Config) *int64) field {
	return field{
		set: func(c *Config, s string) error {
			n, err := parseBytes(s)
			if err != nil || n < low || n > high {
				return fmt.Errorf("must be a size from %d to %d bytes, such as 512mb", low, high)
			}
			*at(c) = n
			return nil
		},
		get: func(c *Config) string { return strconv.FormatInt(*at(c), 10) },
	}
}

func durationField(at func(*Config) *time.Duration) field {
	return field{
		set: func(c *Config, s string) error {
			d, err := time.ParseDuration(s)
			if err != nil || d <= 0 {
				return errors.New("must be a positive duration such as 30s")
			}
			*at(c) = d
			return nil
		},
		get: func(c *Config) string { return at(c).String() },
	}
}

// unitField is a duration as a plain number of units, as in Redis. Zero and -1 have no special meaning here.
func unitField(unit time.Duration, low int64, at func(*Config) *time.Duration) field {
	return field{
		set: func(c *Config, s string) error {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < low || n > int64(math.MaxInt64/unit) {
				return fmt.Errorf("must be a number of at least %d", low)
			}
			*at(c) = time.Duration(n) * unit
			return nil
		},
		get: func(c *Config) string { return strconv.FormatInt(int64(*at(c)/unit), 10) },
	}
}

// setOutputLimit reads class, hard limit, soft limit and seconds. The only class is normal.
func setOutputLimit(c *Config, s string) error {
	words := strings.Fields(s)
	if len(words) != 4 || strings.ToLower(words[0]) != "normal" {
		return errors.New("must have the form 'normal HARD SOFT SECONDS'")
	}
	hard, errHard := parseBytes(words[1])
	soft, errSoft := parseBytes(words[2])
	seconds, err := strconv.ParseInt(words[3], 10, 32)
	if errHard != nil || errSoft != nil || err != nil || seconds < 0 {
		return errors.New("must have two sizes and a number of seconds after normal")
	}
	c.Server.OutputHard, c.Server.OutputSoft, c.Server.OutputSoftTime = hard, soft, time.Duration(seconds)*time.Second
	return nil
}

func getOutputLimit(c *Config) string {
	return fmt.Sprintf("normal %d %d %d", c.Server.OutputHard, c.Server.OutputSoft, c.Server.OutputSoftTime/time.Second)
}

// parseBytes reads a size in Redis' units.
func parseBytes(s string) (int64, error) {
	lower := strings.ToLower(s)
	unit := int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{
		{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"tb", 1 << 40}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"t", 1e12}, {"b", 1},
	} {
		if rest, ok := strings.CutSuffix(lower, u.suffix); ok {
			lower, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(lower, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return n * unit, nil
}

func policyNames() string {
	names := make([]string, len(shard.Policies))
	for i, p := range shard.Policies {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}

func setPolicy(c *Config, s string) error {
	policy := shard.Policy(strings.ToLower(s))
	if !slices.Contains(shard.Policies, policy) {
		return errors.New("must be one of the following: " + policyNames()) // in Redis' words
	}
	c.Server.Memory.Policy = policy
	return nil
}

func setFsync(c *Config, s string) error {
	policy := shard.FsyncPolicy(strings.ToLower(s))
	if policy != shard.FsyncAlways && policy != shard.FsyncEverysec && policy != shard.FsyncNo {
		return errors.New("must be one of the following: always, everysec, no") // in Redis' words
	}
	c.Server.Disk.Fsync = policy
	return nil
}

// setSave reads pairs of seconds and changes.
func setSave(c *Config, s string) error {
	words := strings.Fields(s)
	if len(words)%2 != 0 {
		return errors.New("must have the form 'SECONDS CHANGES ...'")
	}
	var points []shard.SavePoint
	for i := 0; i < len(words); i += 2 {
		seconds, errSeconds := strconv.ParseInt(words[i], 10, 32)
		changes, errChanges := strconv.ParseInt(words[i+1], 10, 64)
		if errSeconds != nil || errChanges != nil || seconds < 1 || changes < 0 {
			return errors.New("must have the form 'SECONDS CHANGES ...'")
		}
		points = append(points, shard.SavePoint{After: time.Duration(seconds) * time.Second, Changes: changes})
	}
	c.Server.Disk.Save = points
	return nil
}

func getSave(c *Config) string {
	var words []string
	for _, p := range c.Server.Disk.Save {
		words = append(words, strconv.FormatInt(int64(p.After/time.Second), 10), strconv.FormatInt(p.Changes, 10))
	}
	return strings.Join(words, " ")
}

func setConcern(c *Config, s string) error {
	concern, known := shard.ParseConcern(s)
	if !known {
		return errors.New("must be one of the following: " + strings.Join(shard.Concerns, ", ")) // in Redis' words
	}
	c.Server.Copies.Write = concern
	return nil
}

// Names of the read concerns.
const (
	readLease = "lease"
	readSync  = "sync"
)

func setReadConcern(c *Config, s string) error {
	name := strings.ToLower(s)
	if name != readLease && name != readSync {
		return errors.New("must be one of the following: lease, sync") // in Redis' words
	}
	c.Server.Copies.SyncReads = name == readSync
	return nil
}

func getReadConcern(c *Config) string {
	if c.Server.Copies.SyncReads {
		return readSync
	}
	return readLease
}
