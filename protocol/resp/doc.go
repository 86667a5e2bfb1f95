// Package resp reads RESP commands from untrusted connections and writes RESP2 and RESP3 replies. It
// knows no command: package protocol decides what may be read, through Limits, Admit and Reserve.
//
//	Reader    bytes of a connection -> arguments; checks every length before it allocates; a large bulk goes into its final buffer
//	Budget    bounds the bytes of all commands that are being read
//	Writer    encodes replies into a Chain: small replies are copied together, large ones stay where they are stored
//	Outbox    sends a Chain's pieces, in a second goroutine while the client reads more slowly than it is answered
//
// Ownership: a connection's goroutine owns its Reader and its Writer. A buffer in an Arg belongs to the
// Reader until the next call of Next, unless the command was kept (Keep). A piece's reference moves with
// the piece: Chain, then Outbox, which releases it once the bytes are sent.
//
// Locks: Budget.mu and Outbox.mu are leaves; no code takes another lock while it holds one of them.
package resp
