package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt trusts its file: it maps the file into memory, follows page numbers, and panics at
// malformed pages, in its own goroutines too; a file that is shorter than it was ends the process
// with a bus error. So this reads the file before bbolt opens it, page by page, as bbolt's Tx.Check
// would. Pages have no checksums, so it finds only a broken structure; checkLog reads the entries
// of the log.
//
// The layout is defined in go.etcd.io/bbolt/internal/common: two meta pages, then a tree of branch
// and leaf pages. Numbers are in the byte order of the machine.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltHeader     = 16 // bytes before a page's content, and bytes of each element
	boltBucket     = 16 // bytes before a bucket's inline page
	boltBranch     = 0x01
	boltLeaf       = 0x02
	boltFreelist   = 0x10
	boltNoFreelist = ^uint64(0)
	maxBoltPage    = 64 << 10
	maxBoltRun     = 1 << 30 // bytes of a page with its overflow pages
)

var errBolt = errors.New("the file is damaged")

func boltDamage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBolt, fmt.Sprintf(format, args...))
}

// boltFile is a bbolt file under check.
type boltFile struct {
	io.ReaderAt
	size     int64
	pageSize int64
	pages    uint64          // in the file, used or free
	seen     map[uint64]bool // pages that another page refers to
}

// boltMeta is a meta page.
type boltMeta struct{ pageSize, root, freelist, pages, txid uint64 }

// checkBolt returns an error if bbolt could not read a file that is not empty.
func checkBolt(r io.ReaderAt, size int64) error {
	f := &boltFile{ReaderAt: r, size: size, seen: map[uint64]bool{}}
	first, err := f.meta(0)
	if err != nil {
		return err
	}
	f.pageSize = int64(first.pageSize)
	second, err := f.meta(f.pageSize)
	switch {
	case err != nil: // bbolt would use the other one, without the last change
		return err
	case second.pageSize != first.pageSize || first.txid != second.txid+1 && second.txid != first.txid+1: // bbolt writes them alternately
		return boltDamage("its meta pages are of transactions %d and %d, which do not follow each other", first.txid, second.txid)
	case second.txid > first.txid:
		first = second
	}
	f.pages = first.pages
	if f.pages < 2 || f.pages > uint64(size)/first.pageSize {
		return boltDamage("%d bytes are too few for %d pages of %d", size, f.pages, f.pageSize)
	}
	if first.freelist != boltNoFreelist {
		if err := f.freelist(first.freelist); err != nil {
			return err
		}
	}
	return f.tree(first.root, nil, nil)
}

// meta reads the meta page at an offset.
func (f *boltFile) meta(at int64) (m boltMeta, err error) {
	var b [boltHeader + 64]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return m, boltDamage("page %d cannot be read: %v", at/max(f.pageSize, 1), err)
	}
	body, e := b[boltHeader:], binary.NativeEndian
	sum := fnv.New64a()
	sum.Write(body[:56])
	if e.Uint64(b[:]) != uint64(at/max(f.pageSize, 1)) || e.Uint32(body) != boltMagic || e.Uint32(body[4:]) != boltVersion || e.Uint64(body[56:]) != sum.Sum64() {
		return m, boltDamage("no valid meta page at byte %d", at)
	}
	m = boltMeta{
		pageSize: uint64(e.Uint32(body[8:])), root: e.Uint64(body[16:]), freelist: e.Uint64(body[32:]), pages: e.Uint64(body[40:]), txid: e.Uint64(body[48:]),
	}
	if m.pageSize < 1024 || m.pageSize > maxBoltPage || m.pageSize&(m.pageSize-1) != 0 {
		return m, boltDamage("a page size of %d bytes", m.pageSize)
	}
	return m, nil
}

