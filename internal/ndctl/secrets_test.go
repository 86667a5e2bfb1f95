package ndctl

import (
	"context"
	"strings"
	"testing"
)

// Errors about a source show no part of its password, not even those of package url, which quote what they cannot read.
func TestErrorsAboutASourceShowNoPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"redis://bob:hunter2/more@127.0.0.1:1", "redis://bob:hunter2%zz@127.0.0.1:1", "redis://bob:hunter2 more@127.0.0.1:1", "redis://hunter2:hunter2@:1/x/y",
		"redis://bob:hunter2@127.0.0.1:1/notanumber", "redis://bob:hunter2\x7f@127.0.0.1:1", "redis://bob:hunter2@[::1:1", "http://bob:hunter2@x",
		"redis://bob:a@hunter2@127.0.0.1:1", "redis://bob:hunter2@127.0.0.1:1", "redis://bob:hunter2@127.0.0.1:1?dial_timeout=x",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := openSource(ctx, url)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
