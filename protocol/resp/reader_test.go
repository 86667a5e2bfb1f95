package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ndring/ndring/memory"
)

var testLimits = Limits{MaxArgs: 100, MaxBulk: 100_000, MaxSkip: 400_000, Wait: time.Millisecond}

// readAll reads commands until the stream ends. A refused one is returned as "!" and the error.
func readAll(r *Reader) (commands []string, err error) {
	for {
		args, err := r.Next()
		var refusal Refusal
		switch {
		case errors.As(err, &refusal):
			commands = append(commands, "!"+err.Error())
			continue
		case err != nil:
			return commands, err
		}
		var words []string
		for i := range args {
			words = append(words, string(args[i].Bytes()))
		}
		commands = append(commands, strings.Join(words, " "))
	}
}

// chunkings are ways in which a stream may arrive.
var chunkings = map[string]func(io.Reader) io.Reader{
	"whole":       func(r io.Reader) io.Reader { return r },
	"bytes":       iotest.OneByteReader,
	"halves":      iotest.HalfReader,
	"data+error":  iotest.DataErrReader,
	"eight bytes": func(r io.Reader) io.Reader { return eightReader{r} },
}

type eightReader struct{ io.Reader }

func (r eightReader) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 8)]) }

func TestReader(t *testing.T) {
	large := strings.Repeat("0123456789abcde\n", 5000) // 80,000 bytes
	for name, test := range map[string]struct {
		stream   string
		commands []string
		err      string // "EOF" for a clean end
	}{
		"nothing":             {"", nil, "EOF"},
		"one":                 {"*1\r\n$4\r\nPING\r\n", []string{"PING"}, "EOF"},
		"two":                 {"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$2\r\nab\r\n", []string{"PING", "ECHO ab"}, "EOF"},
		"empty argument":      {"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", []string{"ECHO "}, "EOF"},
		"binary":              {"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\x00$\r\n", []string{"ECHO \r\n\x00$"}, "EOF"},
		"large":               {command("ECHO", large, "x", large), []string{"ECHO " + large + " x " + large}, "EOF"},
		"empty command":       {"*0\r\n*1\r\n$4\r\nPING\r\n", []string{"PING"}, "EOF"},
		"null command":        {"*-1\r\n*1\r\n$4\r\nPING\r\n", []string{"PING"}, "EOF"},
		"inline":              {"PING\r\n", []string{"PING"}, "EOF"},
		"inline with LF":      {"PING\n", []string{"PING"}, "EOF"},
		"inline blanks":       {"  ECHO   a \tb \r\n", []string{"ECHO a b"}, "EOF"},
		"inline empty":        {"\r\n\r\nPING\r\n", []string{"PING"}, "EOF"},
		"inline quotes":       {`ECHO "a b\x41\n\"" 'c \'d'` + "\r\n", []string{"ECHO a bA\n\" c 'd"}, "EOF"},
		"inline escapes":      {`ECHO "\r\t\b\a\q\\\xfF\xAg" '\n\x41'` + "\r\n", []string{"ECHO \r\t\b\aq\\\xffxAg \\n\\x41"}, "EOF"},
		"inline open quote":   {"ECHO \"a\r\n", nil, "unbalanced quotes in request"},
		"inline stuck quote":  {"ECHO \"a\"b\r\n", nil, "unbalanced quotes in request"},
		"inline too long":     {strings.Repeat("a", 70_000), nil, "too big inline request"},
		"inline many words":   {strings.Repeat("a ", 101) + "\r\n", nil, "too many words"},
		"ends in count":       {"*1", nil, "unexpected EOF"},
		"ends in length":      {"*1\r\n$4", nil, "unexpected EOF"},
		"ends in argument":    {"*1\r\n$4\r\nPI", nil, "unexpected EOF"},
		"ends in large":       {command("ECHO", large)[:50_000], nil, "unexpected EOF"},
		"ends before CRLF":    {"*1\r\n$4\r\nPING", nil, "unexpected EOF"},
		"count too large":     {"*101\r\n", nil, "invalid multibulk length"},
		"count overflows":     {"*9223372036854775808\r\n", nil, "invalid multibulk length"},
		"count of 20 digits":  {"*99999999999999999999\r\n", nil, "invalid multibulk length"},
		"count is text":       {"*x\r\n", nil, "invalid multibulk length"},
		"count is empty":      {"*\r\n", nil, "invalid multibulk length"},
		"count with plus":     {"*+1\r\n", nil, "invalid multibulk length"},
		"count with blank":    {"* 1\r\n", nil, "invalid multibulk length"},
		"count with zero":     {"*01\r\n", nil, "invalid multibulk length"},
		"count without CR":    {"*1\n$4\r\nPING\r\n", nil, "missing CR"},
		"count never ends":    {"*" + strings.Repeat("1", 100), nil, "invalid multibulk length"},
		"length too large":    {"*2\r\n$9223372036854775807\r\nabc", nil, "invalid bulk length"},
		"length overflows":    {"*1\r\n$9223372036854775808\r\n", nil, "invalid bulk length"},
		"length negative":     {"*1\r\n$-1\r\n", nil, "invalid bulk length"},
		"length -2":           {"*1\r\n$-2\r\n", nil, "invalid bulk length"},
		"length lowest":       {"*1\r\n$-9223372036854775808\r\n", nil, "invalid bulk length"},
		"length is text":      {"*1\r\n$four\r\nPING\r\n", nil, "invalid bulk length"},
		"length is empty":     {"*1\r\n$\r\n", nil, "invalid bulk length"},
		"not a bulk":          {"*1\r\n:4\r\n", nil, "expected '$', got ':'"},
		"an empty line":       {"*1\r\n\r\n", nil, "expected '$', got an empty line"},
		"nested array":        {"*1\r\n*1\r\n$4\r\nPING\r\n", nil, "expected '$', got '*'"},
		"longer than it says": {"*1\r\n$3\r\nPING\r\n", nil, "expected CRLF"},
		"shorter than said":   {"*1\r\n$5\r\nPING\r\n*1\r\n", nil, "expected CRLF"},
		"large without CRLF":  {"*1\r\n$20000\r\n" + strings.Repeat("x", 20_002), nil, "expected CRLF"},
		"argument too large": {command("ECHO", strings.Repeat("x", 100_001), "y") + command("PING"),
			[]string{"!too large: an argument of 100001 bytes, the limit is 100000", "PING"}, "EOF"},
		"first too large": {command(strings.Repeat("x", 100_001)) + command("PING"),
			[]string{"!too large: an argument of 100001 bytes, the limit is 100000", "PING"}, "EOF"},
		"too large to skip": {"*2\r\n$4\r\nECHO\r\n$400001\r\n", nil, "invalid bulk length"},
	} {
		for how, chunking := range chunkings {
			t.Run(name+"/"+how, func(t *testing.T) {
				pool, budget := new(memory.Pool), NewBudget(1<<20)
				r := NewReader(Stream(chunking(strings.NewReader(test.stream))), pool, pool, budget, testLimits, nil, nil)
				got, err := readAll(r)
				if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.commands) {
					t.Errorf("got %.300q, want %.300q", got, test.commands)
				}
				if test.err == "EOF" && err != io.EOF || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got error %v, want %s", err, test.err)
				}
				r.Close()
				if pool.Bytes() != 0 || budget.Used() != 0 {
					t.Errorf("%d bytes of memory and %d of the budget are still held", pool.Bytes(), budget.Used())
				}
			})
		}
	}
}