// page reads a page with its overflow pages. Each page may be referred to once.
func (f *boltFile) page(id uint64) ([]byte, error) {
	if id < 2 || id >= f.pages {
		return nil, boltDamage("reference to page %d of %d", id, f.pages)
	}
	var head [boltHeader]byte
	if _, err := f.ReadAt(head[:], int64(id)*f.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	run := 1 + uint64(binary.NativeEndian.Uint32(head[12:]))
	if binary.NativeEndian.Uint64(head[:]) != id || run > f.pages-id || int64(run)*f.pageSize > maxBoltRun {
		return nil, boltDamage("page %d has a wrong number or length", id)
	}
	for i := range run {
		if f.seen[id+i] {
			return nil, boltDamage("two references to page %d", id+i)
		}
		f.seen[id+i] = true
	}
	b := make([]byte, int64(run)*f.pageSize)
	if _, err := f.ReadAt(b, int64(id)*f.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return b, nil
}

func (f *boltFile) freelist(id uint64) error {
	b, err := f.page(id)
	if err != nil {
		return err
	}
	count := int(binary.NativeEndian.Uint16(b[10:]))
	if binary.NativeEndian.Uint16(b[8:]) != boltFreelist || count == 0xFFFF || boltHeader+8*count > len(b) {
		return boltDamage("page %d is not a valid free list", id)
	}
	return nil
}

// tree checks a page and the pages below it. Invariant: from <= key < to; nil means no bound.
func (f *boltFile) tree(id uint64, from, to []byte) error {
	b, err := f.page(id)
	if err != nil {
		return err
	}
	return f.node(b, id, from, to)
}

// node checks a branch or a leaf, which may be inline within a page.
func (f *boltFile) node(b []byte, id uint64, from, to []byte) error {
	e := binary.NativeEndian
	flags, count := e.Uint16(b[8:]), int(e.Uint16(b[10:]))
	if flags != boltBranch && flags != boltLeaf || boltHeader*(1+count) > len(b) || flags == boltBranch && count == 0 {
		return boltDamage("page %d has %d elements of kind %d", id, count, flags)
	}
	keys := make([][]byte, 0, count+1)
	for i := range count {
		at := boltHeader * (1 + i)
		element := b[at : at+boltHeader]
		position, keyLen, valueLen := e.Uint32(element[4:]), e.Uint32(element[8:]), e.Uint32(element[12:])
		if flags == boltBranch {
			position, keyLen, valueLen = e.Uint32(element), e.Uint32(element[4:]), 0
		}
		start := uint64(at) + uint64(position)
		end := start + uint64(keyLen) + uint64(valueLen)
		if keyLen == 0 || position < boltHeader || end > uint64(len(b)) {
			return boltDamage("page %d: element %d exceeds the page", id, i)
		}
		key := b[start : start+uint64(keyLen)]
		if i == 0 && bytes.Compare(key, from) < 0 || i > 0 && bytes.Compare(keys[i-1], key) >= 0 || to != nil && bytes.Compare(key, to) >= 0 {
			return boltDamage("page %d: keys are out of order", id)
		}
		keys = append(keys, key)
		if flags == boltLeaf {
			if err := f.bucket(element, b[start+uint64(keyLen):end], id); err != nil {
				return err
			}
		}
	}
	if flags == boltLeaf {
		return nil
	}
	keys = append(keys, to)
	for i := range count {
		if err := f.tree(e.Uint64(b[boltHeader*(1+i)+8:]), keys[i], keys[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// bucket checks an element of a leaf if it is a bucket.
func (f *boltFile) bucket(element, value []byte, id uint64) error {
	e := binary.NativeEndian
	switch {
	case e.Uint32(element) == 0: // a key and a value
		return nil
	case e.Uint32(element) != 1 || len(value) < boltBucket:
		return boltDamage("page %d has a malformed bucket", id)
	}
	if root := e.Uint64(value); root != 0 {
		return f.tree(root, nil, nil)
	}
	if len(value) < boltBucket+boltHeader || e.Uint16(value[boltBucket+8:]) != boltLeaf {
		return boltDamage("page %d has a bucket without a page", id)
	}
	return f.node(value[boltBucket:], id, nil, nil)
}
