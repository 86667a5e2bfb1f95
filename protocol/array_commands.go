package protocol

import (
	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/shard"
)

func npSet(c *call) {
	options, err := parseSetOptions(c.args, c.server.store.Now())
	if err != nil {
		c.replies.Error(err)
		return
	}
	value, err := c.value(2)
	if err != nil {
		c.replies.Error(err)
		return
	}
	value.Attrs = append([]byte(nil), options.attrs...)
	for _, i := range options.parts {
		data, _ := c.args[i+1].Take(c.server.pool)
		value.Parts = append(value.Parts, shard.Part{Name: string(c.arg(i)), Data: data})
	}
	value.CRC = value.Checksum(value.CRC)
	if err := c.checkValue(&value, options); err != nil {
		value.Release()
		c.replies.Error(err)
		return
	}
	outcome := c.shard.Set(shard.Write{
		Key: c.arg(1), Value: value,
		Condition: options.condition, IfVersion: options.ifVersion,
		Expiry: options.expiry, RequestID: options.requestID,
	})
	switch {
	case !outcome.Done:
		c.replies.Null()
	case options.withVersion:
		c.replies.Text(outcome.Version.String())
	default:
		c.replies.OK()
	}
}

// value makes argument i a value without attrs and parts. Its CRC is of the .npy alone.
func (c *call) value(i int) (shard.Value, error) {
	header, err := array.Check(c.arg(i), c.config.MaxArrayBytes)
	if err != nil {
		return shard.Value{}, err
	}
	npy, crc := c.args[i].Take(c.server.pool)
	return shard.Value{NPY: npy, Header: header, CRC: crc}, nil
}

func (c *call) checkValue(v *shard.Value, options setOptions) error {
	if err := v.CheckExtras(); err != nil {
		return err
	}
	for _, p := range v.Parts {
		if int64(p.Data.Len()) > c.config.MaxArrayBytes {
			return errPartTooLarge(p.Name, p.Data.Len(), c.config.MaxArrayBytes)
		}
	}
	if options.hasCRC && options.crc != v.CRC {
		return errArrivedCorrupt(options.crc, v.CRC)
	}
	return nil
}

func npMSet(c *call) {
	if len(c.args)%2 == 0 {
		c.replies.Error(c.row.arityError())
		return
	}
	writes := make([]shard.Write, 0, len(c.args)/2)
	for i := 1; i < len(c.args); i += 2 {
		value, err := c.value(i + 1)
		if err != nil {
			for _, w := range writes {
				w.Value.Release()
			}
			c.replies.Error(errOfKey(c.arg(i), err))
			return
		}
		writes = append(writes, shard.Write{Key: c.arg(i), Value: value})
	}
	c.shard.SetAll(writes)
	c.replies.OK()
}

func npGet(c *call) {
	var withAttrs, ifNewer bool
	var than shard.Version
	for i := 2; i < len(c.args); i++ {
		switch option := upper(string(c.arg(i))); {
		case option == "WITHATTRS" && !withAttrs:
			withAttrs = true
		case option == "IFNEWER" && !ifNewer && i+1 < len(c.args):
			i++
			var err error
			if than, err = shard.ParseVersion(string(c.arg(i))); err != nil {
				c.replies.Error(err)
				return
			}
			ifNewer = true
		default:
			c.replies.Error(errSyntax)
			return
		}
	}
	entry := c.shard.Get(c.arg(1), c.touch())
	if entry == nil {
		c.replies.Null()
		return
	}
	defer entry.Release()
	switch {
	case ifNewer && !entry.Version.After(than):
		c.replies.Simple("NOTMODIFIED")
	case withAttrs:
		c.writeWhole(entry)
	default:
		c.replies.Buffer(entry.NPY)
	}
}

// writeWhole writes npy, attrs, version, crc32c, parts.
func (c *call) writeWhole(e *shard.Entry) {
	w := &c.replies
	w.Array(5)
	w.Buffer(e.NPY)
	c.writeAttrs(e)
	w.Text(e.Version.String())
	w.Int(int64(e.CRC))
	w.Array(2 * len(e.Parts))
	for _, p := range e.Parts {
		w.Text(p.Name)
		w.Buffer(p.Data)
	}
}

func (c *call) writeAttrs(e *shard.Entry) {
	if len(e.Attrs) == 0 {
		c.replies.Null()
		return
	}
	c.replies.Bulk(e.Attrs)
}

func npMGet(c *call) {
	entries := c.shard.GetAll(c.keys(), c.touch())
	c.replies.Array(len(entries))
	for _, e := range entries {
		if e == nil {
			c.replies.Null()
			continue
		}
		c.replies.Buffer(e.NPY)
		e.Release()
	}
}

func npShape(c *call) {
	c.withEntry(func(e *shard.Entry) { c.writeShape(e.Header.Shape) })
}

func npDtype(c *call) {
	c.withEntry(func(e *shard.Entry) { c.replies.Text(e.Header.Descr) })
}

func npSlice(c *call) {
	c.withEntry(func(e *shard.Entry) {
		part, err := e.Header.Slice(string(c.arg(2)))
		if err != nil {
			c.replies.Error(err)
			return
		}
		var npy *memory.Buffer
		part.Copy(e.NPY.Bytes(), func(n int) []byte {
			npy = c.server.pool.New(n)
			return npy.Bytes()
		})
		c.replies.Buffer(npy)
		npy.Release()
	})
}

func npVerify(c *call) {
	c.withEntry(func(e *shard.Entry) {
		if err := e.Verify(); err != nil {
			c.server.log.Error("a stored value is corrupt", "key", string(c.arg(1)), "version", e.Version, "err", err)
			c.replies.Error(err)
			return
		}
		c.replies.OK()
	})
}

func npMeta(c *call) {
	c.withEntry(func(e *shard.Entry) {
		w := &c.replies
		pttl := int64(shard.NoDeadline)
		if e.ExpireAt != 0 {
			pttl = max(0, e.ExpireAt-c.server.store.Now())
		}
		w.Map(13)
		w.Text("shape")
		c.writeShape(e.Header.Shape)
		w.Text("dtype")
		w.Text(e.Header.Descr)
		w.Text("fortran_order")
		w.Bool(e.Header.Fortran)
		for _, number := range []struct {
			name  string
			value int64
		}{
			{"itemsize", e.Header.ItemSize},
			{"size", e.Header.Size()},
			{"nbytes", e.Header.DataBytes()},
			{"npy_bytes", int64(e.NPY.Len())},
			{"data_offset", e.Header.DataOffset},
			{"crc32c", int64(e.CRC)},
			{"pttl", pttl},
		} {
			w.Text(number.name)
			w.Int(number.value)
		}
		w.Text("version")
		w.Text(e.Version.String())
		w.Text("attrs")
		c.writeAttrs(e)
		w.Text("parts")
		w.Array(2 * len(e.Parts))
		for _, p := range e.Parts {
			w.Text(p.Name)
			w.Int(int64(p.Data.Len()))
		}
	})
}

// withEntry calls write with the entry of the only key, or writes null.
func (c *call) withEntry(write func(*shard.Entry)) {
	entry := c.shard.Get(c.arg(1), c.touch())
	if entry == nil {
		c.replies.Null()
		return
	}
	defer entry.Release()
	write(entry)
}

func (c *call) writeShape(shape []int64) {
	c.replies.Array(len(shape))
	for _, n := range shape {
		c.replies.Int(n)
	}
}
