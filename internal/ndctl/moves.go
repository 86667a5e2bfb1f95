package ndctl

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/view"
)

func movesCommand(a *app) *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "moves", Short: "Show the copies on their way to other nodes", Args: cobra.NoArgs,
		Long: `Shows the copies on their way to other nodes, those that wait, and why (CLUSTER MOVES). pause keeps further copies from beginning to move, even those that would replace
lost ones; resume ends that. cancel leaves copies where they are.`,
		Example: "  ndctl moves --watch\n  ndctl moves pause\n  ndctl moves cancel 17 42",
	}
	c.Flags().BoolVar(&watch, "watch", false, "keep the screen up to date until Ctrl-C")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.withSession(c.Context(), func(s *session) error {
			return showMoves(c.Context(), s, a.out, watch && !a.out.json && isTerminal(a.out.out))
		})
	}
	document(c, movesReport{})
	c.AddCommand(switchCommand(a, "pause", "Keep further copies from beginning to move", "paused: copies on their way go on, and no other one begins to move"),
		switchCommand(a, "resume", "Let copies move again", "copies move again"), cancelCommand(a))
	return c
}

// switchCommand is moves pause or moves resume.
func switchCommand(a *app, name, short, done string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs, Long: short + " (CLUSTER MOVES).",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withSession(c.Context(), func(s *session) error {
				if err := s.propose(c.Context(), s.self(), checkMoves, "CLUSTER", "MOVES", name); err != nil {
					return a.out.failures(nodeFailures{{s.self(), err}})
				}
				a.out.printf("%s\n", done)
				return nil
			})
		},
	}
}

func cancelCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "cancel [SHARD...]", Short: "Leave copies where they are",
		Long: `Cancels the moves of the shards that are named, or else of all shards (CLUSTER MOVES CANCEL). Moves that a shard needs go on: those that replace a copy that is lost, and those
from nodes that leave or are drained (undrain ends those).`,
		RunE: func(c *cobra.Command, args []string) error {
			command := []any{"CLUSTER", "MOVES", "CANCEL"}
			for _, shard := range args {
				if _, err := strconv.ParseUint(shard, 10, 31); err != nil {
					return usageError("%q is not the number of a shard", shard)
				}
				command = append(command, "SHARD", shard)
			}
			return a.withSession(c.Context(), func(s *session) error {
				n, err := s.self().client.WithTimeout(s.options.timeout+movesTimeout).Do(c.Context(), command...).Int()
				if err != nil {
					return a.out.failures(nodeFailures{{s.self(), err}})
				}
				a.out.printf("cancelled: %s\n", plural2(n, "shard stays where it is", "shards stay where they are"))
				return nil
			})
		},
	}
}

type movesReport struct {
	Paused bool         `json:"paused" doc:"true if no copy begins to move (ndctl moves pause)"`
	Moves  []moveReport `json:"moves" doc:"copies on their way, then those that wait"`
	Silent []string     `json:"silent" doc:"names of the nodes that did not say how far they are"`
}

type moveReport struct {
	Shard    int    `json:"shard" doc:"number of the shard"`
	State    string `json:"state" doc:"copying (the copy catches up), ending (it is in sync, and another one has yet to go), or waiting (it has not begun)"`
	From     string `json:"from" doc:"name of the primary, which sends"`
	To       string `json:"to" doc:"name of the node that gets the copy"`
	Replaces string `json:"replaces" doc:"name of the node that gives its copy up afterwards; empty if none does"`
	Bytes    *int64 `json:"bytes" doc:"bytes of the copy; null if they are not known"`
	Done     int64  `json:"done" doc:"bytes that were sent"`
	Waits    string `json:"waits,omitempty" doc:"why it has not begun, in words that may change"`
}

func showMoves(ctx context.Context, s *session, p *printer, watch bool) error {
	track := newProgress()
	for {
		moves, err := fetchMoves(ctx, s)
		if ctx.Err() != nil {
			return nil // Ctrl-C is the normal end
		}
		if err != nil {
			return err
		}
		r := newMovesReport(s.cluster, moves)
		if !watch {
			return p.show(r)
		}
		track.look(time.Now(), moves)
		p.printf("\x1b[H\x1b[2J")
		r.print(p)
		if _, all := track.ended(); all > 0 {
			p.printf("%s\n", track)
		}
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
}

func newMovesReport(c *view.Cluster, m *view.Moves) *movesReport {
	r := &movesReport{Paused: m.Paused, Moves: []moveReport{}, Silent: c.Labels(m.Silent)}
	for _, move := range m.Moves {
		r.Moves = append(r.Moves, moveReport{move.Shard, string(move.State), c.Label(move.From), c.Label(move.To), c.Label(move.Replaces), bytesKnown(move.Bytes), move.Done, move.Waits})
	}
	return r
}

func (r movesReport) print(p *printer) {
	if r.Paused {
		p.printf("%s\n", p.paint(yellow, "paused: no copy begins to move (ndctl moves resume)"))
	}
	if len(r.Moves) == 0 {
		p.printf("no copy is on its way\n")
		return
	}
	t := newTable("SHARD", "STATE", "FROM", "TO", "REPLACES", "DONE", "BYTES", "WAITS BECAUSE")
	for _, m := range r.Moves {
		bytes, replaces := unknown, m.Replaces
		if m.Bytes != nil {
			bytes = size(*m.Bytes)
		}
		if replaces == "" {
			replaces = "-"
		}
		t.add(number(int64(m.Shard)), text(m.State), text(m.From), text(m.To), text(replaces), size(m.Done), bytes, text(m.Waits))
	}
	t.print(p)
	counts := map[string]int{}
	for _, m := range r.Moves {
		counts[m.State]++
	}
	p.printf("%s\n", fmt.Sprintf("%s on their way, %d ending, %d waiting", plural2(counts["copying"], "copy", "copies"), counts["ending"], counts["waiting"]))
}
