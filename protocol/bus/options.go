package bus

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

// Options are what a Bus needs to know. Identity is required; everything else has a default.
type Options struct {
	// Identity returns what this node is now. It changes when the node comes into a cluster: connections of before are then made anew before their next
	// call. It is asked for every call, so that it has to be cheap, and must not call the Bus.
	Identity func() Identity

	// ServerTLS is for those who connect, ClientTLS for those connected to; plain text when nil. With ClientTLS.ServerName empty, the host that is dialled has to
	// be in the certificate. The client certificates that ServerTLS asks for are checked against the handshake.
	ServerTLS, ClientTLS *tls.Config

	// Dialer makes connections; a net.Dialer when nil.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)

	// Log tells of refused handshakes and of handlers that panic; slog.Default() when nil.
	Log *slog.Logger

	// HandshakeTimeout bounds a handshake, TLS included, and DialTimeout the connecting and that together.
	HandshakeTimeout time.Duration // 5 s
	DialTimeout      time.Duration // 5 s

	// CallTimeout is for calls whose context has no deadline.
	CallTimeout time.Duration // 30 s

	// StallTimeout bounds how long a frame that is under way may make no progress, in either direction.
	StallTimeout time.Duration // 10 s

	// SilenceTimeout ends a connection with calls in flight on which nothing comes, not even the reply to a ping.
	SilenceTimeout time.Duration // 5 s

	// GuestTimeout ends an idle connection of a node without a cluster.
	GuestTimeout time.Duration // 1 min

	MaxHandshakes int // connections that have not said who they are; when there are more, the oldest goes: 64
	MaxLinks      int // connections that came in, of members and guests: 1024
	MaxGuests     int // of these, of guests: 64
	MaxPayload    int // bytes of a request or reply between members: 64 MiB
}

// MaxGuestPayload is how many bytes a request may have when one of the two nodes is in no cluster. A reply may be as long as any.
const MaxGuestPayload = 64 << 10

const (
	callsInFlight      = 64 // a connection; part of the protocol: a listener that gets twice as many ends the connection
	guestCallsInFlight = 8
)

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.HandshakeTimeout, 5 * time.Second}, {&o.DialTimeout, 5 * time.Second}, {&o.CallTimeout, 30 * time.Second},
		{&o.StallTimeout, 10 * time.Second}, {&o.SilenceTimeout, 5 * time.Second}, {&o.GuestTimeout, time.Minute},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&o.MaxHandshakes, 64}, {&o.MaxLinks, 1024}, {&o.MaxGuests, 64}, {&o.MaxPayload, 64 << 20},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Dialer == nil {
		o.Dialer = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	}
	return o
}

// keepAlive notices within half a minute that an idle peer's machine has gone.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}
