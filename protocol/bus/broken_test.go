package bus

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// block registers a handler that reports its context and waits until it ends.
func block(n *node, method Method) <-chan context.Context {
	entered := make(chan context.Context, 1000)
	n.Handle(method, func(ctx context.Context, _ Peer, _ []byte) ([]byte, error) {
		entered <- ctx
		<-ctx.Done()
		return nil, ctx.Err()
	})
	return entered
}

func TestCancelTravels(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
	b.Handle(methodEcho, echo)
	entered := block(b, methodBlock)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, _, err := a.Call(ctx, b.target(), methodBlock, nil)
		failed <- err
	}()
	handler := receive(t, "the handler", entered)
	cancel()
	if err := receive(t, "the call's error", failed); !errors.Is(err, ErrUncertain) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-handler.Done()
	if !errors.Is(handler.Err(), context.Canceled) {
		t.Error(handler.Err())
	}
	if _, err := a.call(b.target(), methodEcho, "the connection still works"); err != nil {
		t.Error(err)
	}
	if n := len(b.Links()); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestDeadlineTravels(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
	entered := block(b, methodBlock)
	for left := 10 * time.Millisecond; len(entered) == 0; left *= 2 { // a slow machine may not even send the request in time
		ctx, cancel := context.WithTimeout(t.Context(), left)
		_, _, err := a.Call(ctx, b.target(), methodBlock, nil)
		cancel()
		var remote *RemoteError // the deadline of the handler may pass first
		if errors.As(err, &remote) && remote.Code == CodeExpired {
			continue
		}
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUncertain) == errors.Is(err, ErrUnreachable) {
			t.Fatalf("%v: %v", left, err)
		}
	}
	handler := receive(t, "the handler", entered)
	if _, ok := handler.Deadline(); !ok {
		t.Error("the handler has no deadline")
	}
	<-handler.Done()
	over, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	if _, _, err := a.Call(over, b.target(), methodBlock, nil); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	entered = block(b, methodOther)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	go a.Call(ctx, b.target(), methodOther, nil)
	deadline, _ := receive(t, "the handler", entered).Deadline()
	if left := time.Until(deadline); left < 50*time.Minute || left > time.Hour+time.Second {
		t.Errorf("an hour became %v", left)
	}
}

func TestNoMoreCallsThanSlots(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
	entered := block(b, methodBlock)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1000)
	for range callsInFlight {
		go func() {
			_, _, err := a.Call(ctx, b.target(), methodBlock, nil)
			failed <- err
		}()
	}
	for range callsInFlight {
		receive(t, "a handler", entered)
	}
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if _, _, err := a.Call(short, b.target(), methodBlock, nil); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more: %v", err)
	}
	cancel()
	for range callsInFlight {
		if err := receive(t, "an error", failed); !errors.Is(err, ErrUncertain) {
			t.Error(err)
		}
	}
	if len(entered) > 0 {
		t.Error("the handler got one call too many")
	}
}

func TestPayloadLimits(t *testing.T) {
	t.Parallel()
	small := func(o *Options) { o.MaxPayload = 1 << 20 }
	member, guest, b := begin(t, who(clusterA, "a"), small), begin(t, who(none, "g"), small), begin(t, who(clusterA, "b"), small)
	b.Handle(methodEcho, echo)
	b.Handle(methodOther, func(context.Context, Peer, []byte) ([]byte, error) { return make([]byte, 1<<20+1), nil })
	for _, tc := range []struct {
		name string
		from *node
		size int
		want error
	}{
		{"member's largest", member, 1 << 20, nil},
		{"member's too large", member, 1<<20 + 1, ErrTooLarge},
		{"guest's largest", guest, MaxGuestPayload, nil},
		{"guest's too large", guest, MaxGuestPayload + 1, ErrTooLarge},
	} {
		got, err := tc.from.call(b.target(), methodEcho, strings.Repeat("x", tc.size))
		if !errors.Is(err, tc.want) || err == nil && len(got) != tc.size || err != nil && !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %d bytes, %v", tc.name, len(got), err)
		}
	}
	var remote *RemoteError
	if _, err := member.call(b.target(), methodOther, ""); !errors.As(err, &remote) {
		t.Errorf("a reply over the limit: %v", err)
	}
}

