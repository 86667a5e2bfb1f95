package node

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/ndring/ndring/internal/resptest"
)

// bad is one malformed input. Stream is sent unchanged; whole means that it is valid RESP with a reply, after which
// the connection continues.
type bad struct {
	class, stream string
	whole         bool
}

// npyFile makes a .npy file of a version with an arbitrary header.
func npyFile(version byte, header, data string) string {
	b := append([]byte("\x93NUMPY"), version, 0)
	if version == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	}
	return string(b) + header + data
}

func literal(descr, order, shape string) string {
	return fmt.Sprintf("{'descr': %s, 'fortran_order': %s, 'shape': %s, }\n", descr, order, shape)
}

// corpus returns at least ten malformed streams or arrays of every class in the design.
func corpus(random *rand.Rand) (all []bad) {
	add := func(class string, whole bool, streams ...string) {
		for _, s := range streams {
			all = append(all, bad{class, s, whole})
		}
	}
	set := func(npy string) string { return resptest.Command("NP.SET", "bad", npy) }
	array := func(class string, files ...string) {
		for _, f := range files {
			add(class, true, set(f))
		}
	}

	numbers := []string{"9223372036854775807", "9223372036854775808", "18446744073709551616", "99999999999999999999999999", "-1", "-2", "-9223372036854775808",
		"", " 1", "1 ", "+1", "01", "0x10", "1.0", "1e3", "x", "\x00", "٣", "--1", "1\r"}
	for _, n := range numbers {
		add("bulk length", false, "*2\r\n$"+n+"\r\nabc", "*3\r\n$6\r\nNP.SET\r\n$1\r\nk\r\n$"+n+"\r\nabc\r\n")
		if n != "-1" && n != "-2" && n != "-9223372036854775808" { // Redis takes those for an empty command
			add("array length", false, "*"+n+"\r\n$4\r\nPING\r\n")
		}
	}
	add("array length", false, "*1000000\r\n"+strings.Repeat("$1\r\na\r\n", 100_000), "*65537\r\n", "*"+strings.Repeat("1", 100_000)+"\r\n")
	for _, mark := range "+-:,#_~%>=(!|abcX\x00\xff" {
		add("bulk type", false, fmt.Sprintf("*1\r\n%cPING\r\n", mark))
	}
	for _, end := range []string{"xx", "\r\r", "\n\n", "\n\r", "  ", "\x00\x00", "\rx", "x\n", "PI", "\xff\xff"} {
		add("end of bulk", false, "*1\r\n$4\r\nPING"+end)
	}
	for _, line := range []string{"*1\n$4\r\nPING\r\n", "*1\r\n$4\nPING\r\n", "*1\r$4\r\n", "*\n", "*\r\n", "*1\r\n$\n", "*1\r\n$\r\n", "*1\r\n\r\n", "*1\r\n\n", "*2\r\n$4\r\nPING\r\n\n"} {
		add("line end", false, line+"\r\n")
	}
	for _, quote := range []string{`"`, `'`, `"abc`, `'abc`, `a "b`, `"a"b`, `'a'b`, `"\x4`, `"\`, `'\'`, `x "\"`, `"a" "b`} {
		add("inline quotes", false, quote+"\r\n")
	}
	for i := range 10 {
		add("long line", false, strings.Repeat(string(rune('a'+i)), 1<<17), "*"+strings.Repeat("9", 40+i)+"\r\n", "GET /"+strings.Repeat("h", 1<<16+i)+" HTTP/1.1\r\n\r\n")
	}
	whole := set(npyFile(1, literal("'|u1'", "False", "(30000,)"), strings.Repeat("x", 30000)))
	for range 40 {
		add("truncated stream", false, whole[:1+random.IntN(len(whole)-1)])
	}
	for range 80 { // a few bytes changed anywhere
		b := []byte(whole)
		for range 1 + random.IntN(4) {
			b[random.IntN(200)] = byte(random.IntN(256))
		}
		add("mutated stream", false, string(b))
	}
	for range 20 {
		b := make([]byte, 1+random.IntN(5000))
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		add("noise", false, string(b))
	}

	for n := range 12 {
		array("magic", strings.Repeat("\x93", n), "\x93NUMPY"[:min(n, 6)]+strings.Repeat("x", 100))
	}
	good := literal("'<f4'", "False", "(2,)")
	for _, version := range []byte{0, 4, 5, 9, 10, 16, 32, 64, 127, 128, 255} {
		array("version", npyFile(version, good, "12345678"))
	}
	for n := range 20 {
		f := npyFile(1, good, "12345678")
		array("truncated array", f[:len(f)-1-n*3])
		array("trailing bytes", f+strings.Repeat("x", 1+n*n*n))
	}
	for _, n := range []uint32{0, 1, 100, 65535, 1 << 20, 1<<20 + 1, 1 << 24, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		array("header length", string(binary.LittleEndian.AppendUint32([]byte("\x93NUMPY\x02\x00"), n))+good)
	}
	array("header length", npyFile(2, strings.Repeat(" ", 1<<20+1), ""))
	for _, d := range []string{"'|O'", "'O'", "'|O8'", "[('a', '|O')]", "[('a', [('b', 'O')])]", "[('a', '<f4'), ('b', '|O')]", "[('a', '|O', (2,))]", "('|O', (2,))",
		"[(('t', 'a'), '|O')]", "[('a', '<f4', ('|O',))]", "'|O4'"} {
		array("object dtype", npyFile(1, literal(d, "False", "(1,)"), "12345678"))
	}
	for _, d := range []string{"'<f3'", "'f'", "''", "'<'", "'<x8'", "'<f-4'", "'<f99999999999'", "'>U-1'", "'<U9223372036854775807'", "3", "None", "[]", "()", "[()]",
		"[('a',)]", "[('a', 1)]", "[(1, '<f4')]", "[('a', '<f4', (1,), 2)]", "{'names': []}", "'<M8[xx]'", "'<M8['", "b'<f4'"} {
		array("dtype", npyFile(1, literal(d, "False", "(1,)"), "1234"))
	}
	for _, shape := range []string{"(-1,)", "(True,)", "(1.0,)", "('1',)", "(None,)", "[1]", "1", "(1, -1)", "(1,, 1)", "(1 1)", "((1,),)", "(1+1,)", "(len('x'),)", "(0x,)", "(1_,)",
		"(9223372036854775808,)", "(99999999999999999999999999,)", "(4611686018427387904, 4)", "(9223372036854775807, 9223372036854775807)", "(4294967296, 4294967296)",
		"(0, 9223372036854775807, 9223372036854775807)", "(" + strings.Repeat("1, ", 65) + ")", "(" + strings.Repeat("1, ", 1000) + ")", "(2305843009213693952,)"} {
		array("shape", npyFile(1, literal("'<f8'", "False", shape), "12345678"))
	}
	for _, order := range []string{"1", "0", "None", "'False'", "false", "true", "Fals", "Falsee", "(True,)", "not True", ""} {
		array("order", npyFile(1, literal("'<f4'", order, "(1,)"), "1234"))
	}
	for _, header := range []string{"", "\n", "{}", "[1, 2]", "'x'", "{'descr': '<f4'}", "{'descr': '<f4', 'shape': ()}", "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}",
		"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", "{'descr': '<f4', 'fortran_order': False, 'shape': ()", "{'descr': '<f4', 'fortran_order': False, 'shape': ()}}",
		"{'descr': '<f4' 'fortran_order': False, 'shape': ()}", "{1: 2}", "__import__('os').system('true')", "{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}",
		"{'descr': lambda: 0, 'fortran_order': False, 'shape': ()}", "{**{}, 'descr': '<f4'}", "dict(descr='<f4', fortran_order=False, shape=())",
		"{'descr': " + strings.Repeat("[", 10_000), "{'descr': " + strings.Repeat("(", 60_000), strings.Repeat("{", 60_000), "{'descr': '" + strings.Repeat("a", 60_000), "\x00\x01\x02", "{'descr': '\xff\xfe'}"} {
		array("header", npyFile(1, header, "1234"))
	}

	key := strings.Repeat("k", 65_536)
	for i, name := range []string{"NP.GET", "NP.SHAPE", "DEL", "EXISTS", "TTL", "TYPE", "PERSIST", "TOUCH", "NP.META", "NP.DTYPE"} {
		add("key", true, resptest.Command(name, key), resptest.Command(name, ""), resptest.Command(name, strings.Repeat("k", 100_000*(i+1))))
	}
	tiny := npyFile(1, literal("'|u1'", "False", "(1,)"), "x")
	for _, options := range []string{"EX", "EX 0", "EX x", "PX -1", "EXAT 99999999999999999999", "NX XX", "NX NX", "ATTRS", "ATTRS [1]", "ATTRS {", "ATTRS \xff", "PART", "PART m",
		"PART M x", "PART a x PART a y", "PART a 1 PART b 1 PART c 1 PART d 1 PART e 1", "CRC32C", "CRC32C 1", "CRC32C x", "CRC32C 4294967296", "WC", "WC MAYBE", "REQID",
		"REQID " + strings.Repeat("i", 65), "IFVERSION", "IFVERSION x", "IFVERSION 1-", "WHAT", "KEEPTTL EX 1", "WITHVERSION WITHVERSION"} {
		add("options", true, resptest.Command(append([]string{"NP.SET", "bad", tiny}, strings.Fields(options)...)...))
	}
	add("options", true, resptest.Command("NP.SET", "bad", tiny, "ATTRS", `{"a": "`+strings.Repeat("a", 65_536)+`"}`),
		resptest.Command("NP.SET", "bad", tiny, "ATTRS", strings.Repeat(`{"a":`, 10_000)+"1"+strings.Repeat("}", 10_000)+"}"))
	for _, args := range [][]string{{"NOSUCH"}, {""}, {"\x00"}, {strings.Repeat("N", 1000)}, {"NP.GET"}, {"NP.SET", "k"}, {"NP.MSET", "k"}, {"NP.MSET", "a", tiny, "b", tiny}, {"CLIENT"}, {"CLIENT", ""},
		{"CLIENT", "KILL", "ID", "x"}, {"CONFIG", "SET", "nosuch", "1"}, {"HELLO", "9"}, {"HELLO", "3", "SETNAME", "a\nb"}, {"SCAN", "x"}, {"EXEC"}, {"WATCH", "a", "b"}} {
		add("command", true, resptest.Command(args...))
	}
	return all
}
