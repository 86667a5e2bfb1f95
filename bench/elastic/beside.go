package main

import (
	"fmt"
	"slices"
	"time"
)

// beside is traffic with and without moves, in one round.
type beside struct {
	alone, moving []request
	aloneFor      time.Duration
	movingFor     time.Duration
	sent          int64
}

// besideMoves measures clients without a pace while copies move and while none does, in turn.
func (b *bench) besideMoves() error {
	client := goRedis(b.cluster)
	defer client.Close()
	still := registersOf("still", b.dataMiB<<20/stillBytes, stillBytes)
	var registers [4][]*register
	all := slices.Clone(still)
	for i := range registers {
		registers[i] = registersOf(fmt.Sprint("small", i), 2*b.shards, small)
		all = append(all, registers[i]...)
	}
	if err := fill(b.context, client, all); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	// Raft's leader is not drained: no election disturbs the clients.
	v, err := b.cluster.View()
	if err != nil {
		return err
	}
	other := b.cluster.Nodes[0]
	if other.Name == v.Leader {
		other = b.cluster.Nodes[1]
	}
	for round := range b.rounds {
		t := newTraffic(b.context)
		for i := range registers {
			t.run(client, registers[i], true, 0)
			t.run(client, registers[i], false, 0)
		}
		err := b.besideRound(t, round, v.ID(other.Name))
		t.stop()
		if err != nil {
			return err
		}
		if len(t.wrong) > 0 {
			return t.wrong[0]
		}
	}
	for _, err := range verify(b.context, client, all) {
		return err
	}
	return nil
}

// besideRound measures a time without moves, and one in which a node is drained and gets its share again.
func (b *bench) besideRound(t *traffic, round int, node string) error {
	if err := b.sleep(b.calm / 5); err != nil {
		return err
	}
	one := beside{aloneFor: b.calm}
	began := time.Now()
	if err := b.sleep(b.calm); err != nil {
		return err
	}
	one.alone = t.between(began, time.Now())
	before, err := b.sent()
	if err != nil {
		return err
	}
	for _, command := range []string{"DRAIN", "UNDRAIN"} {
		if err := b.cluster.Nodes[2].Operate("CLUSTER", command, node); err != nil {
			return err
		}
		began := time.Time{} // of the first move
		if err := b.until(func() error {
			v, err := b.cluster.View()
			if err != nil {
				return err
			}
			moving := v.Moving()
			if moving > 0 && began.IsZero() {
				began = time.Now()
			}
			if moving > 0 || began.IsZero() {
				return fmt.Errorf("%d shards have yet to move", moving)
			}
			return v.Issue()
		}); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		ended := time.Now()
		one.movingFor += ended.Sub(began)
		one.moving = append(one.moving, t.between(began, ended)...)
	}
	after, err := b.sent()
	if err != nil {
		return err
	}
	for name, sent := range after {
		one.sent += sent - before[name]
	}
	b.report.beside = append(b.report.beside, one)
	gets := func(all []request) []time.Duration { return took(all, isGet) }
	say("beside, round %d: %.0f requests/s alone, %.0f beside moves of %d MiB in %.1f s; %d failed; GET p99 %v and %v", round,
		one.rate(false), one.rate(true), one.sent>>20, one.movingFor.Seconds(), sum(failures(one.moving)), quantile(gets(one.alone), 0.99), quantile(gets(one.moving), 0.99))
	for text, n := range failures(slices.Concat(one.alone, one.moving)) {
		say("  %d times: %s", n, text)
	}
	return nil
}

// rate returns the requests a second.
func (o *beside) rate(moving bool) float64 {
	if moving {
		return float64(len(o.moving)) / o.movingFor.Seconds()
	}
	return float64(len(o.alone)) / o.aloneFor.Seconds()
}

func isGet(r request) bool { return !r.write }
func isSet(r request) bool { return r.write }
