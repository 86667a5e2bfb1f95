package screen

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"hash/crc32"
	"io"
	"log"
	"log/slog"
	"net"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// f is a field and its value: an int, a string, a bool, or raw for literal bytes.
type f struct {
	name  string
	value any
}

type raw string

// packed returns a map in MessagePack.
func packed(fields ...f) []byte {
	b := []byte{0x80 | byte(len(fields))}
	for _, field := range fields {
		b = value(value(b, field.name), field.value)
	}
	return b
}

func value(b []byte, v any) []byte {
	switch v := v.(type) {
	case raw:
		return append(b, v...)
	case bool:
		if v {
			return append(b, 0xc3)
		}
		return append(b, 0xc2)
	case int:
		if v >= 0 && v < 0x80 {
			return append(b, byte(v))
		}
		return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(v))
	case string:
		if len(v) < 32 {
			return append(append(b, 0xa0|byte(len(v))), v...)
		}
		return append(binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(len(v))), v...)
	}
	panic("no such value")
}

func typed(kind byte, body ...[]byte) []byte { return append([]byte{kind}, bytes.Join(body, nil)...) }

// compressed returns a message as memberlist compresses it.
func compressed(b []byte) []byte {
	var buf bytes.Buffer
	w := lzw.NewWriter(&buf, lzw.LSB, 8)
	w.Write(b)
	w.Close()
	return typed(typeCompressed, packed(f{"Algo", 0}, f{"Buf", buf.String()}))
}

func compound(messages ...[]byte) []byte {
	b := []byte{typeCompound, byte(len(messages))}
	for _, m := range messages {
		b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
	}
	return append(b, bytes.Join(messages, nil)...)
}

func summed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{typeCRC}, crc32.ChecksumIEEE(b)), b...)
}

const goodVersions = "\x01\x05\x02\x00\x00\x00"

func alive(name, vsn string) []byte {
	return typed(typeAlive, packed(f{"Incarnation", 1}, f{"Node", name}, f{"Addr", "\x7f\x00\x00\x01"}, f{"Port", 9}, f{"Meta", ""}, f{"Vsn", vsn}))
}

func pushPull(nodes int, user int, join bool, members ...[]byte) []byte {
	return typed(typePushPull, packed(f{"Nodes", nodes}, f{"UserStateLen", user}, f{"Join", join}), bytes.Join(members, nil))
}

func memberOf(name, vsn string) []byte {
	return packed(f{"Name", name}, f{"Addr", "\x7f\x00\x00\x01"}, f{"Port", 9}, f{"Meta", ""}, f{"Incarnation", 1}, f{"State", 0}, f{"Vsn", vsn})
}

// bomb returns a compressed message that is large once decompressed.
func bomb(size int) []byte { return compressed(append([]byte{typeUser}, make([]byte, size)...)) }

// wire is a network on which only the test sends.
type wire struct {
	packets chan *memberlist.Packet
	streams chan net.Conn
	sent    chan []byte // datagrams of memberlist; dropped when full
	dial    func() (net.Conn, error)
}

func newWire() *wire {
	return &wire{packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), sent: make(chan []byte, 100), dial: func() (net.Conn, error) { return nil, io.EOF }}
}

func (w *wire) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IPv4(127, 0, 0, 1).To4(), 7946, nil
}
func (w *wire) WriteToAddress(b []byte, _ memberlist.Address) (time.Time, error) {
	select {
	case w.sent <- bytes.Clone(b):
	default:
	}
	return time.Now(), nil
}
func (w *wire) WriteTo(b []byte, addr string) (time.Time, error) {
	return w.WriteToAddress(b, memberlist.Address{Addr: addr})
}
func (w *wire) PacketCh() <-chan *memberlist.Packet { return w.packets }
func (w *wire) StreamCh() <-chan net.Conn           { return w.streams }
func (w *wire) DialTimeout(string, time.Duration) (net.Conn, error) {
	return w.dial()
}
func (w *wire) DialAddressTimeout(memberlist.Address, time.Duration) (net.Conn, error) {
	return w.dial()
}
func (w *wire) GetAutoBindPort() int { return 7946 }
func (w *wire) Shutdown() error      { return nil }

func options(secret bool) Options {
	return Options{Secret: secret, Logger: log.New(io.Discard, "", 0), Log: slog.New(slog.DiscardHandler), Refused: new(atomic.Int64)}
}

// admitAll is a delegate that admits all nodes. Package cluster has a delegate too.
type admitAll struct{}

func (admitAll) NotifyAlive(*memberlist.Node) error   { return nil }
func (admitAll) NotifyMerge([]*memberlist.Node) error { return nil }

// start runs a memberlist on a transport.
func start(t testing.TB, name string, transport memberlist.Transport, key []byte, options ...func(*memberlist.Config)) *memberlist.Memberlist {
	t.Helper()
	c := memberlist.DefaultLANConfig()
	c.Name, c.Transport, c.SecretKey = name, transport, key
	c.Logger = log.New(io.Discard, "", 0)
	c.TCPTimeout = 2 * time.Second
	c.Alive, c.Merge = admitAll{}, admitAll{}
	if own, ok := transport.(*Transport); ok {
		c.BindPort, c.AdvertisePort = own.Port(), own.Port()
		c.BindAddr, c.AdvertiseAddr = "127.0.0.1", "127.0.0.1"
	}
	for _, option := range options {
		option(c)
	}
	list, err := memberlist.Create(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Shutdown() })
	return list
}

// allocated returns how many bytes this process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
