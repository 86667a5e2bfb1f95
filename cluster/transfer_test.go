package cluster

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

// A primary answers for each shard that it is asked for.
func TestAnswerTransfer(t *testing.T) {
	t.Parallel()
	n := &testNode{t: t}
	n.Cluster = &Cluster{self: newLocalNode(topology.Node{Name: "n1"}, Start{}, nil, func() int { return 0 })}
	from := Caller{Node: "b", Incarnation: 7, Cluster: "c"}
	payload, err := answerTransfer(t.Context(), n, from, []byte(`[2,3]`))
	var answer transferAnswer
	if err != nil || json.Unmarshal(payload, &answer) != nil || len(answer.Refused) != 2 || answer.Refused[0] != "" || !strings.Contains(answer.Refused[1], "keeps shard 3 from b 7") {
		t.Errorf("%s, %v", payload, err)
	}
	if _, err := answerTransfer(t.Context(), n, from, []byte(`{}`)); err == nil {
		t.Error("a malformed request is answered")
	}
}

func TestMetaSaysThatTheNodeStops(t *testing.T) {
	t.Parallel()
	for _, m := range []meta{{name: "x"}, {hasData: true}, {stopping: true}, {hasData: true, stopping: true}, {format: 2}, {format: maxFormat, hasData: true, stopping: true}} {
		m.node, m.store, m.cluster = testID(1), strings.Repeat("a", 32), strings.Repeat("b", 32)
		got, err := decodeMeta(m.encode())
		if err != nil || got.hasData != m.hasData || got.stopping != m.stopping {
			t.Errorf("%+v, %v", got, err)
		}
	}
}
