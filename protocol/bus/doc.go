// Package bus is the one TCP port between nodes: handshake, frames, streams. It knows nothing of what it carries, and decides nothing but who may connect.
//
// # Use
//
//	b := bus.New(bus.Options{Identity: node.Identity})
//	b.Handle(MethodPropose, propose)         // requests on control connections
//	b.HandleStream(bus.KindRaft, streams)    // whole connections
//	b.Serve(listener)
//	reply, peer, err := b.Call(ctx, bus.Target{Address: "10.0.0.7:17379", Node: id}, MethodPropose, request)
//	conn, peer, err := b.Dial(ctx, target, bus.KindRaft)
//	b.Close()
//
// Each connection has one kind, which its HELLO names. All calls to an address share one control connection, which is made when it is needed, and anew when it broke or when
// either node has changed its identity. A handler gets the time that its caller has left and learns when the caller gives up. What a handler keeps
// running when its context has ended, Close waits for.
//
// # What an error says
//
//	*RemoteError     the handler answered with it
//	ErrUnreachable   the request had no effect: not connected, refused (*HandshakeError with its reason), or given up before it was sent
//	ErrUncertain     the request went out and no reply came: it may have had its effect, or have it yet
//
// Each error of Call is one of these three. Where the caller's context was the reason, the error wraps that one's as well.
//
// # Who may connect
//
// Both sides judge by the same rules (judge.go). Two nodes of different clusters have no connections. A node in no cluster is a guest and may only have control connections:
// to ask for a cluster to be let into, or to make one; handlers see it by Peer.Guest. For guests the limits are low: MaxGuestPayload, a few
// calls at once, MaxGuests connections, which end when idle. The dialling side can ask for a certain node and a certain store. Whoever dials itself is told so.
//
// In plain text a handshake proves nothing: anyone who knows the cluster's id is let in. With TLS and client certificates, a certificate
// with the URI ndring://cluster/<id>/node/<id>, or ndring://node/<id>, is good for that node alone.
//
// # Handshake
//
// All numbers are little-endian. The three messages are laid out alike; later versions may add to the end of the body and change nothing else.
//
//	 0           4         5         6         7            8          10         12
//	┌───────────┬─────────┬─────────┬─────────┬────────────┬──────────┬──────────┐
//	│ "NDRB"    │ message │ min     │ max     │ kind, or   │ length   │ 0        │
//	│           │ u8      │ version │ version │ code  u8   │ u16      │ u16      │
//	├───────────┴───┬─────┴─────────┴────┬────┴────────────┼──────────┴──────────┤
//	│ cluster  16 B │ node  40 B         │ store      16 B │ incarnation  u64    │
//	├───────────────┴───┬────────────────┴────┬────────────┴─────────────────────┤
//	│ HELLO:            │ wanted node  40 B   │ wanted store  16 B               │
//	│ REFUSE:           │ text, up to 256 B   │                                  │
//	├───────────────────┴─────────────────────┴──────────────────────────────────┤
//	│ crc32c u32 of all before                                                   │
//	└────────────────────────────────────────────────────────────────────────────┘
//
// Messages: 1 HELLO, answered with 2 WELCOME (min and max are the version that both will speak) or 3 REFUSE (the codes are in errors.go). length counts what follows the first
// 12 bytes, at most 1024. Node ids are visible ASCII, filled up with zeros. No ID is all zeros.
//
// # Frames
//
// On control, bulk and beacon connections, after the handshake:
//
//	 0        2      3       4          8          16           24          28        32
//	┌────────┬──────┬───────┬──────────┬──────────┬────────────┬───────────┬─────────┬─────────┐
//	│ b5d1   │ type │ flags │ shard    │ epoch    │ request id │ length    │ crc32c  │ payload │
//	│ u16    │ u8   │ u8    │ u32      │ u64      │ u64        │ u32       │ u32     │         │
//	└────────┴──────┴───────┴──────────┴──────────┴────────────┴───────────┴─────────┴─────────┘
//
// The checksum covers the 28 bytes before it and the payload. A frame that is damaged or too long ends its connection.
//
// On a control connection type is the method, and the flags are:
//
//	0                 request: milliseconds that the caller will wait u32 (0: no limit), and what the handler gets
//	1 reply           what the handler returned
//	1 reply, 2 error  code u16, text
//	4 cancel          the caller of the request with this id has given up
//	8 ping            answered with ping and reply
//
// At most 64 requests of a connection are without a reply at any time, 8 with guests. Each request gets a reply, also one whose caller has given up.
//
// # Peers that hang
//
// A handshake has 5 seconds. A frame that is under way must make progress (StallTimeout), so that nobody is held up by a peer that does not read. While replies are owed and
// nothing comes, the dialling side sends pings, and ends the connection after SilenceTimeout: TCP alone would take a quarter of an hour to notice that a machine has gone.
// Idle connections have TCP keepalive.
package bus
