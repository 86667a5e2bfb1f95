package ndctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/view"
)

func movesCommand(a *app) *cobra.Command {
	var watch bool
	var interval time.Duration
	c := &cobra.Command{
		Use: "moves", Short: "List the copies on their way to other nodes",
		Long: `Lists the copies that are on their way to where they should be, and those that wait, with the reason (CLUSTER MOVES). "copying" is a copy that catches up, "ending" one that is
in sync while the primary or another copy has yet to change. With --watch it keeps the list up to date until Ctrl-C, and shows how fast the copies move.`,
		Example: "  ndctl moves\n  ndctl moves --watch",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownCommand(c, args[0])
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if interval < time.Millisecond {
				return usageError("--interval must be at least 1ms")
			}
			return a.withSession(c.Context(), func(s *session) error {
				if watch && !a.out.json {
					return watchMoves(c.Context(), s, a.out, interval)
				}
				return showMoves(c.Context(), s, a.out)
			})
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "keep the list up to date")
	c.Flags().DurationVarP(&interval, "interval", "i", time.Second, "time between two refreshes with --watch")
	c.AddCommand(movesPauseCommand(a), movesResumeCommand(a), movesCancelCommand(a))
	return document(c, &movesReport{})
}

func movesPauseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "pause", Short: "Let no further move begin", Args: cobra.NoArgs,
		Long: "Lets no further move begin until `moves resume` (CLUSTER MOVES PAUSE). Copies that are under way go on.",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.pauseMoves(c.Context(), "PAUSE", "moves are paused: none begins until ndctl moves resume; those under way go on")
		},
	}
}

func movesResumeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "resume", Short: "Let moves begin again", Args: cobra.NoArgs,
		Long: "Lets moves begin again after `moves pause` (CLUSTER MOVES RESUME).",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.pauseMoves(c.Context(), "RESUME", "moves may begin")
		},
	}
}

// pauseMoves pauses or resumes moves and says so.
func (a *app) pauseMoves(ctx context.Context, word, done string) error {
	return a.withSession(ctx, func(s *session) error {
		if err := a.order(ctx, s, checkMoves, "CLUSTER", "MOVES", word); err != nil {
			return err
		}
		a.out.printf("%s\n", done)
		return nil
	})
}

func movesCancelCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "cancel [SHARD...]", Short: "Leave copies where they are", Args: cobra.ArbitraryArgs,
		Long: `Cancels the moves of the named shards, or else all moves that only spread the load (CLUSTER MOVES CANCEL): not those that a shard needs for its number of copies, and not those
of a node that leaves or is drained. The copies stay where they are; ` + "`rebalance`" + ` plans such moves again.`,
		Example: "  ndctl moves cancel\n  ndctl moves cancel 17 42",
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.withSession(c.Context(), func(s *session) error {
			request := []any{"CLUSTER", "MOVES", "CANCEL"}
			for _, arg := range args {
				shard, err := s.shardNumber(arg)
				if err != nil {
					return err
				}
				request = append(request, "SHARD", shard)
			}
			cancelled, err := s.proposal(c.Context(), s.self(), checkMoves, request...).Int()
			if isEarlierVersion(err) {
				err = errEarlierVersion
			}
			if err != nil {
				return a.out.failures(nodeFailures{{s.self(), err}})
			}
			return a.out.show(cancelReport{cancelled})
		})
	}
	return document(c, cancelReport{})
}

type cancelReport struct {
	Cancelled int `json:"cancelled" doc:"moves that were cancelled"`
}

func (r cancelReport) print(p *printer) {
	switch r.Cancelled {
	case 0:
		p.printf("no move was cancelled: no copy is on its way only to spread the load (ndctl undrain keeps those of a node that leaves or is drained)\n")
	case 1:
		p.printf("1 move was cancelled\n")
	default:
		p.printf("%d moves were cancelled\n", r.Cancelled)
	}
}

// movesReport lists the copies on their way.
type movesReport struct {
	Paused  bool         `json:"paused" doc:"whether no further move begins until moves resume"`
	Copying int          `json:"copying" doc:"copies that catch up"`
	Ending  int          `json:"ending" doc:"copies that are in sync, while the primary or another copy has yet to change"`
	Waiting int          `json:"waiting" doc:"copies that are not begun"`
	Bytes   int64        `json:"bytes" doc:"bytes of all of these copies, as far as their sizes are known"`
	Sent    int64        `json:"done_bytes" doc:"bytes of them that were sent"`
	Silent  []string     `json:"silent" doc:"names of the nodes that did not say how far they are"`
	Moves   []moveReport `json:"moves" doc:"the copies, those under way first"`

	speed string // with --watch: how fast they move
	limit int    // of the rows that print shows; 0: none
}

type moveReport struct {
	Shard    int    `json:"shard" doc:"number of the shard"`
	State    string `json:"state" doc:"copying (the node catches up), ending (the copy is in sync, the primary or another copy has yet to change), or waiting"`
	From     string `json:"from" doc:"name of the primary, which sends the copy"`
	To       string `json:"to" doc:"name of the node that gets it"`
	Replaces string `json:"replaces" doc:"name of the node that gives its copy up afterwards; empty if none does"`
	Bytes    *int64 `json:"bytes" doc:"bytes of the copy; null if its size is not known"`
	Sent     int64  `json:"done_bytes" doc:"bytes that were sent"`
	Waits    string `json:"waits,omitempty" doc:"why it has not begun, in words that may change"`
}

