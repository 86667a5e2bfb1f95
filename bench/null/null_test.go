package null

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/ndring/ndring/bench/npy"
)

func TestRepliesWithoutStoring(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go Serve(l) // until the listener closes
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	file := npy.Float32(1 << 20)
	for _, set := range []string{"SET", "NP.SET"} {
		go fmt.Fprintf(c, "*3\r\n$%d\r\n%s\r\n$1\r\nk\r\n$%d\r\n%s\r\n", len(set), set, len(file), file)
		if line, err := r.ReadString('\n'); line != "+OK\r\n" {
			t.Fatalf("%s: %q, %v", set, line, err)
		}
	}
	key := fmt.Sprintf("k:%d:1", len(file))
	fmt.Fprintf(c, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n*3\r\n$6\r\nNP.GET\r\n$%d\r\n%s\r\n$9\r\nWITHATTRS\r\n*1\r\n$4\r\nPING\r\n", len(key), key, len(key), key)
	bulk := fmt.Sprintf("$%d\r\n%s\r\n", len(file), file)
	got := make([]byte, 2*len(bulk)+4)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != bulk+"*5\r\n"+bulk {
		t.Error("the arrays are wrong")
	}
	rest := ""
	for !strings.Contains(rest, "PONG") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		rest += line
	}
	if !strings.HasPrefix(rest, "$-1\r\n$3\r\n1-1\r\n:") || !strings.HasSuffix(rest, "*0\r\n+PONG\r\n") {
		t.Errorf("after the array: %q", rest)
	}
}
