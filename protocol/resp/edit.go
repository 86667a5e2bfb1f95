package resp

import "github.com/tidwall/redcon"

// Edit replaces the bytes from one offset to another of what is written and not taken yet by an error
// reply.
type Edit struct {
	From, To int64 // offsets as Chain.Len gave them when the reply began and ended
	Err      error
}

// ReplaceWithErrors replaces replies that turned out wrong before they were taken. The edits are in
// order and do not overlap.
func (w *Writer) ReplaceWithErrors(edits []Edit) {
	if len(edits) == 0 {
		return
	}
	w.Out.replace(len(edits), func(i int) (from, to int64, text []byte) {
		reply := w.errorText(edits[i].Err)
		w.countError(reply)
		return edits[i].From, edits[i].To, redcon.AppendError(nil, reply)
	})
}

// replace replaces n runs of bytes, which edit returns in order with what takes their place. It works on
// pieces and so makes the tail one: only a chain that is about to be taken should be changed so.
func (c *Chain) replace(n int, edit func(i int) (from, to int64, text []byte)) {
	c.cut()
	r := replacer{edit: edit, count: n, made: make([]Piece, 0, len(c.pieces)+2*n)}
	r.next()
	for _, p := range c.pieces {
		r.piece(p)
	}
	r.finish()
	clear(c.pieces)
	c.pieces, c.bytes = r.made, r.bytes
}

// replacer copies the pieces of a chain and leaves out what edits replace.
type replacer struct {
	edit  func(i int) (from, to int64, text []byte)
	count int // of edits

	done     int // edits that were read
	from, to int64
	text     []byte // of the edit that was read last; nil once it is in made, and after the last edit

	at    int64 // offset in the chain
	made  []Piece
	bytes int64
}

// next reads the next edit.
func (r *replacer) next() {
	r.from, r.to, r.text = noOffset, noOffset, nil
	if r.done < r.count {
		r.from, r.to, r.text = r.edit(r.done)
		r.done++
	}
}

// noOffset is behind every byte.
const noOffset = 1<<63 - 1

// piece copies what no edit replaces of a piece. The last run that is left of it holds its reference:
// runs are sent in order, so the bytes stay alive until all of them are sent.
func (r *replacer) piece(p Piece) {
	end := r.at + int64(len(p.b))
	last := -1 // index in made of the last run of p
	for r.at < end {
		kept := min(r.from, end)
		if n := kept - r.at; n > 0 {
			last = len(r.made)
			r.add(Piece{p.b[:n], nil})
			p.b = p.b[n:]
			r.at = kept
		}
		if r.at < r.from {
			break // the edit begins behind this piece
		}
		r.insert()
		skipped := min(r.to, end)
		p.b = p.b[skipped-r.at:]
		r.at = skipped
		if r.at == r.to {
			r.next()
		}
	}
	switch {
	case last >= 0:
		r.made[last].held = p.held
	case p.held != nil:
		p.held.Release()
	}
}

// insert adds the text of the present edit, once.
func (r *replacer) insert() {
	if r.text != nil {
		r.add(Piece{r.text, nil})
		r.text = nil
	}
}

// finish adds the texts of edits that begin at the end of the chain.
func (r *replacer) finish() {
	for r.from != noOffset {
		r.insert()
		r.next()
	}
}

func (r *replacer) add(p Piece) {
	r.made = append(r.made, p)
	r.bytes += int64(len(p.b))
}