func TestReaderSumsLargeArguments(t *testing.T) {
	pool := new(memory.Pool)
	for _, n := range []int{0, 1, SmallBulk, SmallBulk + 1, chunk - 1, chunk, chunk + 1, 3*chunk + 7} {
		content := bytes.Repeat([]byte{1, 2, 3, 5, 7}, n/5+1)[:n]
		limits := testLimits
		limits.MaxBulk, limits.MaxSkip = 1<<20, 1<<20
		r := NewReader(Stream(iotest.HalfReader(strings.NewReader(command("X", string(content))))), pool, new(memory.Pool), NewBudget(1<<22), limits, nil, nil)
		args, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		buffer, crc := args[1].Take(pool), args[1].CRC()
		r.Close()
		if n > SmallBulk && string(buffer.Framed()) != fmt.Sprintf("$%d\r\n%s\r\n", n, content) {
			t.Errorf("%d bytes: the frame is wrong", n)
		}
		if !bytes.Equal(buffer.Bytes(), content) || crc != checksum(string(content)) {
			t.Errorf("%d bytes: the content or its CRC32C is wrong", n)
		}
		buffer.Release()
	}
	if pool.Buffers() != 0 {
		t.Errorf("%d buffers are still held", pool.Buffers())
	}
}

func TestReaderAdmitsBeforeItReads(t *testing.T) {
	no := errors.New("no")
	admit := func(before []Arg, total int, n int64) error {
		if n > 10 && (len(before) == 0 || string(before[0].Bytes()) != "TAKE") {
			return fmt.Errorf("%w: %d of %d", no, len(before), total)
		}
		return nil
	}
	long := strings.Repeat("x", 20_000)
	stream := command("TAKE", long) + command("ECHO", "a", long, "b") + command(long) + command("PING")
	got, err := readAll(NewReader(Stream(strings.NewReader(stream)), new(memory.Pool), new(memory.Pool), NewBudget(1<<20), testLimits, admit, nil))
	want := []string{"TAKE " + long, "!no: 2 of 4", "!no: 0 of 1", "PING"}
	if err != io.EOF || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %.200q, %v", got, err)
	}
}