// Each fault of a peer ends a call in flight with ErrUncertain long before its deadline, and the next call opens another connection.
func TestPeersThatFail(t *testing.T) {
	t.Parallel()
	reply := func(f Frame) Frame { return Frame{Type: f.Type, Flags: flagReply, Request: f.Request} }
	for _, tc := range []struct {
		name string
		then func(conn net.Conn, request Frame)
	}{
		{"closes", func(net.Conn, Frame) {}},
		{"closes in the middle of the reply", func(conn net.Conn, f Frame) { conn.Write(AppendFrame(nil, reply(f))[:20]) }},
		{"stops in the middle of the reply", func(conn net.Conn, f Frame) {
			conn.Write(AppendFrame(nil, reply(f))[:20])
			io.Copy(io.Discard, conn)
		}},
		{"answers with damage", func(conn net.Conn, f Frame) {
			bad := AppendFrame(nil, reply(f))
			bad[crcAt]++
			conn.Write(bad)
			io.Copy(io.Discard, conn)
		}},
		{"answers another request", func(conn net.Conn, f Frame) {
			f.Request++
			WriteFrame(conn, reply(f))
			io.Copy(io.Discard, conn)
		}},
		{"answers with a request", func(conn net.Conn, f Frame) { WriteFrame(conn, f); io.Copy(io.Discard, conn) }},
		{"announces too much", func(conn net.Conn, f Frame) {
			f = reply(f)
			f.Payload = make([]byte, 2000)
			WriteFrame(conn, f)
			io.Copy(io.Discard, conn)
		}},
		{"hangs", func(conn net.Conn, f Frame) { io.Copy(io.Discard, conn) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := begin(t, who(clusterA, "a"), func(o *Options) {
				o.SilenceTimeout, o.StallTimeout, o.MaxPayload = 50*time.Millisecond, 50*time.Millisecond, 1000
			})
			answers := false
			address := pretend(t, greeting{message: welcome, min: 1, max: 1, kind: KindControl, Identity: who(clusterA, "b")}, func(conn net.Conn) {
				f, err := ReadFrame(conn, nil, 1000)
				if err != nil {
					t.Errorf("request: %v", err)
				}
				if answers {
					WriteFrame(conn, reply(f))
					io.Copy(io.Discard, conn)
					return
				}
				answers = true
				tc.then(conn, f)
			})
			if _, err := a.call(Target{Address: address}, methodEcho, "x"); !errors.Is(err, ErrUncertain) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("first call: %v", err)
			}
			eventually(t, "another connection works within the short timeouts", func() bool {
				_, err := a.call(Target{Address: address}, methodEcho, "x")
				return err == nil
			})
		})
	}
}

// If a peer reads nothing, the request that is being sent fails with ErrUncertain and those behind it were
// never sent. No call waits longer than the stall timeout.
func TestPeerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	a := begin(t, who(clusterA, "a"), narrow, func(o *Options) { o.StallTimeout, o.SilenceTimeout = 100*time.Millisecond, time.Hour })
	ended := make(chan struct{})
	address := pretend(t, greeting{message: welcome, min: 1, max: 1, kind: KindControl, Identity: who(clusterA, "b")}, func(net.Conn) { <-ended })
	defer close(ended)
	const callers = 4
	failed := make(chan error, callers)
	for range callers {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), testPatience)
			defer cancel()
			_, _, err := a.Call(ctx, Target{Address: address}, methodEcho, make([]byte, 10<<20))
			failed <- err
		}()
	}
	uncertain := 0
	for range callers {
		switch err := receive(t, "an error", failed); {
		case errors.Is(err, ErrUncertain) && !errors.Is(err, context.DeadlineExceeded):
			uncertain++
			a.core.cancel() // the other calls need not try again
		case !errors.Is(err, ErrUnreachable):
			t.Error(err)
		}
	}
	if uncertain == 0 {
		t.Error("no call failed with ErrUncertain")
	}
}

// narrow gives connections small kernel buffers.
func narrow(o *Options) {
	o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
			conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return conn, err
	}
}

// A caller that does not read its replies blocks only itself, and not for long.
func TestCallerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	b := begin(t, who(clusterA, "b"), func(o *Options) { o.StallTimeout = 100 * time.Millisecond })
	b.Handle(methodOther, func(context.Context, Peer, []byte) ([]byte, error) { return make([]byte, 8<<20), nil })
	conn := raw(t, b, who(clusterA, "a"))
	for i := range 3 {
		conn.Write(request(methodOther, uint64(i), ""))
	}
	eventually(t, "the connection ends", func() bool { return len(b.Links()) == 0 })
}

