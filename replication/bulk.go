package replication

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/internal/fair"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// bulkPool are the bulk connections of a peer. Each carries one request at a time.
type bulkPool struct {
	peer    *peer
	uploads chan struct{} // holds a token for each value under way for which a client waits
	mu      sync.Mutex    // guards all below
	idle    []*bulkConn
	reach   context.Context // all connections are closed when it is done
	lose    context.CancelFunc
}

func (b *bulkPool) init(p *peer) {
	b.peer, b.uploads = p, make(chan struct{}, maxUploads)
	b.reach, b.lose = context.WithCancel(p.context)
}

// reconnect closes all connections, so that others are made. What is under way on them fails.
func (b *bulkPool) reconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lose()
	b.reach, b.lose = context.WithCancel(b.peer.context)
	b.idle = nil
}

// bulkConn is a bulk connection.
type bulkConn struct {
	Conn
	reader *reader
	reach  context.Context // of the pool when it was made: it is closed when that is done
	forget func() bool     // stops what closes it then
	sent   int64           // bytes of the request under way
	total  *atomic.Int64   // bytes to all peers
}

func (c *bulkConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent += int64(n)
	c.total.Add(int64(n))
	return n, err
}

// maxUploaded is how many uploads that no record has named a peer remembers.
const maxUploaded = 1024

func (c *bulkConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// maxUploads is how many large values, for which clients wait, are on their way to a peer at once. Catch-ups, of which there are at most
// maxCatchUps and maxUrgent, have connections beside these. Each takes a file descriptor on both nodes, so writers must not open one each.
// maxIdleBulk is how many connections stay open.
const (
	maxUploads  = 4
	maxIdleBulk = 2
)

// bulkStall is how long a bulk connection may make no progress.
const bulkStall = 20 * time.Second

// replyLimit is how long the other node may take for its reply to a request of a length. It writes a large value to its disk,
// and syncs a whole copy, after it has received all: a limit that does not grow with the length would begin a transfer again
// and again on a slow disk.
func replyLimit(sent int64) time.Duration {
	const slowDisk = 4 << 20 // bytes a second
	return time.Minute + time.Duration(sent/slowDisk)*time.Second
}

// do sends a request for a stream on a bulk connection and returns its reply.
func (b *bulkPool) do(ctx context.Context, s *stream, send func(*bulkConn) error) (frame, error) {
	c, err := b.get(ctx, s)
	if err != nil {
		return frame{}, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	dropped := context.AfterFunc(s.context, func() { c.Close() })
	defer dropped()
	c.sent = 0
	reply, err := c.request(send)
	if !stop() || !dropped() || err != nil {
		c.Close()
		return frame{}, errors.Join(err, ctx.Err(), s.context.Err())
	}
	if len(reply.body) > 0 { // the other node closes a connection on which it has refused something
		c.Close()
		return reply, &refusedError{string(reply.body), replica.AckFlags(reply.flags) & full}
	}
	c.SetDeadline(time.Time{})
	b.put(c)
	return reply, nil
}

// refusalLimit is how long a refusal may take to arrive after the connection has failed.
const refusalLimit = time.Second

// request sends a request and returns its reply. The other node may refuse it, and close the connection, while it is sent.
func (c *bulkConn) request(send func(*bulkConn) error) (reply frame, err error) {
	failed := send(c)
	limit := replyLimit(c.sent)
	if failed != nil {
		limit = refusalLimit
	}
	c.SetReadDeadline(time.Now().Add(limit))
	if reply, err = c.reader.read(); err == nil && len(reply.body) > 0 {
		return reply, nil
	}
	return reply, errors.Join(failed, err)
}

// refusedError is why the other node has not taken what it was sent.
type refusedError struct {
	text string
	full replica.AckFlags // what is exhausted at it, if that is why
}

// cause returns the error for a client whose value the other node refuses.
func (e *refusedError) cause() error {
	switch {
	case e.full&replica.AckDiskFull != 0:
		return shard.ErrDiskFull
	case e.full&replica.AckMemoryFull != 0:
		return shard.ErrMemoryFull
	}
	return fmt.Errorf("%w: a copy cannot take it: %s", shard.ErrTryAgain, e.text)
}

// fullBy returns the flags for an error with which a request is refused.
func fullBy(err error) replica.AckFlags {
	switch {
	case errors.Is(err, shard.ErrDiskFull):
		return replica.AckDiskFull
	case errors.Is(err, shard.ErrMemoryFull):
		return replica.AckMemoryFull
	}
	return 0
}

func (e *refusedError) Error() string { return "the other node refuses: " + e.text }

// get returns an idle connection, or dials one as long as the request and the stream last.
func (b *bulkPool) get(ctx context.Context, s *stream) (*bulkConn, error) {
	b.mu.Lock()
	if n := len(b.idle); n > 0 {
		c := b.idle[n-1]
		b.idle = b.idle[:n-1]
		b.mu.Unlock()
		return c, nil
	}
	reach := b.reach
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.context, cancel)()
	conn, err := b.peer.dial(ctx, Bulk)
	if err != nil {
		return nil, err
	}
	forget := context.AfterFunc(reach, func() { conn.Close() })
	return &bulkConn{Conn: conn, reader: newReader(conn), reach: reach, forget: forget, total: &b.peer.r.stats.BytesOut}, nil
}

func (b *bulkPool) put(c *bulkConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.idle) >= maxIdleBulk || c.reach.Err() != nil {
		c.Close()
		return
	}
	b.idle = append(b.idle, c)
}

