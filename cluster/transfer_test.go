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
