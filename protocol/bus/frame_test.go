package bus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ndring/ndring/internal/crc32c"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes of a frame, which docs and other versions rely on.
func TestGoldenFrame(t *testing.T) {
	t.Parallel()
	f := Frame{Type: 7, Flags: 3, Shard: 255, Epoch: 0x0102030405060708, Request: 42, Payload: []byte("ndring")}
	golden := unhex(t, `
		d1b5 07 03 ff000000 0807060504030201 2a00000000000000 06000000 669e07cc
		6e6472696e67`)
	if got := AppendFrame([]byte("before"), f); !bytes.Equal(got[6:], golden) {
		t.Errorf("AppendFrame:\n%x\n%x", got[6:], golden)
	}
	if got := appendParts(nil, f, []byte("nd"), nil, []byte("ring")); !bytes.Equal(got, golden) {
		t.Errorf("in parts:\n%x", got)
	}
	var out bytes.Buffer
	if err := WriteFrame(&out, f); err != nil || !bytes.Equal(out.Bytes(), golden) {
		t.Errorf("WriteFrame: %v\n%x", err, out.Bytes())
	}
	got, err := ReadFrame(bytes.NewReader(golden), nil, 6)
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("ReadFrame: %+v, %v", got, err)
	}
}

func TestFramesOfAllSizes(t *testing.T) {
	t.Parallel()
	buf := make([]byte, 0, 100)
	for _, size := range []int{0, 1, 99, 100, 101, firstStep - 1, firstStep, firstStep + 1, 2*firstStep + 1, 5*firstStep + 3} {
		f := Frame{Type: 1, Request: uint64(size), Payload: bytes.Repeat([]byte{byte(size), 1}, size)[:size]}
		var stream bytes.Buffer
		for range 2 {
			if err := WriteFrame(&stream, f); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			got, err := ReadFrame(iotest.HalfReader(&stream), buf, size)
			if err != nil || !bytes.Equal(got.Payload, f.Payload) || got.Request != f.Request {
				t.Errorf("%d bytes: %v", size, err)
			}
			if size > 0 && size <= cap(buf) && &got.Payload[0] != &buf[:1][0] {
				t.Errorf("%d bytes are not in the buffer", size)
			}
			if cap(got.Payload) > max(2*size, firstStep, cap(buf)) {
				t.Errorf("%d bytes are in a buffer of %d", size, cap(got.Payload))
			}
		}
		if _, err := ReadFrame(&stream, buf, size); err != io.EOF {
			t.Errorf("after the last frame: %v", err)
		}
	}
}

func TestDamagedFrames(t *testing.T) {
	t.Parallel()
	good := AppendFrame(nil, Frame{Type: 7, Flags: 1, Shard: 2, Epoch: 3, Request: 4, Payload: []byte("payload")})
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			_, err := ReadFrame(bytes.NewReader(bad), nil, 1000)
			if !errors.Is(err, ErrFrame) && !errors.Is(err, ErrTooLarge) && err != io.ErrUnexpectedEOF {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
		}
		want := io.ErrUnexpectedEOF
		if i == 0 {
			want = io.EOF
		}
		if _, err := ReadFrame(bytes.NewReader(good[:i]), nil, 1000); err != want {
			t.Errorf("%d bytes of it: %v", i, err)
		}
	}
	if _, err := ReadFrame(bytes.NewReader(good), nil, 6); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
}

// Not parallel, because it measures all allocations of the process.
func TestAnnouncedBytesTakeNoMemory(t *testing.T) {
	f := Frame{Type: 1}
	h := f.header()
	binary.LittleEndian.PutUint32(h[24:], 1<<30)
	binary.LittleEndian.PutUint32(h[crcAt:], crc32c.Checksum(h[:crcAt]))
	allocated := allocating(func() {
		if _, err := ReadFrame(io.MultiReader(bytes.NewReader(h[:]), strings.NewReader("a little")), nil, 1<<30); err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
	})
	if allocated > 1<<20 {
		t.Errorf("allocated %d bytes for a frame that never arrived", allocated)
	}
}

// allocating returns how many bytes f allocates.
func allocating(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestWriteFrameToTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer conn.Close()
		WriteFrame(conn, Frame{Type: 9, Payload: make([]byte, 1<<20)})
	}()
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if f, err := ReadFrame(other, nil, 1<<20); err != nil || f.Type != 9 || len(f.Payload) != 1<<20 {
		t.Errorf("type %d, %d bytes: %v", f.Type, len(f.Payload), err)
	}
}