func newMovesReport(c *view.Cluster, moves *view.Moves) *movesReport {
	r := &movesReport{Paused: moves.Paused, Silent: c.Labels(moves.Silent), Moves: []moveReport{}}
	for _, m := range moves.Moves {
		switch m.State {
		case view.MoveWaiting:
			r.Waiting++
		case view.MoveEnding:
			r.Ending++
		default:
			r.Copying++
		}
		r.Bytes += max(m.Bytes, m.Done)
		r.Sent += m.Done
		r.Moves = append(r.Moves, moveReport{
			Shard: m.Shard, State: string(m.State), From: c.Label(m.From), To: c.Label(m.To), Replaces: c.Label(m.Replaces), Bytes: knownBytes(m.Bytes), Sent: m.Done, Waits: m.Waits,
		})
	}
	return r
}

func showMoves(ctx context.Context, s *session, p *printer) error {
	moves, err := s.moves(ctx)
	if err != nil {
		return p.failures(nodeFailures{{s.self(), err}})
	}
	return p.show(newMovesReport(s.cluster, moves))
}

// movesShown is how many moves --watch shows: about as many as a terminal has lines.
const movesShown = 20

// watchMoves shows the moves until Ctrl-C. Without a terminal it writes only what has changed.
func watchMoves(ctx context.Context, s *session, p *printer, interval time.Duration) error {
	var all *progress
	last := ""
	for {
		moves, err := s.moves(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // Ctrl-C is the normal end
		case err != nil:
			return p.failures(nodeFailures{{s.self(), err}})
		}
		now := time.Now()
		if all == nil {
			all = newProgress(nil, now)
		}
		all.observe(now, moves, 0, func(copyKey) copyFate { return copyMade })
		all.add(moves.Moves)
		r := newMovesReport(s.cluster, moves)
		r.limit = movesShown
		if t := all.totals(); t.copies > 0 {
			r.speed = t.bar() + " since this began: " + t.line()
		}
		if isTerminal(p.out) {
			p.printf("\x1b[H\x1b[2J")
			r.print(p)
		} else if now := r.text(p); now != last {
			p.printf("%s", now)
			last = now
		}
		if !sleep(ctx, interval) {
			return nil
		}
	}
}

// text returns what print writes.
func (r *movesReport) text(p *printer) string {
	var text strings.Builder
	to := *p
	to.out = &text
	r.print(&to)
	return text.String()
}

// summary counts the moves.
func (r *movesReport) summary() string {
	text := "no copy is on its way"
	if under := r.Copying + r.Ending; under > 0 || r.Waiting > 0 {
		text = fmt.Sprintf("%s on the way, %d waiting; %s of %s sent", copiesText(under), r.Waiting, bytesText(r.Sent), bytesText(r.Bytes))
	}
	if r.Paused {
		text += "; moves are paused (ndctl moves resume)"
	}
	return text
}

func (r *movesReport) print(p *printer) {
	p.printf("%s\n", r.summary())
	if r.speed != "" {
		p.printf("%s\n", r.speed)
	}
	if len(r.Silent) > 0 {
		p.printf("%s\n", p.paint(yellow, "unknown how far these nodes are: "+strings.Join(r.Silent, ", ")))
	}
	if len(r.Moves) == 0 {
		return
	}
	p.printf("\n")
	shown := r.Moves
	if r.limit > 0 && len(shown) > r.limit {
		shown = shown[:r.limit]
	}
	t := newTable("SHARD", "STATE", "FROM", "TO", "REPLACES", "SENT", "SIZE", "WAITS FOR")
	for i := range shown {
		m := &shown[i]
		tint, bytes := green, unknown
		if m.State == string(view.MoveWaiting) {
			tint = yellow
		}
		if m.Bytes != nil {
			bytes = size(*m.Bytes)
		}
		t.add(number(int64(m.Shard)), tinted(tint, m.State), text(orDash(m.From)), text(m.To), text(orDash(m.Replaces)), size(m.Sent), bytes, text(m.Waits))
	}
	t.print(p)
	if more := len(r.Moves) - len(shown); more > 0 {
		p.printf("... and %d more\n", more)
	}
}

// orDash shows an empty name.
func orDash(name string) string {
	if name == "" {
		return "-"
	}
	return name
}

// movesNotes says for status what moves, as far as the node knows.
func movesNotes(ctx context.Context, m *member) (notes []string) {
	moves, err := fetchMoves(ctx, m)
	if err != nil {
		return nil // a node of an earlier version
	}
	if moves.Paused {
		notes = append(notes, "moves are paused: ndctl moves resume")
	}
	waiting := 0
	for _, move := range moves.Moves {
		if move.State == view.MoveWaiting {
			waiting++
		}
	}
	if len(moves.Moves) > 0 {
		notes = append(notes, fmt.Sprintf("%s on the way to other nodes, %d waiting (ndctl moves)", copiesText(len(moves.Moves)-waiting), waiting))
	}
	return notes
}
