package cluster

import (
	"bytes"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/gossipkey"
)

func TestKeyring(t *testing.T) {
	t.Parallel()
	all := make([][]byte, 5)
	for i := range all {
		all[i] = gossipkey.New()
	}
	k, err := newKeyring(all[:1])
	if err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	first := all[0]
	done := make(chan struct{})
	reader.Go(func() { // memberlist reads as it decrypts, without a lock
		for {
			select {
			case <-done:
				return
			default:
				for _, key := range k.ring.GetKeys() {
					_ = bytes.Equal(key, first)
				}
			}
		}
	})
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		wanted := all[:1+r.IntN(len(all))]
		if err := k.set(wanted); err != nil {
			t.Fatal(err)
		}
		have := k.ring.GetKeys()
		if len(have) != len(wanted) || !bytes.Equal(have[0], wanted[0]) || slices.ContainsFunc(have, func(key []byte) bool { return !gossipkey.Has(wanted, key) }) {
			t.Fatalf("%x instead of %x", have, wanted)
		}
	}
	close(done)
	reader.Wait()
	if k, err := newKeyring(nil); k != nil || err != nil {
		t.Error("without keys there is a ring")
	}
	if _, err := newKeyring([][]byte{[]byte("short")}); err == nil {
		t.Error("a key of 5 bytes is accepted")
	}
}

// Keys change step by step on nodes that probe each other, and none of them is taken for dead.
func TestRotationUnderProbing(t *testing.T) {
	t.Parallel()
	old, young := gossipkey.New(), gossipkey.New()
	nodes, _ := bootstrap(t, newNetwork(), 3, func(_ testing.TB, c Config) Config {
		c.GossipKeys = [][]byte{old}
		return c
	})
	deaths := make(chan string, 100)
	stop, watching := make(chan struct{}), sync.WaitGroup{}
	for _, n := range nodes {
		watching.Go(func() {
			news := make(chan struct{}, 1)
			defer n.members.watch(news)()
			for {
				select {
				case <-stop:
					return
				case <-news:
				}
				for _, other := range nodes {
					if i, known := n.members.get(other.self.ID); other != n && (!known || !i.alive) {
						deaths <- n.self.Name + " takes " + other.self.Name + " for dead"
					}
				}
			}
		})
	}
	for _, step := range [][][]byte{{old, young}, {young, old}, {young}} {
		for _, n := range nodes {
			if err := SetGossipKeys(n.Cluster, step); err != nil {
				t.Fatal(err)
			}
			pingAll(t, nodes)
		}
	}
	close(stop)
	watching.Wait()
	select {
	case what := <-deaths:
		t.Error(what)
	default:
	}
	late := nodes[0].network.start(t, func() Config {
		c := testConfig(t, "late", 0, nodes[0].seed())
		c.GossipKeys = [][]byte{young}
		return c
	}())
	ready(t, late)
}

// pingAll lets each node ping each other one by gossip.
func pingAll(t *testing.T, nodes []*testNode) {
	t.Helper()
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			list, self := from.gossip.current(), to.gossip.current().LocalNode()
			eventually(t, from.self.Name+" pings "+to.self.Name, func() bool {
				_, err := list.Ping(self.Name, &net.UDPAddr{IP: self.Addr, Port: int(self.Port)})
				return err == nil
			})
		}
	}
}

// A stranger without a key, or with a wrong one, learns no node's name by TCP or UDP.
func TestWrongKeyLearnsNothing(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	config := testConfig(t, "a-secret-name", 0)
	config.GossipKeys = [][]byte{gossipkey.New()}
	a := nw.start(t, config)
	ready(t, a)
	wire := &spy{}
	for _, key := range [][]byte{nil, gossipkey.New()} {
		c := testConfig(t, "x", 2, a.seed())
		if key != nil {
			c.GossipKeys = [][]byte{key}
		}
		stranger := nw.start(t, c)
		for range 3 {
			_, _, _, err := stranger.gossip.join([]string{a.seed()})
			if err == nil {
				t.Error("the join succeeds")
			}
		}
		if n := len(stranger.members.alive()); n != 0 {
			t.Errorf("the stranger sees %d nodes", n)
		}
	}
	wire.ask(t, a.seed())
	for what, text := range map[string]string{"name": "a-secret-name", "id": string(a.self.ID)} {
		if strings.Contains(wire.String(), text) {
			t.Errorf("the %s is on the wire", what)
		}
	}
	if len(a.members.alive()) != 0 {
		t.Error("a stranger has become a member of its list")
	}
}

// spy sends what memberlist sends without a key, and keeps what comes back.
type spy struct{ bytes.Buffer }

func (s *spy) ask(t *testing.T, address string) {
	t.Helper()
	ping := []byte{0, 0x82, 0xa5, 'S', 'e', 'q', 'N', 'o', 1, 0xa4, 'N', 'o', 'd', 'e', 0xa0}
	pushPull := []byte{6, 0x83, 0xa5, 'N', 'o', 'd', 'e', 's', 0, 0xac, 'U', 's', 'e', 'r', 'S', 't', 'a', 't', 'e', 'L', 'e', 'n', 0, 0xa4, 'J', 'o', 'i', 'n', 0xc3}
	for network, message := range map[string][]byte{"udp": ping, "tcp": pushPull} {
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(message); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // nothing comes
		b := make([]byte, 64<<10)
		n, _ := conn.Read(b)
		s.Write(b[:n])
	}
}
