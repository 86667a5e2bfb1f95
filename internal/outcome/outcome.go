// Package outcome holds the one sentinel for a change whose outcome is unknown. Every layer that
// can lose track of a change aliases it, so that errors.Is answers the same at each of them and
// clients see one prefix, UNCERTAIN. It imports nothing and must never learn what the change was:
// the layer that lost track adds that.
package outcome

import "errors"

// ErrUncertain is returned when a change may or may not have taken effect, or may still do so. It
// is never wrapped by an error of a change that certainly failed.
var ErrUncertain = errors.New("the outcome is unknown")
