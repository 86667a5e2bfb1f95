package ndctl

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// importReport is what became of the keys of a Redis.
type importReport struct {
	Scanned int             `json:"scanned" doc:"keys that were looked at"`
	Copied  int             `json:"copied" doc:"arrays that were copied, or would be with --dry-run"`
	Bytes   int64           `json:"bytes" doc:"bytes of their data"`
	There   int             `json:"there" doc:"arrays whose keys ndring had already"`
	Gone    int             `json:"gone" doc:"keys that expired meanwhile"`
	Left    int             `json:"left" doc:"keys that were not copied"`
	Failed  int             `json:"failed" doc:"of them, those that may be arrays, and should have been"`
	DryRun  bool            `json:"dry_run" doc:"whether nothing was copied, as wanted"`
	Reasons []*importReason `json:"reasons" doc:"why keys were not copied"`
	file    io.Writer       // nil for none
	fileErr error
}

type importReason struct {
	Reason string   `json:"reason" doc:"in words"`
	Count  int      `json:"count" doc:"how many keys"`
	Keys   []string `json:"keys" doc:"the first 20 of them, with what is known of each"`
}

const keysShown = 20 // of each reason

func (r *importReport) gone() {
	r.Scanned++
	r.Gone++
}

// leave notes a key that is not copied. Keys are counted by reason; what differs from key to key is the detail. A size below 0 is not known.
func (r *importReport) leave(key, kind string, size int64, reason, detail string, failed bool) {
	r.Scanned++
	r.Left++
	if failed {
		r.Failed++
	}
	at := slices.IndexFunc(r.Reasons, func(x *importReason) bool { return x.Reason == reason })
	if at < 0 {
		at = len(r.Reasons)
		r.Reasons = append(r.Reasons, &importReason{Reason: reason, Keys: []string{}})
	}
	because := r.Reasons[at]
	because.Count++
	shown := shortKey(key, 100)
	if len(because.Keys) < keysShown {
		about := kind
		if size >= 0 {
			about += ", " + bytesText(size)
		}
		if detail != "" {
			about += ": " + oneLine(detail)
		}
		because.Keys = append(because.Keys, fmt.Sprintf("%s  (%s)", shown, about))
	}
	if r.file != nil {
		line, err := json.Marshal(map[string]any{"key": shortKey(key, 1000), "type": kind, "bytes": size, "reason": reason, "detail": detail, "failed": failed})
		if err == nil {
			_, err = fmt.Fprintf(r.file, "%s\n", line)
		}
		if r.fileErr == nil {
			r.fileErr = err
		}
	}
}

// refused notes a key that the source does not hand out. It may well be an array, so this is a failure.
func (r *importReport) refused(key string, err error) {
	r.leave(key, "unknown", -1, "the source does not hand it out", err.Error(), true)
}

func (r *importReport) sort() {
	slices.SortFunc(r.Reasons, func(a, b *importReason) int { return cmp.Compare(a.Reason, b.Reason) })
}

func (r *importReport) write(w io.Writer) {
	verb, failed := "copied", ""
	if r.DryRun {
		verb = "would be copied"
	}
	if r.Failed > 0 {
		failed = fmt.Sprintf(", %d of them failed", r.Failed)
	}
	fmt.Fprintf(w, "%s: %s %s (%s), %d were there already, %d expired meanwhile, %d not copied%s\n",
		plural(r.Scanned, "key"), plural(r.Copied, "array"), verb, bytesText(r.Bytes), r.There, r.Gone, r.Left, failed)
	for _, reason := range r.Reasons {
		fmt.Fprintf(w, "\n%d x %s:\n", reason.Count, reason.Reason)
		for _, key := range reason.Keys {
			fmt.Fprintf(w, "    %s\n", key)
		}
		if more := reason.Count - len(reason.Keys); more > 0 {
			fmt.Fprintf(w, "    ... and %d more\n", more)
		}
	}
}

// shortKey writes a key so that it can be read, whatever bytes are in it.
func shortKey(key string, limit int) string {
	shown := strconv.QuoteToASCII(key)
	if len(shown) > limit {
		return shown[:limit-3] + "..."
	}
	return shown
}
