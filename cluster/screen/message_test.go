package screen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

var bad = []struct {
	name  string
	bytes []byte
}{
	{"a user message of 2^62 bytes", typed(typeUser, packed(f{"UserMsgLen", 1 << 62}))},
	{"a user message of 2^36 bytes", typed(typeUser, packed(f{"UserMsgLen", 1 << 36}))},
	{"a user message", typed(typeUser, packed(f{"UserMsgLen", 1}), []byte("x"))},
	{"a member with one version", pushPull(1, 0, true, memberOf("a", "\x01"))},
	{"a member without versions", pushPull(1, 0, true, memberOf("a", ""))},
	{"a member whose versions exclude all others", pushPull(1, 0, true, memberOf("a", "\x09\x05\x02\x00\x00\x00"))},
	{"a compressed member with one version", compressed(pushPull(1, 0, true, memberOf("a", "\x01")))},
	{"2^62 members", pushPull(1<<62, 0, true)},
	{"a million members", pushPull(1<<20, 0, true)},
	{"fewer members than it says", pushPull(2, 0, true, memberOf("a", goodVersions))},
	{"a negative count of members", pushPull(-1, 0, true)},
	{"a state of the user", pushPull(0, 1<<62, true)},
	{"700 MiB in a few bytes", bomb(16 << 20)},
	{"compressed twice", compressed(compressed(pushPull(0, 0, true)))},
	{"nothing, compressed", compressed(nil)},
	{"bytes that are no LZW", typed(typeCompressed, packed(f{"Algo", 0}, f{"Buf", "\xff\xff\xff\xff\xff"}))},
	{"another compression", typed(typeCompressed, packed(f{"Algo", 1}, f{"Buf", "x"}))},
	{"4 GiB of compressed bytes that never come", typed(typeCompressed, packed(f{"Algo", 0}, f{"Buf", raw("\xdb\xff\xff\xff\xff")}))},
	{"encrypted without a key", typed(typeEncrypted, []byte{0, 0, 0, 1, 0})},
	{"a label", []byte{244, 1, 'x', typePing}},
	{"an extension instead of a text", typed(typePing, packed(f{"SeqNo", 1}, f{"Node", raw("\xc9\xff\xff\xff\xff\x01")}))},
	{"a nested map instead of a number", typed(typePing, packed(f{"SeqNo", raw("\x81\xa1a\x81\xa1a\x01")}, f{"Node", "a"}))},
	{"a field twice", typed(typePing, packed(f{"SeqNo", 1}, f{"Node", "a"}, f{"Node", "a"}))},
	{"an unknown field", typed(typePing, packed(f{"SeqNo", 1}, f{"Node", "a"}, f{"More", "a"}))},
	{"a missing field", typed(typePing, packed(f{"Node", "a"}))},
	{"a name without an end", typed(typePing, packed(f{"SeqNo", 1}, f{"Node", strings.Repeat("n", maxName+1)}))},
	{"a map of 2^32 fields", typed(typePing, []byte("\xdf\xff\xff\xff\xff"))},
	{"a list", typed(typePing, []byte("\x92\x01\xa1a"))},
	{"a type that does not exist", typed(99, packed())},
	{"half a message", typed(typePing, packed(f{"SeqNo", 1}, f{"Node", "a"}))[:6]},
}

