package datafolder

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

func TestNodeID(t *testing.T) {
	t.Parallel()
	if id := NodeID("node-1"); id != NodeID("node-1") || len(id) != 40 || id == NodeID("node-2") {
		t.Errorf("the id of node-1 is %s", id)
	}
	if first, second := NodeID(""), NodeID(""); first == second {
		t.Error("two nodes without a name have the same id")
	}
	if id := NodeID("0123456789ABCDEF0123456789abcdef01234567"); id != "0123456789abcdef0123456789abcdef01234567" {
		t.Errorf("an id became %s", id)
	}
}

// memoryFiles are the small files of a data folder, in memory.
type memoryFiles map[string]string

func (f memoryFiles) Load(name string) ([]byte, error) {
	content, ok := f[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(content), nil
}

func (f memoryFiles) Save(name string, content []byte) error {
	f[name] = string(content)
	return nil
}

// A folder keeps the id of its node, whatever name the node is started with later. Only a folder
// without arrays and without a part in a cluster may get another one.
func TestClaimNodeID(t *testing.T) {
	t.Parallel()
	first := string(NodeID("first"))
	for _, tc := range []struct {
		what, kept, name string
		bound            bool
		want             topology.NodeID
		err              string
	}{
		{"an empty folder", "", "first", false, NodeID("first"), ""},
		{"the same name", first + "\n", "first", true, NodeID("first"), ""},
		{"without a name", first + "\n", "", true, NodeID("first"), ""},
		{"another name, nothing in the folder", first + "\n", "second", false, NodeID("second"), ""},
		{"another name, arrays in the folder", first + "\n", "second", true, "", "the folder belongs to another node, " + first + ": --node-id second would be "},
		{"a damaged file", "nonsense", "first", true, "", `node-id contains "nonsense", which is not a node id`},
	} {
		files := memoryFiles{}
		if tc.kept != "" {
			files[nodeIDFile] = tc.kept
		}
		id, err := ClaimNodeID(files, tc.name, tc.bound)
		if id != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %s %v", tc.what, id, err)
		}
		if tc.err == "" && files[nodeIDFile] != string(tc.want)+"\n" {
			t.Errorf("%s: the folder has the id %q", tc.what, files[nodeIDFile])
		}
	}
	if id, err := ClaimNodeID(memoryFiles{}, "", false); err != nil || !isNodeID(string(id)) {
		t.Errorf("an empty folder, without a name: %s %v", id, err)
	}
	if _, err := keptNodeID(memoryFiles{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder without an owner: %v", err)
	}
}