func TestReaderWaitsForTheBudgetThenRefuses(t *testing.T) {
	budget := NewBudget(50_000)
	if !budget.Acquire(30_000, 0, 0) {
		t.Fatal("an empty budget grants nothing")
	}
	stream := command("SET", strings.Repeat("x", 30_000)) + command("PING")
	got, err := readAll(NewReader(Stream(strings.NewReader(stream)), new(memory.Pool), new(memory.Pool), budget, testLimits, nil, nil))
	if err != io.EOF || fmt.Sprint(got) != fmt.Sprint([]string{"!" + ErrBusy.Error(), "PING"}) {
		t.Errorf("got %.200q, %v", got, err)
	}
	limits := testLimits
	limits.Wait = time.Minute
	released := make(chan struct{})
	go func() {
		defer close(released)
		budget.Release(30_000)
	}()
	got, err = readAll(NewReader(Stream(strings.NewReader(stream)), new(memory.Pool), new(memory.Pool), budget, limits, nil, nil))
	if err != io.EOF || len(got) != 2 || got[1] != "PING" || !strings.HasPrefix(got[0], "SET x") {
		t.Errorf("got %.200q, %v", got, err)
	}
	receive(t, "the release", released)
}

// A pipeline gets a large buffer, unless the read buffers of all clients are large already.
func TestReadAheadIsBounded(t *testing.T) {
	stream := strings.Repeat(command("PING"), 10_000)
	for _, test := range []struct{ others, least, most int }{{0, DefaultBuffers.Large, 2 * DefaultBuffers.Large}, {largeTotal, DefaultBuffers.First, 2 * DefaultBuffers.First}} {
		own := new(memory.Pool)
		others := own.New(test.others)
		before := own.Allocated()
		r := NewReader(Stream(strings.NewReader(stream)), new(memory.Pool), own, NewBudget(1<<20), testLimits, nil, nil)
		most := int64(0)
		commands := 0
		for _, err := r.Next(); err == nil; _, err = r.Next() {
			most = max(most, own.Allocated()-before)
			commands++
		}
		if commands != 10_000 || most < int64(test.least) || most > int64(test.most) {
			t.Errorf("beside %d bytes of others: %d commands, at most %d bytes are held, want %d to %d", test.others, commands, most, test.least, test.most)
		}
		r.Close()
		others.Release()
	}
}

// A command larger than the whole budget is admitted when it is alone: waiting would free nothing.
func TestBudgetAdmitsALoneCommand(t *testing.T) {
	b := NewBudget(10)
	if !b.Acquire(100, 0, 0) || !b.Acquire(50, 100, 0) {
		t.Error("a lone command is refused")
	}
	if b.Acquire(1, 0, time.Millisecond) {
		t.Error("a second command is admitted")
	}
	b.Release(150)
	if b.Used() != 0 {
		t.Errorf("%d bytes are taken", b.Used())
	}
}

func TestParseInt(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "-1": -1, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63,
	} {
		if got, ok := ParseInt([]byte(s)); !ok || got != want {
			t.Errorf("ParseInt(%q) = %d, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-", "+1", "01", "-0", " 1", "1 ", "1x", "9223372036854775808", "-9223372036854775809", "18446744073709551616"} {
		if got, ok := ParseInt([]byte(s)); ok {
			t.Errorf("ParseInt(%q) = %d", s, got)
		}
	}
}

// FuzzReader: no stream makes the reader panic, leak memory, or return other commands if it is split differently.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"*1\r\n$4\r\nPING\r\n", "*2\r\n$9223372036854775807\r\nabc", "*-1\r\n", "$-2\r\n", "PING 'a' \"\\x41\"\n", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
		"*1000000\r\n", command("ECHO", strings.Repeat("x", 20_000)), "*1\r\n$100001\r\n", "*1\r\n$01\r\na\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var first string
		for i, chunking := range []string{"whole", "bytes", "eight bytes"} {
			pool, budget := new(memory.Pool), NewBudget(1<<20)
			r := NewReader(Stream(chunkings[chunking](bytes.NewReader(stream))), pool, pool, budget, testLimits, nil, nil)
			commands, err := readAll(r)
			r.Close()
			if pool.Bytes() != 0 || budget.Used() != 0 {
				t.Fatalf("%d bytes of memory and %d of the budget are still held", pool.Bytes(), budget.Used())
			}
			result := fmt.Sprintf("%q %v", commands, err)
			if i == 0 {
				first = result
			} else if result != first {
				t.Fatalf("in pieces: %s\nwhole: %s", result, first)
			}
		}
	})
}
