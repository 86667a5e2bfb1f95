package node

import (
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
)

// streams are what a line of the conversation cannot express: several commands at once, commands
// without a reply, bytes that are not RESP. Each line is a command, unless the stream begins with
// raw: and is sent as it is.
var streams = []string{
	"CLIENT REPLY SKIP\nCLIENT REPLY ON\nPING a",
	"CLIENT REPLY OFF\nPING b\nCLIENT REPLY ON\nPING a",
	"CLIENT REPLY ON\nCLIENT REPLY SKIP\nPING b\nPING a",
	"CLIENT REPLY SKIP\nCLIENT REPLY SKIP\nPING b\nPING a",
	"CLIENT REPLY SKIP\nCLIENT REPLY what\nPING a",
	"CLIENT REPLY SKIP\nCLIENT REPLY\nPING a",
	"CLIENT REPLY SKIP\nCLIENT REPLY OFF\nPING b\nCLIENT REPLY ON\nPING a",
	"CLIENT REPLY SKIP\nNOSUCH\nPING a",
	"CLIENT REPLY OFF\nNOSUCH\nPING\nCLIENT REPLY on\nPING a",
	"CLIENT REPLY OFF\nPING b\nRESET\nPING a",
	"CLIENT REPLY SKIP\nRESET\nPING a",
	"CLIENT REPLY SKIP\nMULTI\nPING\nEXEC",
	"CLIENT REPLY OFF\nMULTI\nPING\nEXEC\nCLIENT REPLY ON",
	"PING a\nCLIENT REPLY SKIP\nQUIT",
	"QUIT\nPING",
	"MULTI\nQUIT",
	"MULTI\nRESET\nEXEC",
	"MULTI\nPING\nMULTI\nEXEC",
	"WATCH a\nMULTI\nWATCH b\nEXEC",
	"WATCH a\nRESET\nEXISTS a",
	"raw:PING\r\n",
	"raw:\r\n\r\nPING\r\n",
	"raw:*0\r\nPING\r\n",
	"raw:*-1\r\nPING\r\n",
	"raw:*-5\r\nPING\r\n",
	"raw:PING \"a b\"\r\n",
	"raw:PING 'a \\'b' \r\n",
	`raw:PING "\n\r\t\b\a\q\\\"\x41\xfF\xAg"` + "\r\n",
	`raw:PING '\n\x41\\'` + "\r\n",
	"raw:PING 'a\r\n",
	"raw:PING \"a\r\n",
	"raw:PING \"a\"b\r\n",
	"raw:ping\nping\n",
	"raw:*1\r\n:4\r\n",
	"raw:*1\r\nPING\r\n",
	"raw:*2\r\n$4\r\nECHO\r\n$-1\r\n",
	"raw:*2\r\n$4\r\nECHO\r\n$x\r\n",
	"raw:*x\r\n",
	"raw:*1\r\n$0\r\n\r\nPING\r\n",
	"raw:POST / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n",
	"raw:Host: x\r\nPING\r\n",
}

const lastWord = "the last word"

// hear sends a stream and a last command, and returns everything received up to the reply to that
// command, or the end of the connection.
func hear(t *testing.T, address, stream string) string {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	raw, isRaw := strings.CutPrefix(stream, "raw:")
	if !isRaw {
		raw = ""
		for _, line := range strings.Split(stream, "\n") {
			raw += resptest.Command(strings.Fields(line)...)
		}
	}
	if _, err := io.WriteString(nc, raw+resptest.Command("ECHO", lastWord)); err != nil {
		t.Fatal(err)
	}
	var heard []byte
	for buffer := make([]byte, 4096); !strings.HasSuffix(string(heard), lastWord+"\r\n"); {
		n, err := nc.Read(buffer)
		heard = append(heard, buffer[:n]...)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatalf("%q: %q, and then nothing", stream, heard)
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
			return string(heard) + "<end>"
		case err != nil:
			t.Fatal(err)
		}
	}
	return string(heard)
}

// more matches what ndring adds to Redis' text of a protocol error.
var more = regexp.MustCompile(`(Protocol error: [a-z ]+)[^\r]*`)

func testStreams(t *testing.T, redisAddress, ourAddress string) {
	for _, stream := range streams {
		theirs, ours := hear(t, redisAddress, stream), hear(t, ourAddress, stream)
		theirs, ours = more.ReplaceAllString(theirs, "$1"), more.ReplaceAllString(hint.ReplaceAllString(ours, ""), "$1")
		if theirs != ours {
			t.Errorf("%q\nRedis  %q\nndring %q", stream, theirs, ours)
		}
	}
}