// Upload implements shard.Replicator: it sends a large value to the members of the ISR ahead of its record.
func (r *Replicator) Upload(ctx context.Context, id int, large shard.Large) error {
	current := r.rows[id].Load()
	if current == nil {
		return nil
	}
	var all sync.WaitGroup
	failures := make([]error, len(current.streams))
	for i, s := range current.streams {
		if s.inISR.Load() {
			all.Go(func() { failures[i] = s.peer.uploadToMember(ctx, s, large) })
		}
	}
	all.Wait()
	for _, err := range failures {
		var refused *refusedError
		if errors.As(err, &refused) {
			return refused.cause()
		}
	}
	return nil // a member that was not reached gets the value when it catches up, or is removed
}

// uploadToMember is upload for as long as the peer is in the ISR: writers wait for no other. At most maxUploads go at once.
func (p *peer) uploadToMember(ctx context.Context, s *stream, large shard.Large) error {
	p.mu.Lock()
	member := s.member
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(member, cancel)()
	select {
	case p.bulk.uploads <- struct{}{}:
		defer func() { <-p.bulk.uploads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.upload(ctx, s, large, func(int) {})
}

// upload sends a large value to the peer. It calls yield with the length of each piece that it has sent.
func (p *peer) upload(ctx context.Context, s *stream, large shard.Large, yield func(sent int)) error {
	p.mu.Lock()
	f := frame{kind: kindUpload, shard: s.shard, epoch: s.epoch, leader: s.leader, x: large.ID}
	_, known := p.uploaded[large.ID]
	p.mu.Unlock()
	if known {
		return nil
	}
	record := shard.RecordOf(large.Entry)
	_, err := p.bulk.do(ctx, s, func(conn *bulkConn) error {
		if _, err := conn.Write(f.appendTo(nil)); err != nil {
			return err
		}
		return writeRecord(&progressWriter{conn: conn, piece: p.r.limiter.piece(), note: func(sent int) {
			p.r.config.Store.Shard(s.shard).Role().Contact(p.process, true)
			yield(sent)
		}}, &record)
	})
	if err != nil {
		return err
	}
	p.r.stats.Uploads.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.uploaded) >= maxUploaded { // of writes that have not happened; a member that is not known to have a value gets it again
		clear(p.uploaded)
	}
	p.uploaded[large.ID] = struct{}{}
	return nil
}

// progressWriter writes in pieces, each of which must be taken in time.
type progressWriter struct {
	conn  net.Conn
	piece int
	note  func(sent int) // is called with the length of each piece
}

const (
	bulkPiece   = fair.Piece
	bufferBytes = 256 << 10
)

func (w *progressWriter) Write(b []byte) (written int, err error) {
	for len(b) > 0 && err == nil {
		piece := b[:min(len(b), w.piece)]
		w.conn.SetWriteDeadline(time.Now().Add(bulkStall))
		var n int
		n, err = w.conn.Write(piece)
		written, b = written+n, b[n:]
		if err == nil {
			w.note(n)
			fair.Yield(n)
		}
	}
	return written, err
}

// writeRecord writes the length of a record's head, key and meta, then these, then the payload.
func writeRecord(w io.Writer, r *persistence.Record) error {
	head := *r
	if head.Bytes > 0 {
		head.Blob = 1 // the payload is not part of the head
	}
	b := head.AppendWire(make([]byte, 4))
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	if _, err := w.Write(b); err != nil {
		return err
	}
	for _, piece := range r.Payload {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// maxRecordHead is the length of the longest head with key and meta.
const maxRecordHead = 128 + persistence.MaxKey + persistence.MaxMeta

// readRecord reads what writeRecord has written, without the payload; nil at the end of a copy.
func readRecord(from io.Reader) (*persistence.Record, error) {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n == 0 {
		return nil, nil
	}
	if n > maxRecordHead {
		return nil, fmt.Errorf("%w: a record's head of %d bytes", errFrame, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(from, b); err != nil {
		return nil, err
	}
	r, size, err := persistence.ParseWire(b)
	if err == nil && size != len(b) {
		err = fmt.Errorf("%w: a record with a payload in its head", errFrame)
	}
	r.Blob = 0
	return &r, err
}

// sendImage sends a whole copy. It calls yield with the length of each piece that it has sent.
func (p *peer) sendImage(ctx context.Context, s *stream, image *shard.Image, yield func(sent int)) error {
	p.mu.Lock()
	f := frame{kind: kindInstall, shard: s.shard, epoch: s.epoch, leader: s.leader, x: image.Base.Epoch, y: image.Base.Seq, z: uint64(image.Bytes), body: appendTable(nil, image.Table)}
	p.mu.Unlock()
	_, err := p.bulk.do(ctx, s, func(conn *bulkConn) error {
		w := bufio.NewWriterSize(&progressWriter{conn: conn, piece: p.r.limiter.piece(), note: yield}, bufferBytes)
		if _, err := w.Write(f.appendTo(nil)); err != nil {
			return err
		}
		write := func(r *persistence.Record) error { return writeRecord(w, r) }
		if err := image.Each(write, write); err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, 4)); err != nil {
			return err
		}
		return w.Flush()
	})
	return err
}

// serveBulk takes large values and whole copies from a primary until its connection ends.
func (i *inbound) serveBulk(from replica.Process, conn Conn) {
	i.r.startSweeping()
	r := newReader(conn)
	in := &stallReader{conn: conn, from: r, total: &i.r.stats.BytesIn}
	for {
		conn.SetReadDeadline(time.Time{})
		f, err := r.read()
		if err != nil || f.shard >= i.r.config.Shards {
			return
		}
		f.body = append([]byte(nil), f.body...)
		var refused error
		switch f.kind {
		case kindUpload:
			refused, err = i.receiveUpload(from, &f, in)
		case kindInstall:
			refused, err = i.receiveCopy(from, &f, in)
		default:
			return
		}
		if err != nil {
			i.r.config.Log.Warn("a large transfer from a primary ended", "from", from.Node, "shard", f.shard, "err", err)
			return
		}
		reply := frame{kind: kindDone, shard: f.shard}
		if refused != nil {
			reply.body, reply.flags = []byte(refused.Error()), uint8(fullBy(refused))
		}
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := conn.Write(reply.appendTo(nil)); err != nil {
			return
		}
		if refused != nil {
			return // what follows on the connection is the rest of what was refused
		}
	}
}

// stallReader reads what follows a frame, and fails if nothing comes for a while.
type stallReader struct {
	conn  net.Conn
	from  *reader
	total *atomic.Int64 // bytes from all peers
}

func (s *stallReader) Read(b []byte) (int, error) {
	s.conn.SetReadDeadline(time.Now().Add(bulkStall))
	n, err := s.from.Read(b[:min(len(b), fair.Piece)])
	s.total.Add(int64(n))
	fair.Yield(n)
	return n, err
}

func (s *stallReader) fill(b []byte) error {
	_, err := io.ReadFull(s, b)
	return err
}

// receiveUpload takes a large value.
func (i *inbound) receiveUpload(from replica.Process, f *frame, in *stallReader) (refused, err error) {
	record, err := readRecord(in)
	if err != nil || record == nil {
		return nil, errors.Join(errFrame, err)
	}
	var broken error
	entry, err := i.r.config.Store.Shard(f.shard).Member().ReceiveUpload(record, func(b []byte) error {
		broken = in.fill(b)
		return broken
	})
	if broken != nil || errors.Is(err, persistence.ErrWire) {
		return nil, err
	}
	if err != nil {
		return err, nil
	}
	i.keepUpload(uploadKey{from, f.x}, &upload{f.shard, entry, time.Now()})
	return nil, nil
}

// maxCopy is the length of the longest copy for which room is reserved: larger ones do not exist, and what a frame says may not overflow.
const maxCopy = 1 << 50

// receiveCopy takes a whole copy.
func (i *inbound) receiveCopy(from replica.Process, f *frame, in *stallReader) (refused, err error) {
	table, err := parseTable(f.body)
	if err != nil {
		return nil, err
	}
	member := i.r.config.Store.Shard(f.shard).Member()
	source := shard.Source{From: from, Epoch: f.epoch, Leader: f.leader}
	installation, err := member.Install(source, replica.Point{Epoch: f.x, Seq: f.y}, table, int64(min(f.z, maxCopy)))
	if err != nil {
		return err, nil
	}
	for {
		record, err := readRecord(in)
		if err == nil && record == nil {
			break
		}
		if err == nil && record.Bytes > 0 {
			err = installation.Put(record, in.fill)
		} else if err == nil {
			err = installation.Other(record)
		}
		if err != nil {
			installation.Abort()
			if fullBy(err) != 0 { // other values have taken the room meanwhile
				return err, nil
			}
			return nil, err
		}
	}
	_, refused = installation.Commit()
	return refused, nil
}
