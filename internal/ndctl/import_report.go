package ndctl

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/ndring/ndring/cluster/view"
)

// importReport says what happened to the keys of the source.
type importReport struct {
	Scanned int             `json:"scanned" doc:"keys that were scanned"`
	Copied  int             `json:"copied" doc:"arrays that were copied, or would be without --dry-run"`
	Bytes   int64           `json:"bytes" doc:"bytes of their data"`
	There   int             `json:"there" doc:"arrays whose keys exist in ndring already"`
	Gone    int             `json:"gone" doc:"keys that expired during the import"`
	Left    int             `json:"left" doc:"keys that were not copied"`
	Failed  int             `json:"failed" doc:"keys among them that may be arrays and should have been copied"`
	DryRun  bool            `json:"dry_run" doc:"whether --dry-run was given"`
	Reasons []*importReason `json:"reasons" doc:"why keys were not copied"`
	file    io.Writer       // of --report; nil without it
	fileErr error           // the first error of file
}

type importReason struct {
	Reason string   `json:"reason" doc:"the reason, in words"`
	Count  int      `json:"count" doc:"number of keys"`
	Keys   []string `json:"keys" doc:"the first 20 of these keys, with details"`
}

const keysShown = 20 // for each reason

// expired counts a key that no longer exists.
func (r *importReport) expired() {
	r.Scanned++
	r.Gone++
}

// skip counts a key that is not copied. Keys are grouped by reason; detail is what differs from key
// to key. A negative size is unknown.
func (r *importReport) skip(key, kind string, size int64, reason, detail string, failed bool) {
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
	group := r.Reasons[at]
	group.Count++
	if len(group.Keys) < keysShown {
		about := kind
		if size >= 0 {
			about += ", " + bytesText(size)
		}
		if detail != "" {
			about += ": " + view.OneLine(detail)
		}
		group.Keys = append(group.Keys, fmt.Sprintf("%s  (%s)", shortKey(key, 100), about))
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

// refused counts a key that the source does not return. It may be an array, so this is a failure.
func (r *importReport) refused(key string, err error) {
	r.skip(key, "unknown", -1, "the source refuses to return it", err.Error(), true)
}

func (r *importReport) sort() {
	slices.SortFunc(r.Reasons, func(a, b *importReason) int { return cmp.Compare(a.Reason, b.Reason) })
}

func (r *importReport) print(p *printer) {
	verb, failed := "copied", ""
	if r.DryRun {
		verb = "would be copied"
	}
	if r.Failed > 0 {
		failed = fmt.Sprintf(", %d of them failed", r.Failed)
	}
	p.printf("%s: %s %s (%s), %d existed already, %d expired meanwhile, %d not copied%s\n",
		plural(r.Scanned, "key"), plural(r.Copied, "array"), verb, bytesText(r.Bytes), r.There, r.Gone, r.Left, failed)
	for _, reason := range r.Reasons {
		p.printf("\n%d x %s:\n", reason.Count, reason.Reason)
		for _, key := range reason.Keys {
			p.printf("    %s\n", key)
		}
		if more := reason.Count - len(reason.Keys); more > 0 {
			p.printf("    ... and %d more\n", more)
		}
	}
}

// shortKey quotes a key, whatever bytes are in it, and cuts it to a length.
func shortKey(key string, limit int) string {
	shown := strconv.QuoteToASCII(key)
	if len(shown) > limit {
		return shown[:limit-3] + "..."
	}
	return shown
}