// Anything but a message of a node is refused, as a stream and as a datagram, and allocates little memory.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range bad {
		for where, screen := range map[string]func([]byte) error{
			"datagram": func(b []byte) error { _, err := datagram(b); return err },
			"part":     func(b []byte) error { _, err := datagram(compound(b[:min(len(b), 65535)])); return err },
			"request":  func(b []byte) error { _, _, err := fromStream(bytes.NewReader(b), inRequests); return err },
			"reply":    func(b []byte) error { _, _, err := fromStream(bytes.NewReader(b), inReplies); return err },
		} {
			if err := screen(tc.bytes); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s, by %s: %v", tc.name, where, err)
			}
		}
	}
	member := alive("a", goodVersions)
	for name, b := range map[string][]byte{
		"nothing":                        nil,
		"a state":                        pushPull(0, 0, false),
		"a long datagram":                compound(slices.Repeat([][]byte{member}, 200)...),
		"much in a short datagram":       compressed(compound(slices.Repeat([][]byte{member}, 200)...)),
		"a message and more":             append(bytes.Clone(member), 1),
		"more behind the parts":          append(compound(member), 1),
		"a part that is longer than all": append([]byte{typeCompound, 1, 0xff, 0xff}, member...),
		"parts that are missing":         {typeCompound, 255, 0},
		"compound within compound":       compound(compound(member)),
		"compressed within compound":     compound(compressed(member)),
		"a wrong checksum":               append([]byte{typeCRC, 1, 2, 3, 4}, member...),
		"a checksum within a checksum":   summed(summed(member)),
		"an odd address":                 typed(typeAlive, packed(f{"Incarnation", 1}, f{"Node", "a"}, f{"Addr", "abc"}, f{"Port", 9}, f{"Meta", ""}, f{"Vsn", goodVersions})),
	} {
		if _, err := datagram(b); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	for name, b := range map[string][]byte{
		"a plain one":         pushPull(0, 0, false),
		"4 GiB":               {typeEncrypted, 0xff, 0xff, 0xff, 0xff, 1},
		"one that never ends": {typeEncrypted, 0, 0, 1, 0, 1},
	} {
		if _, err := encrypted(bytes.NewReader(b)); err == nil {
			t.Errorf("%s passes although messages are encrypted", name)
		}
	}
}

// Messages of nodes pass, decompressed for memberlist.
func TestPasses(t *testing.T) {
	t.Parallel()
	members := [][]byte{memberOf("a", goodVersions), memberOf("b", goodVersions)}
	state := pushPull(2, 0, true, members...)
	for _, b := range [][]byte{state, compressed(state)} {
		stream := bytes.NewReader(append(bytes.Clone(b), "what follows"...))
		if got, names, err := fromStream(stream, inRequests); err != nil || !bytes.Equal(got, state) || !slices.Equal(names, []string{"a", "b"}) {
			t.Errorf("%q: %q of %q, %v", b, got, names, err)
		}
		if got, _, err := fromStream(bytes.NewReader(b), inReplies); err != nil || !bytes.Equal(got, state) {
			t.Errorf("%q: %q, %v", b, got, err)
		}
	}
	ping := typed(typePing, packed(f{"SeqNo", 1 << 31}, f{"Node", "a"}, f{"SourceAddr", "\x7f\x00\x00\x01"}, f{"SourcePort", 65535}, f{"SourceNode", "b"}))
	ack := typed(typeAck, packed(f{"SeqNo", 7}, f{"Payload", raw("\xc0")}))
	both := compound(ping, alive("a", goodVersions), ack)
	for _, tc := range []struct{ sent, want []byte }{
		{ping, ping}, {ack, ack}, {both, both}, {compressed(both), both}, {summed(both), both}, {summed(compressed(ping)), ping},
	} {
		if got, err := datagram(tc.sent); err != nil || !bytes.Equal(got.messages, tc.want) {
			t.Errorf("%q: %q, %v", tc.sent, got.messages, err)
		}
	}
	if got, _ := datagram(compound(alive("a", goodVersions), ping, ack)); got.cost != 3 || !slices.Equal(got.members, []string{"a"}) {
		t.Errorf("three messages cost %d and name %q", got.cost, got.members)
	}
	sealed := append(binary.BigEndian.AppendUint32([]byte{typeEncrypted}, 5), "12345"...)
	if got, err := encrypted(bytes.NewReader(append(bytes.Clone(sealed), "more"...))); err != nil || !bytes.Equal(got, sealed) {
		t.Errorf("%q: %q, %v", sealed, got, err)
	}
}

// Allocations depend on the bytes that have arrived, not on announced lengths.
func TestAllocations(t *testing.T) {
	for _, tc := range bad {
		before := allocated()
		fromStream(bytes.NewReader(tc.bytes), inRequests)
		datagram(tc.bytes)
		if used := allocated() - before; used > 1<<20 {
			t.Errorf("%s allocates %d bytes", tc.name, used)
		}
	}
}
