package node

import (
	"fmt"
	"strings"
	"testing"
)

// sameSetting waits until the members report a value of a setting; wants are by member, or one for all.
func sameSetting(t *testing.T, all []*member, name string, wants ...string) {
	t.Helper()
	eventually(t, name+" is as wanted on all nodes", all, func() string {
		for i, m := range all {
			want := fmt.Sprintf("[%s %s]", name, wants[min(i, len(wants)-1)])
			if got := m.says("CONFIG", "GET", name); got != want {
				return m.name + ": " + got
			}
		}
		return ""
	})
}

// decides sends a command that the cluster decides, and repeats it while the cluster cannot: on a busy machine the
// leader may change at any time.
func (m *member) decides(args ...any) {
	m.t.Helper()
	reply := ""
	eventually(m.t, fmt.Sprint(args, " is decided"), []*member{m}, func() string {
		if reply = m.says(args...); undecidedReply(reply) {
			return reply
		}
		return ""
	})
	if reply != "OK" {
		m.t.Fatalf("%v: %s", args, reply)
	}
}

// Cluster settings survive a stop of all nodes. After a reset each node has its own value again.
func TestClusterSettingsSurviveRestarts(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3", "n4")
	three, fourth := all[:3], all[3]
	start := func() {
		for i, m := range three {
			m.start("--join", seedsOf(three...), "--bootstrap-expect", "3", "--timeout", fmt.Sprint(10*(i+1)))
		}
		whole(t, three...)
	}
	start()
	three[1].decides("CLUSTER", "CONFIG", "SET", "timeout", "99", "maxclients", "500", "save", "900 1")
	sameSetting(t, three, "timeout", "99")
	if reply := three[2].says("CONFIG", "SET", "maxclients", "501"); reply != "OK" {
		t.Fatal(reply)
	}
	inParallel((*member).stop, three...)
	start()
	for _, m := range three { // without waiting: a serving node has applied them, and no CONFIG SET of an earlier process
		for name, want := range map[string]string{"timeout": "99", "maxclients": "500", "save": "900 1"} {
			if got := m.says("CONFIG", "GET", name); got != fmt.Sprintf("[%s %s]", name, want) {
				t.Errorf("%s after the restart: %s, want %s", m.name, got, want)
			}
		}
	}
	fourth.start("--join", three[0].seed(), "--timeout", "40")
	whole(t, all...)
	if got := fourth.says("CONFIG", "GET", "timeout"); got != "[timeout 99]" {
		t.Errorf("the new node uses %s", got)
	}
	fourth.decides("CLUSTER", "CONFIG", "RESET", "timeout")
	sameSetting(t, all, "timeout", "10", "20", "30", "40")
	sameSetting(t, all, "maxclients", "500")
}

// Without a majority nothing is set, and the error says why.
func TestClusterSettingsWithoutAMajority(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	whole(t, all...)
	last := all[0]
	last.decides("CLUSTER", "CONFIG", "SET", "timeout", "9")
	inParallel((*member).kill, all[1:]...)
	eventually(t, "the last node knows that it is alone", all, func() string {
		if info := last.info(); info["cluster_quorum"] != "0" || info["cluster_leader"] != "" {
			return fmt.Sprint("leader ", info["cluster_leader"], ", quorum ", info["cluster_quorum"])
		}
		return ""
	})
	const want = "ERR the cluster has no leader: a majority of its voters is missing"
	for _, command := range []string{"SET timeout 10", "RESET timeout"} {
		if reply := last.says(wordsOf("CLUSTER CONFIG " + command)...); !strings.HasPrefix(reply, want) {
			t.Errorf("%s: %s", command, reply)
		}
	}
	for _, command := range []string{"CONFIG GET timeout", "CLUSTER CONFIG GET *"} {
		if reply := last.says(wordsOf(command)...); reply != "[timeout 9]" {
			t.Errorf("%s: %s", command, reply)
		}
	}
	for _, m := range all[1:] {
		m.start("--join", seedsOf(all...))
	}
	whole(t, all...)
	sameSetting(t, all, "timeout", "9") // nor does it change later
}

func wordsOf(command string) (args []any) {
	for _, w := range strings.Fields(command) {
		args = append(args, w)
	}
	return args
}
