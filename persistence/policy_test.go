package persistence

import "testing"

// A policy calls damage only what no crash explains.
func TestPolicy(t *testing.T) {
	t.Parallel()
	clean, killed := policy{wasClean: true}, policy{}
	lost := policy{powerLoss: true, mark: recordID{7, 5}}
	for name, tc := range map[string]struct{ got, want verdict }{
		"a record, clean":             {clean.record(9), damaged},
		"a record, killed":            {killed.record(9), damaged},
		"a record after the mark":     {lost.record(6), unsynced},
		"the marked record":           {lost.record(5), damaged},
		"the tail, clean":             {clean.tail(), damaged},
		"the tail, killed":            {killed.tail(), torn},
		"the tail, power lost":        {lost.tail(), torn},
		"a header, clean":             {clean.header(9, true, true), damaged},
		"a header, killed":            {killed.header(9, true, false), damaged},
		"a short header, killed":      {killed.header(9, true, true), torn},
		"an older header, killed":     {killed.header(9, false, true), damaged},
		"a header after the mark":     {lost.header(6, true, false), torn},
		"an older one after the mark": {lost.header(6, false, false), unsynced},
		"a header before the mark":    {lost.header(5, true, false), damaged},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: verdict %d, want %d", name, tc.got, tc.want)
		}
	}
}
