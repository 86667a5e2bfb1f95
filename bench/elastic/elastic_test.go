package main

import (
	"strings"
	"testing"
	"time"
)

func TestRegistersFindWhatIsLost(t *testing.T) {
	r := &register{key: "k", size: 1 << 10}
	array := template(r.size)
	for range 3 {
		n := r.begin()
		number(array, n)
		r.acknowledge(n)
	}
	r.begin() // without a reply
	if n, err := numberIn(string(array), r.size); n != 3 || err != nil {
		t.Errorf("number %d, %v", n, err)
	}
	for n, right := range map[uint64]bool{0: false, 2: false, 3: true, 4: true, 5: false} {
		if err := r.check(3, n); (err == nil) != right {
			t.Errorf("%d was read after 3 was acknowledged: %v", n, err)
		}
	}
	for what, wrong := range map[string]string{"short": string(array[:len(array)-1]), "torn": string(array[:len(array)-8]) + strings.Repeat("\xff", 8)} {
		if n, err := numberIn(wrong, r.size); err == nil {
			t.Errorf("%s: number %d", what, n)
		}
	}
}

func TestPythonsLinesAreRead(t *testing.T) {
	tr := newTraffic(t.Context())
	for _, line := range []string{"1000.5\tset\tpython:1024:3\t1024\t0.25\t", "1001\tget\tpython:1024:3\t1024\t0.5\tNdringError: x"} {
		if err := tr.pythonSays(line); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, line := range []string{"wrong k has 1, want 2", "", "x\tset\tk\t1\t1\t"} {
		if tr.pythonSays(line) == nil {
			t.Errorf("%q is taken for a request", line)
		}
	}
	all := tr.between(time.Unix(1000, 0), time.Unix(1002, 0))
	if len(all) != 2 || !all[0].write || all[0].took != 250*time.Millisecond || all[0].failed != "" || all[1].failed != "NdringError: x" {
		t.Errorf("%+v", all)
	}
}
