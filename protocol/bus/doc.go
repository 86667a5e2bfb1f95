// Package bus is the one TCP port between nodes: handshakes, requests in frames, and byte streams. It
// decides who may connect and nothing else; it must never know what the payloads mean.
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
// Each connection has one kind, which its HELLO names. All calls to an address share one control
// connection. A call opens it if it is missing, has ended, or was opened under an earlier identity of
// either node. A handler's context carries the time that its caller has left, and ends when the caller
// gives up. Close waits for whatever a handler still runs after its context has ended.
//
// # Parts
//
// acceptor owns the accepting side: listeners, handshakes in progress and handlers; a server runs each
// control connection that it accepts. dialer owns the dialling side: one client per address for calls.
// registry knows every connection after its handshake, for Links, the limits and Close. deadlineConn
// and writer are the two directions of a control connection.
//
// Lock order: dialer.mu, then client.mu. No other lock is taken while one of this package is held.
//
// # Errors of a call
//
//	*RemoteError     the handler answered with it
//	ErrUnreachable   the request had no effect: the node was not connected or refused (*HandshakeError with
//	                 its reason), or the caller gave up before the request was sent
//	ErrUncertain     the request was sent and no reply arrived: it may have taken effect, or may still do so
//
// Every error of Call is one of these three. If the caller's context ended the call, the error also
// wraps the error of that context.
//
// # Who may connect
//
// Both sides apply the same rules (authorize.go). Nodes of different clusters never connect. A node that
// belongs to no cluster is a guest and may only open control connections, to join or bootstrap a
// cluster; handlers recognize it by Peer.Guest. The limits for guests are low: MaxGuestPayload, a few
// concurrent calls, and MaxGuests connections, which are closed when idle. The dialling side may ask for
// a specific node and store. A process that dials itself gets ErrSelf.
//
// In plain text a handshake proves nothing: anyone who knows the cluster id is admitted. With TLS (Options.TLS) both sides have
// certificates of one CA, and the certificate must name its node: by the URI ndring://cluster/<id>/node/<id>, or
// ndring://node/<id> as long as the node belongs to no cluster. The host is not checked, since addresses change and the node's id is
// proved. Nodes whose certificates name different clusters never connect, and a node that was removed from the cluster is refused in
// spite of its certificate. Existing connections stay when certificates change. The first bytes show whether a peer speaks
// TLS: one that does not fit gets REFUSE in plain text, which names neither node nor cluster. A cluster has TLS on all nodes or on none.
//
// # Handshake
//
// All numbers are little-endian. The three messages share one layout. Later versions may append to the
// body and change nothing else.
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
//	│ crc32c u32 of everything before                                            │
//	└────────────────────────────────────────────────────────────────────────────┘
//
// Messages: 1 HELLO, answered with 2 WELCOME (min and max are the agreed version) or 3 REFUSE (errors.go
// has the codes). length counts the bytes after the first 12, at most 1024. Node ids are visible ASCII,
// padded with zeros. A missing id is all zeros.
//
// # Versions
//
// HELLO says which versions of the protocol the dialling side speaks. The accepting side answers with the highest that it
// speaks too, or refuses with code 1, and both sides log which versions each speaks. Peer.Version is the agreed one of a
// connection, on both sides and for each kind: package replication finds it in its Conn. Nodes of this version and of the
// one before work side by side during an upgrade, so a change of what is on the wire, also of the frames of package
// replication and of the requests of package cluster, follows these rules:
//
//   - A new method, and a new field in JSON that may be missing, need no version: a node that lacks the method answers
//     CodeNoMethod, which had no effect, and unknown fields are ignored. Nor does a number in a frame that was 0 before, if the
//     other end may do without it and 0 says that it is missing, as the size of a whole copy.
//   - A new kind of frame, and a new layout or meaning of one, need a new version: raise maxVersion and say in the comment of
//     minVersion and maxVersion what is new. Keep minVersion, so that versions overlap. Send what is new only if Peer.Version
//     says that the other end knows it, and otherwise what that end knows. Receive both.
//   - Where there is no older form to send, do without: what needs all nodes waits for a format of the topology, which is set
//     once all of them know it (docs/moves.md, "Two versions").
//   - Raise minVersion, and remove what it made necessary, in the release after the one that raised maxVersion at the earliest.
//     Then nodes of two releases before are refused.
//   - Move beforeCommit of TestTwoVersions in internal/node to the newest commit without the change. The test runs clusters of both.
//
// # Frames
//
// On control, bulk and heartbeat connections, after the handshake:
//
//	 0        2      3       4          8          16           24          28        32
//	┌────────┬──────┬───────┬──────────┬──────────┬────────────┬───────────┬─────────┬─────────┐
//	│ b5d1   │ type │ flags │ shard    │ epoch    │ request id │ length    │ crc32c  │ payload │
//	│ u16    │ u8   │ u8    │ u32      │ u64      │ u64        │ u32       │ u32     │         │
//	└────────┴──────┴───────┴──────────┴──────────┴────────────┴───────────┴─────────┴─────────┘
//
// The checksum covers the 28 bytes before it and the payload. A damaged or oversized frame ends its
// connection.
//
// On a control connection type is the method, and the flags are:
//
//	0                 request: u32 milliseconds that the caller will wait (0: no limit), then the payload for the handler
//	1 reply           the reply of the handler
//	1 reply, 2 error  code u16, text
//	4 cancel          the caller of the request with this id has given up
//	8 ping            answered with ping and reply
//
// A connection has at most 64 requests without a reply at any time, 8 with guests. Every request gets a
// reply, even if its caller has given up.
//
// # Peers that hang
//
// A handshake is bounded by 5 seconds. A frame in transit must make progress (StallTimeout), so a peer
// that does not read blocks no sender for long. While the peer owes replies and is silent, the dialling
// side sends pings, and ends the connection after SilenceTimeout: TCP alone would take a quarter of an
// hour to detect that a machine has gone. Idle connections use TCP keepalive.
package bus
