package bus

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// Options configure a Bus. Identity is required; everything else has a default.
type Options struct {
	// Identity returns the current identity of this node. It changes when the node joins a cluster; the
	// next call over an existing connection then opens another. Every call calls Identity: it must be
	// cheap and must not call the Bus.
	Identity func() Identity

	// TLS makes both sides prove who they are; nil: plain text.
	TLS *TLS

	// Dialer opens connections; nil: a net.Dialer.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)

	// Log receives failed handshakes and panics of handlers; nil: slog.Default().
	Log *slog.Logger

	// HandshakeTimeout bounds a handshake including TLS. DialTimeout bounds connecting and the handshake together.
	HandshakeTimeout time.Duration // 5 s
	DialTimeout      time.Duration // 5 s

	// CallTimeout bounds calls whose context has no deadline.
	CallTimeout time.Duration // 30 s

	// StallTimeout bounds how long a frame in transit may make no progress, in either direction.
	StallTimeout time.Duration // 10 s

	// SilenceTimeout ends a connection with calls in flight on which nothing arrives, not even the reply to a ping.
	SilenceTimeout time.Duration // 5 s

	// GuestTimeout ends an idle connection of a node without a cluster.
	GuestTimeout time.Duration // 1 min

	MaxHandshakes int // inbound handshakes in progress; one more closes the oldest: 64
	MaxLinks      int // inbound connections after their handshake, of members and guests: 1024
	MaxGuests     int // of them, those of guests: 64
	MaxPayload    int // bytes of a request or reply between members: 64 MiB

	versions versions // of the protocol; tests speak others than this program
}

// MaxGuestPayload is the size limit of a request in bytes if one of the nodes belongs to no cluster. It does not apply to replies.
const MaxGuestPayload = 64 << 10

const (
	callsInFlight      = 64 // per connection; part of the protocol: the accepting side ends a connection with more than twice as many
	guestCallsInFlight = 8
)

// withDefaults replaces unset fields by their defaults.
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
	if o.versions == (versions{}) {
		o.versions = versions{minVersion, maxVersion}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Dialer == nil {
		o.Dialer = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	}
	return o
}

// keepAlive detects within half a minute that the machine of an idle peer has gone.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}
