package protocol

import (
	"fmt"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

func npSet(c *call, k *keyAccess) {
	options, err := parseSetOptions(c.args, k.shard.Now())
	if err != nil {
		c.replies.Error(err)
		return
	}
	value, err := k.value(&c.args[2])
	if err != nil {
		c.replies.Error(err)
		return
	}
	value.Attrs = options.attrs
	for _, i := range options.parts {
		value.Parts = append(value.Parts, shard.Part{Name: string(c.arg(i)), Data: c.args[i+1].Take(k.pool)})
	}
	value.CRC = value.Checksum(value.CRC)
	if err := k.checkValue(&value, options); err != nil {
		value.Release()
		c.replies.Error(err)
		return
	}
	result, err := k.shard.Set(shard.Write{
		Key: c.arg(1), Value: value,
		Condition: options.condition, IfVersion: options.ifVersion,
		Expiry: options.expiry, RequestID: options.requestID, Concern: options.concern,
	})
	switch {
	case err != nil:
		c.replies.Error(err)
	case !result.Done:
		c.replies.Null()
	case options.withVersion:
		c.replies.Text(result.Version.String())
	default:
		c.replies.OK()
	}
}

// value returns an argument as a value without attrs and parts. Its CRC covers the .npy only.
func (k *keyAccess) value(a *resp.Arg) (shard.Value, error) {
	npy := a.Bytes()
	if err := k.header.check(npy, k.maxArrayBytes); err != nil {
		return shard.Value{}, err
	}
	value := shard.Value{NPY: npy, CRC: a.CRC()}
	if value.Buffer = a.Retain(); value.Buffer == nil { // a large argument has its frame
		value.Before, value.After = resp.BulkFrame(len(npy))
	}
	return value, nil
}

func (k *keyAccess) checkValue(v *shard.Value, options setOptions) error {
	if err := v.CheckExtras(); err != nil {
		return err
	}
	for _, p := range v.Parts {
		if int64(p.Data.Len()) > k.maxArrayBytes {
			return errPartTooLarge(p.Name, p.Data.Len(), k.maxArrayBytes)
		}
	}
	if options.hasCRC && options.crc != v.CRC {
		return errArrivedCorrupt(options.crc, v.CRC)
	}
	return nil
}

func npMSet(c *call, k *keyAccess) {
	if len(c.args)%2 == 0 {
		c.replies.Error(c.row.ArityError())
		return
	}
	writes := make([]shard.Write, 0, len(c.args)/2)
	for i := 1; i < len(c.args); i += 2 {
		value, err := k.value(&c.args[i+1])
		if err != nil {
			for _, w := range writes {
				w.Value.Release()
			}
			c.replies.Error(errOfKey(c.arg(i), err))
			return
		}
		writes = append(writes, shard.Write{Key: c.arg(i), Value: value})
	}
	if err := k.shard.SetAll(writes); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

func npGet(c *call, k *keyAccess) {
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
	entry := k.shard.Get(c.arg(1), k.touch)
	if entry == nil {
		c.replies.Null()
		return
	}
	defer entry.Release()
	switch {
	case ifNewer && !entry.Version().After(than):
		c.replies.Simple("NOTMODIFIED")
	case withAttrs:
		c.writeWhole(entry)
	default:
		c.writeNPY(entry)
	}
}

// writeWhole writes npy, attrs, version, crc32c, parts.
func (c *call) writeWhole(e *shard.Entry) {
	w := c.replies
	w.Array(5)
	c.writeNPY(e)
	c.writeAttrs(e)
	w.Text(e.Version().String())
	w.Int(int64(e.CRC()))
	parts := e.Parts()
	w.Array(2 * len(parts))
	for _, p := range parts {
		w.Text(p.Name)
		w.Buffer(p.Data)
	}
}

// writeNPY writes the .npy file of an entry as a bulk string. The caller keeps its own reference.
func (c *call) writeNPY(e *shard.Entry) {
	if e.NPYBytes() < resp.ByReference {
		c.replies.Bulk(e.NPY())
		return
	}
	c.replies.Framed(e.RetainFramed())
}

func (c *call) writeAttrs(e *shard.Entry) {
	if len(e.Attrs()) == 0 {
		c.replies.Null()
		return
	}
	c.replies.Bulk(e.Attrs())
}

func npMGet(c *call, k *keyAccess) {
	entries := k.shard.GetAll(c.keys, k.touch)
	c.replies.Array(len(entries))
	for _, e := range entries {
		if e == nil {
			c.replies.Null()
			continue
		}
		c.writeNPY(e)
		e.Release()
	}
}

func npShape(c *call, k *keyAccess) {
	c.withHeader(k, func(_ *shard.Entry, h *array.Header) { c.writeShape(h.Shape) })
}

func npDtype(c *call, k *keyAccess) {
	c.withHeader(k, func(_ *shard.Entry, h *array.Header) { c.replies.Text(h.Descr) })
}

func npSlice(c *call, k *keyAccess) {
	c.writePart(k, 3, func(h *array.Header) (part, error) { return h.Slice(string(c.arg(2))) })
}

func npTake(c *call, k *keyAccess) {
	c.writePart(k, 4, func(h *array.Header) (part, error) {
		return h.Take(string(c.arg(2)), string(c.arg(3)), k.maxArrayBytes)
	})
}

// part is a part of an array, which becomes an array of its own.
type part interface {
	Copy(npy []byte, allocate func(bytes int) []byte)
}

// writePart writes the part of an array that find chooses: its .npy file or, if the argument at options is WITHATTRS, also attrs and
// version of the whole array.
func (c *call) writePart(k *keyAccess, options int, find func(*array.Header) (part, error)) {
	withAttrs := len(c.args) > options
	if withAttrs && (len(c.args) > options+1 || upper(string(c.arg(options))) != "WITHATTRS") {
		c.replies.Error(errSyntax)
		return
	}
	c.withHeader(k, func(e *shard.Entry, h *array.Header) {
		found, err := find(h)
		if err != nil {
			c.replies.Error(err)
			return
		}
		var npy *memory.Buffer
		var copied *resp.Copied
		defer func() {
			if copied != nil { // there was no memory for it, which ends the connection
				copied.Release()
			}
		}()
		found.Copy(e.NPY(), func(n int) []byte {
			if copied = k.outputs.Copied(int64(n)); copied == nil {
				return nil
			}
			npy = k.pool.New(n)
			copied.Ref = npy
			return npy.Bytes()
		})
		if copied == nil {
			c.replies.Error(resp.ErrCopies)
			return
		}
		if withAttrs {
			c.replies.Array(3)
		}
		c.replies.Copy(npy, copied)
		copied = nil
		if withAttrs {
			c.writeAttrs(e)
			c.replies.Text(e.Version().String())
		}
	})
}

func npVerify(c *call, k *keyAccess) {
	c.withEntry(k, func(e *shard.Entry) {
		if err := e.Verify(); err != nil {
			k.log.Error("stored value is corrupt", "key", string(c.arg(1)), "version", e.Version(), "err", err)
			c.replies.Error(err)
			return
		}
		c.replies.OK()
	})
}

func npMeta(c *call, k *keyAccess) {
	c.withHeader(k, func(e *shard.Entry, h *array.Header) {
		w := c.replies
		pttl := int64(shard.NoDeadline)
		if at := e.ExpireAt(); at != 0 {
			pttl = max(0, at-k.shard.Now())
		}
		w.Map(13)
		w.Text("shape")
		c.writeShape(h.Shape)
		w.Text("dtype")
		w.Text(h.Descr)
		w.Text("fortran_order")
		w.Bool(h.Fortran)
		for _, number := range []struct {
			name  string
			value int64
		}{
			{"itemsize", h.ItemSize},
			{"size", h.Size()},
			{"nbytes", h.DataBytes()},
			{"npy_bytes", int64(e.NPYBytes())},
			{"data_offset", h.DataOffset},
			{"crc32c", int64(e.CRC())},
			{"pttl", pttl},
		} {
			w.Text(number.name)
			w.Int(number.value)
		}
		w.Text("version")
		w.Text(e.Version().String())
		w.Text("attrs")
		c.writeAttrs(e)
		w.Text("parts")
		parts := e.Parts()
		w.Array(2 * len(parts))
		for _, p := range parts {
			w.Text(p.Name)
			w.Int(int64(p.Data.Len()))
		}
	})
}

// withEntry calls write with the entry of the key, or writes null.
func (c *call) withEntry(k *keyAccess, write func(*shard.Entry)) {
	entry := k.shard.Get(c.arg(1), k.touch)
	if entry == nil {
		c.replies.Null()
		return
	}
	defer entry.Release()
	write(entry)
}

// withHeader is withEntry with the entry's parsed header.
func (c *call) withHeader(k *keyAccess, write func(*shard.Entry, *array.Header)) {
	c.withEntry(k, func(e *shard.Entry) {
		h, err := e.Header()
		if err != nil { // it was valid when it was stored
			c.replies.Error(fmt.Errorf("%w: %w", shard.ErrCorrupt, err))
			return
		}
		write(e, h)
	})
}

func (c *call) writeShape(shape []int64) {
	c.replies.Array(len(shape))
	for _, n := range shape {
		c.replies.Int(n)
	}
}
