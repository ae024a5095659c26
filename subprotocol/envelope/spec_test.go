package envelope

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

var update = flag.Bool("update", false, "write the golden files and the table of SPEC.md")

const spec = "SPEC.md"

// last keeps what was emitted last.
type last struct{ m *subprotocol.Message }

func (l *last) Emit(m *subprotocol.Message) error {
	l.m = m.Clone()
	return nil
}

// line is one frame of a page: who sends it, and its bytes in one form.
type line struct {
	from side
	wire transport.Message
}

// parseLine reads "> {...}" and "< 83 a4 ...".
func parseLine(s string) line {
	l := line{from: client}
	if s[0] == '<' {
		l.from = server
	}
	s = s[2:]
	if s[0] == '{' {
		l.wire = transport.Message{Type: transport.MessageText, Data: []byte(s)}
		return l
	}
	data, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(s)
	}
	l.wire = transport.Message{Type: transport.MessageBinary, Data: data}
	return l
}

// ends returns the framers that write and read l.
func (l line) ends() (writer, reader subprotocol.Framer) {
	s := NewJSON(nil)
	if l.wire.Type == transport.MessageBinary {
		s = NewMsgpack(nil)
	}
	c, v := s.NewFramer("", subprotocol.FramerConfig{Client: true}), s.NewFramer("", subprotocol.FramerConfig{})
	if l.from == client {
		return c, v
	}
	return v, c
}

// check reads l, writes what it read, and returns it.
func (l line) check(t *testing.T) *subprotocol.Message {
	t.Helper()
	writer, reader := l.ends()
	var got last
	require.NoError(t, reader.Decode(l.wire, &got), "%s", l.wire.Data)
	again, typ, err := writer.Append(nil, got.m)
	require.NoError(t, err)
	require.Equal(t, l.wire.Type, typ)
	require.Equal(t, string(l.wire.Data), string(again))
	return got.m
}

// Every frame on the page is read, and is what Append writes.
func TestSpecFrames(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(spec)
	require.NoError(t, err)
	kinds := make(map[subprotocol.Kind]bool)
	var before *subprotocol.Message
	binary := 0
	for _, s := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(s, "> ") && !strings.HasPrefix(s, "< ") {
			continue
		}
		l := parseLine(s)
		m := l.check(t)
		if l.wire.Type == transport.MessageBinary {
			binary++
			m.Type = before.Type
			require.Equal(t, before, m, "a msgpack frame is the JSON frame before it")
		}
		kinds[m.Kind] = true
		before = m
	}
	require.GreaterOrEqual(t, binary, 3)
	for k := subprotocol.KindConnect; k < numKinds; k++ {
		if k != subprotocol.KindAbort { // as Commit
			require.True(t, kinds[k], "no frame of %v", k)
		}
	}
}

// The table of kinds on the page is the one in the code.
func TestSpecTable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(spec)
	require.NoError(t, err)
	const begin, end = "<!-- kinds: written by go test -update -->\n", "<!-- end -->"
	before, rest, ok := bytes.Cut(page, []byte(begin))
	require.True(t, ok)
	table, after, ok := bytes.Cut(rest, []byte(end))
	require.True(t, ok)

	want := "\n| Type | From | Required | Optional |\n|---|---|---|---|\n"
	for _, s := range shapes {
		want += fmt.Sprintf("| `%s` | %v | %s | %s |\n", kindNames[s.kind], s.from, names(s.required), names(s.optional))
	}
	want += "\n"
	if *update {
		page = fmt.Appendf(nil, "%s%s%s%s%s", before, begin, want, end, after)
		require.NoError(t, os.WriteFile(spec, page, 0o644))
		return
	}
	require.Equal(t, want, string(table), "write it with go test -update")

	for f := range fields {
		require.Contains(t, string(after)+string(before), "| `"+fields[f].name+"` |", "the page explains each field")
	}
}

func names(s set) string {
	var ns []string
	for f := range fields {
		if s.has(field(f)) {
			ns = append(ns, "`"+fields[f].name+"`")
		}
	}
	return strings.Join(ns, ", ")
}

// Codes and limits on the page are those of the code.
func TestSpecCodes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(spec)
	require.NoError(t, err)
	for _, tt := range malformedTable() {
		require.Contains(t, string(page), "| `"+tt.code+"` |")
	}
}
