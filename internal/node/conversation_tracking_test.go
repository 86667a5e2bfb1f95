package node

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
)

// trackingScript is what both are asked about client-side caching. Each line says which connection asks: a and b are in RESP3, w
// writes. A line without a command takes one push. @ stores a value, as in testdata/conversation.txt.
const trackingScript = `
a CLIENT TRACKINGINFO
a CLIENT GETREDIR
a CLIENT TRACKING on PREFIX x
a CLIENT TRACKING on BCAST OPTIN
a CLIENT TRACKING on BCAST OPTOUT
a CLIENT TRACKING on OPTIN OPTOUT
a CLIENT TRACKING on BCAST PREFIX ab PREFIX c PREFIX a
a CLIENT TRACKING on BCAST PREFIX
a CLIENT TRACKING on
a CLIENT TRACKINGINFO
a CLIENT GETREDIR
a CLIENT CACHING yes
a CLIENT CACHING no
a CLIENT CACHING maybe
a CLIENT TRACKING on BCAST
a EXISTS k
w @ k
a
w @ k
a TTL k
w EXPIRE k 100
a
a EXISTS k
a @ k
a
a PERSIST k
a EXISTS k {k}2
w MULTI
w @ k
w DEL {k}2
w EXEC
a
a EXISTS k
w FLUSHALL
a
a EXISTS k
a MULTI
a EXISTS {k}2
a @ {k}2
a EXEC
a
a CLIENT TRACKING on NOLOOP
a CLIENT TRACKINGINFO
a EXISTS k
a @ k
a PING
a EXISTS k
w @ k
a
a CLIENT TRACKING off
a CLIENT TRACKINGINFO
a CLIENT TRACKING on OPTIN
a CLIENT CACHING no
a EXISTS {k}1
a CLIENT CACHING yes
a CLIENT TRACKINGINFO
a CLIENT ID
a CLIENT TRACKINGINFO
a EXISTS {k}2
a CLIENT TRACKINGINFO
a EXISTS {k}3
w @ {k}1
w @ {k}3
w @ {k}2
a
a CLIENT CACHING yes
a MULTI
a EXISTS {k}1
a EXISTS {k}2
a EXEC
a CLIENT TRACKINGINFO
w @ {k}1
a
w @ {k}2
a
a CLIENT TRACKING on OPTOUT
a CLIENT TRACKING off
a CLIENT TRACKING on OPTOUT
a CLIENT TRACKING on OPTIN
a CLIENT CACHING yes
a CLIENT CACHING no
a CLIENT TRACKINGINFO
a EXISTS {k}1
a EXISTS {k}2
w @ {k}1
w @ {k}2
a
a PING
b CLIENT TRACKING on BCAST PREFIX y PREFIX x NOLOOP
b CLIENT TRACKINGINFO
b CLIENT TRACKING on BCAST PREFIX xy
b CLIENT TRACKING on BCAST PREFIX z
b CLIENT TRACKINGINFO
b CLIENT TRACKING on
w @ q
w @ z1
b
w @ x1
b
b @ y
b
b CLIENT TRACKING on BCAST NOLOOP
b @ y
b PING
a RESET
a CLIENT TRACKINGINFO
w FLUSHALL
b
`

// TestTrackingConversationWithRedis checks that replies and pushes are those of Redis. There both are in one order, too, if each line
// waits for its answer.
func TestTrackingConversationWithRedis(t *testing.T) {
	t.Parallel()
	var sides [2]map[string]*talker
	for i, address := range []string{startRedis(t), openNode(t).ClientAddrs()[0].String()} {
		sides[i] = map[string]*talker{}
		for _, name := range []string{"a", "b", "w"} {
			nc, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			sides[i][name] = newTalker(nc)
			if name != "w" {
				sides[i][name].say("HELLO", "3")
			}
		}
	}
	for number, line := range strings.Split(trackingScript, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var got [2]string
		for i, side := range sides {
			c, command := side[words[0]], words[1:]
			if len(command) > 1 && command[0] == "@" {
				command = [][]string{{"SET", command[1], "value"}, {"NP.SET", command[1], array}}[i]
			}
			if len(command) == 0 {
				got[i] = c.push()
			} else {
				got[i] = c.say(command...)
			}
		}
		if got[0] != got[1] && words[len(words)-1] != "ID" {
			t.Errorf("line %d: %s\nRedis  %.300q\nndring %.300q", number+1, line, got[0], got[1])
		}
	}
}

// push returns the next message, or how the connection failed.
func (c *talker) push() string {
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	defer c.SetReadDeadline(time.Now().Add(time.Minute))
	message, err := resptest.Render(c.r)
	if err != nil {
		return "failed: " + err.Error()
	}
	return message
}
