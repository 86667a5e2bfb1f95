package ndctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster/view"
)

// progress is how far moves are, from one look at them to the next. A move that is gone has ended.
type progress struct {
	begun map[moveKey]int64 // bytes of the moves that were seen; 0 if they are not known
	now   map[moveKey]view.Move
	first time.Time
	at    time.Time
	done  int64   // bytes at the last look
	rate  float64 // bytes a second, smoothed
}

type moveKey struct {
	shard        int
	to, replaces string
}

func keyOf(m view.Move) moveKey { return moveKey{m.Shard, string(m.To), string(m.Replaces)} }

func newProgress() *progress { return &progress{begun: map[moveKey]int64{}} }

// look takes in the moves as they are at a time.
func (p *progress) look(now time.Time, m *view.Moves) {
	p.now = map[moveKey]view.Move{}
	for _, move := range m.Moves {
		key := keyOf(move)
		p.now[key] = move
		p.begun[key] = max(p.begun[key], move.Bytes, move.Done)
	}
	done := p.bytesDone()
	if p.first.IsZero() {
		p.first, p.at, p.done = now, now, done
		return
	}
	if passed := now.Sub(p.at).Seconds(); passed > 0 {
		rate := max(float64(done-p.done), 0) / passed
		if p.rate == 0 {
			p.rate = rate
		}
		p.rate += 0.3 * (rate - p.rate)
		p.at, p.done = now, done
	}
}

// bytesDone returns the bytes of the moves that have ended, and what was sent of the others.
func (p *progress) bytesDone() (n int64) {
	for key, bytes := range p.begun {
		if move, goes := p.now[key]; goes {
			n += min(max(move.Done, 0), bytes)
		} else {
			n += bytes
		}
	}
	return n
}

func (p *progress) bytes() (n int64) {
	for _, bytes := range p.begun {
		n += bytes
	}
	return n
}

// left returns how long the rest takes at the present rate; false if that cannot be said.
func (p *progress) left() (time.Duration, bool) {
	if p.rate < 1 {
		return 0, false
	}
	return time.Duration(float64(p.bytes()-p.bytesDone()) / p.rate * float64(time.Second)), true
}

// ended returns how many moves have ended, of how many.
func (p *progress) ended() (ended, all int) { return len(p.begun) - len(p.now), len(p.begun) }

const barWidth = 24

// String returns the progress as one line.
func (p *progress) String() string {
	ended, all := p.ended()
	part := 0.0
	if bytes := p.bytes(); bytes > 0 {
		part = float64(p.bytesDone()) / float64(bytes)
	} else if all > 0 {
		part = float64(ended) / float64(all)
	}
	full := int(part * barWidth)
	left := "time left unknown"
	if d, ok := p.left(); ok {
		left = view.Duration(d.Round(time.Second)) + " left"
	}
	return fmt.Sprintf("[%s%s] %d of %s, %s of %s, %s/s, %s", strings.Repeat("#", full), strings.Repeat("-", barWidth-full), ended, plural2(all, "copy", "copies"),
		bytesText(p.bytesDone()), bytesText(p.bytes()), bytesText(int64(p.rate)), left)
}

// How often the moves are looked at, how often a line is written where there is no terminal, and for how long there must be none: a placement that
// was just changed may need a moment until moves begin.
const (
	movesPoll  = 250 * time.Millisecond
	movesLine  = 5 * time.Second
	movesQuiet = 3
)

// awaitMoves waits until no copy is on its way, and shows the progress.
func awaitMoves(ctx context.Context, s *session, p *printer) error {
	terminal := isTerminal(p.err)
	track, quiet, failed, line := newProgress(), 0, 0, time.Time{}
	for quiet < movesQuiet {
		moves, err := fetchMoves(ctx, s)
		switch {
		case ctx.Err() != nil:
			return failure("the moves go on; ndctl moves shows them")
		case err != nil: // the node may be one that leaves, or restarts
			if failed++; failed > 20 {
				return err
			}
		case len(moves.Moves) == 0:
			quiet++
			failed = 0
		default:
			quiet, failed = 0, 0
		}
		if err == nil {
			track.look(time.Now(), moves)
			if moves.Paused && len(moves.Moves) > 0 {
				return failure("moves are paused: ndctl moves resume lets them go on")
			}
		}
		switch _, all := track.ended(); {
		case all == 0:
		case terminal:
			fmt.Fprintf(p.err, "\r\x1b[K%s", track)
		case time.Since(line) >= movesLine:
			line = time.Now()
			fmt.Fprintln(p.err, track)
		}
		if quiet < movesQuiet && !sleep(ctx, movesPoll) {
			return failure("the moves go on; ndctl moves shows them")
		}
	}
	if terminal {
		fmt.Fprint(p.err, "\r\x1b[K")
	}
	return nil
}

// fetchMoves asks for the moves.
func fetchMoves(ctx context.Context, s *session) (*view.Moves, error) {
	text, err := askMoves(ctx, s, "CLUSTER", "MOVES")
	if err != nil {
		return nil, err
	}
	moves, err := view.DecodeMoves([]byte(text))
	if err != nil {
		return nil, failure("%s answers with moves that cannot be read: %v", s.self().Label(), err)
	}
	return moves, nil
}
