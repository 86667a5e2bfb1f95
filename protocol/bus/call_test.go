package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

const (
	methodEcho Method = iota + 1
	methodFail
	methodPanic
	methodBlock
	methodOther
)

func TestManyCallsShareAConnection(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
	b.Handle(methodEcho, echo)
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for j := range 10 {
				want := fmt.Sprint(i, j) + string(bytes.Repeat([]byte{'x'}, random.IntN(3_000)))
				if got, err := a.call(b.target(), methodEcho, want); err != nil || got != want {
					t.Errorf("call %d %d: %d bytes, %v", i, j, len(got), err)
					return
				}
			}
		})
	}
	callers.Wait()
	for name, n := range map[string]*node{"dialling": a, "accepting": b} {
		links := n.Links()
		if len(links) != 1 || links[0].Kind != KindControl || links[0].Inbound != (n == b) || links[0].BytesIn == 0 || links[0].BytesOut == 0 {
			t.Errorf("links of the %s side: %+v", name, links)
		}
	}
}

// After Renew new calls use another connection. A call in flight still gets its reply.
func TestRenew(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
	b.Handle(methodEcho, echo)
	entered, goOn := make(chan struct{}), make(chan struct{})
	b.Handle(methodBlock, func(_ context.Context, _ Peer, request []byte) ([]byte, error) {
		close(entered)
		<-goOn
		return request, nil
	})
	a.Renew() // without connections
	answer := make(chan error, 1)
	go func() {
		_, err := a.call(b.target(), methodBlock, "x")
		answer <- err
	}()
	receive(t, "the call in flight", entered)
	for range 2 {
		a.Renew()
		if _, err := a.call(b.target(), methodEcho, "x"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the old connection for the call in flight, and a new one", func() bool { return len(a.Links()) == 2 })
	}
	close(goOn)
	if err := receive(t, "the reply of the call in flight", answer); err != nil {
		t.Error(err)
	}
	eventually(t, "the old connection ends", func() bool { return len(a.Links()) == 1 })
}

func TestErrorsOfHandlers(t *testing.T) {
	t.Parallel()
	a, b := begin(t, who(clusterA, "a")), begin(t, who(clusterA, "b"))
	b.Handle(methodFail, func(_ context.Context, _ Peer, request []byte) ([]byte, error) {
		if string(request) == "coded" {
			return nil, fmt.Errorf("wrapped: %w", &RemoteError{Code: CodeUser + 3, Text: "not the leader"})
		}
		return nil, errors.New(string(request))
	})
	b.Handle(methodPanic, func(context.Context, Peer, []byte) ([]byte, error) { panic("at the disco") })
	for _, tc := range []struct {
		method  Method
		request string
		code    Code
		text    string
	}{
		{methodFail, "as told", CodeFailed, "as told"},
		{methodFail, "", CodeFailed, ""},
		{methodFail, "coded", CodeUser + 3, "wrapped: not the leader"},
		{methodPanic, "", CodePanic, "the handler of method 3 panicked"},
		{methodOther, "", CodeNoMethod, "this node has no handler for method 5"},
		{methodFail, string(bytes.Repeat([]byte("long"), 10_000)), CodeFailed, string(bytes.Repeat([]byte("long"), maxErrorText/4))},
	} {
		_, err := a.call(b.target(), tc.method, tc.request)
		var remote *RemoteError
		if !errors.As(err, &remote) || remote.Code != tc.code || remote.Text != tc.text {
			t.Errorf("method %d %.10q: %v", tc.method, tc.request, err)
		}
		if errors.Is(err, ErrUncertain) || errors.Is(err, ErrUnreachable) {
			t.Errorf("method %d: %v also wraps another class of error", tc.method, err)
		}
	}
}