// raw returns a control connection on which the test writes frames itself.
func raw(t *testing.T, to *node, as Identity) net.Conn {
	t.Helper()
	conn, _, err := begin(t, as, narrow).Dial(t.Context(), to.target(), KindControl)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func request(method Method, id uint64, payload string) []byte {
	return appendParts(nil, Frame{Type: uint8(method), Request: id}, make([]byte, 4), []byte(payload))
}

func TestCallersThatBreakTheRules(t *testing.T) {
	t.Parallel()
	many := func(n int) (out []byte) {
		for i := range n {
			out = append(out, request(methodBlock, uint64(i), "")...)
		}
		return out
	}
	damaged := request(methodBlock, 1, "x")
	damaged[HeaderSize]++
	for _, tc := range []struct {
		name  string
		as    Identity
		bytes []byte
		ends  bool
	}{
		{"obeys them", who(clusterA, "a"), many(callsInFlight), false},
		{"guest obeys them", who(none, "a"), many(guestCallsInFlight), false},
		{"too many requests", who(clusterA, "a"), many(2*callsInFlight + 1), true},
		{"guest's too many requests", who(none, "a"), many(2*guestCallsInFlight + 1), true},
		{"guest's too long request", who(none, "a"), request(methodBlock, 1, strings.Repeat("x", MaxGuestPayload+1)), true},
		{"no deadline field", who(clusterA, "a"), AppendFrame(nil, Frame{Type: 1, Payload: []byte("123")}), true},
		{"duplicate id", who(clusterA, "a"), append(many(1), many(1)...), true},
		{"a reply to nothing", who(clusterA, "a"), AppendFrame(nil, Frame{Flags: flagReply}), true},
		{"unknown flags", who(clusterA, "a"), AppendFrame(nil, Frame{Flags: 0x80, Payload: []byte("1234")}), true},
		{"damage", who(clusterA, "a"), damaged, true},
		{"cancel of nothing", who(clusterA, "a"), AppendFrame(nil, Frame{Flags: flagCancel}), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := begin(t, who(clusterA, "b"))
			block(b, methodBlock)
			conn := raw(t, b, tc.as)
			conn.SetDeadline(time.Now().Add(testPatience))
			go conn.Write(append(tc.bytes, AppendFrame(nil, Frame{Flags: flagPing})...))
			var f Frame
			var err error
			for err == nil && f.Flags != flagPing|flagReply {
				f, err = ReadFrame(conn, nil, 1000)
			}
			if tc.ends != (err != nil) {
				t.Errorf("pong: %+v, %v", f, err)
			}
			if tc.ends {
				if err := receive(t, "the error of the accepting side", b.refused); !errors.Is(err, ErrFrame) && !errors.Is(err, ErrTooLarge) {
					t.Error(err)
				}
			}
		})
	}
}

func TestIdleGuestsGo(t *testing.T) {
	t.Parallel()
	b := begin(t, who(clusterA, "b"), func(o *Options) { o.GuestTimeout = 20 * time.Millisecond })
	b.Handle(methodEcho, echo)
	guest, member := begin(t, who(none, "g")), begin(t, who(clusterA, "m"))
	for range 3 {
		for _, n := range []*node{guest, member} {
			if _, err := n.call(b.target(), methodEcho, "x"); err != nil && !errors.Is(err, ErrUncertain) { // the connection may end at this moment
				t.Error(err)
			}
		}
		eventually(t, "the guest's connection ends", func() bool { return len(b.Links()) == 1 && len(guest.Links()) == 0 })
	}
	if links := b.Links(); links[0].Peer.Node != "m" {
		t.Errorf("%+v is left", links)
	}
}

func TestCloseWithCallsInFlight(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"dialling", "accepting", "both"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
			entered := block(b, methodBlock)
			const calls = 20
			failed := make(chan error, calls)
			for range calls {
				go func() {
					_, err := a.call(b.target(), methodBlock, "")
					failed <- err
				}()
			}
			for range calls {
				receive(t, "a handler", entered)
			}
			var closing sync.WaitGroup
			for name, n := range map[string]*node{"dialling": a, "accepting": b} {
				if side == name || side == "both" {
					for range 2 {
						closing.Go(func() {
							if err := n.Close(); err != nil {
								t.Error(err)
							}
						})
					}
				}
			}
			closing.Wait()
			for range calls {
				err := receive(t, "an error", failed)
				var remote *RemoteError
				if !errors.Is(err, ErrUncertain) && !(errors.As(err, &remote) && remote.Code == CodeExpired) {
					t.Error(err)
				}
			}
			eventually(t, "the node cannot be reached", func() bool {
				_, err := a.call(b.target(), methodBlock, "")
				if !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrUncertain) { // the connection may end at this moment
					t.Errorf("afterwards: %v", err)
				}
				return errors.Is(err, ErrUnreachable)
			})
			if side != "accepting" {
				if _, _, err := a.Dial(t.Context(), b.target(), KindControl); !errors.Is(err, net.ErrClosed) {
					t.Errorf("dial afterwards: %v", err)
				}
				if err := a.Serve(nil); err != net.ErrClosed {
					t.Errorf("serve afterwards: %v", err)
				}
			}
		})
	}
}
