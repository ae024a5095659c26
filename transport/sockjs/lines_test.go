package sockjs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// readAll returns all of a source, and why there is no more.
func readAll(s interface{ next() ([]byte, error) }) (all []string, err error) {
	for {
		p, err := s.next()
		if err == nil || len(p) > 0 {
			all = append(all, string(p))
		}
		if err != nil {
			return all, err
		}
	}
}

func linesOf(text string, limit int, byByte bool) lines {
	var r io.Reader = strings.NewReader(text)
	if byByte {
		r = iotest.OneByteReader(r)
	}
	return lines{br: bufio.NewReaderSize(r, 16), limit: limit}
}

// The streams of HTML's specification, and what it leaves out.
func TestEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"data: YHOO\ndata: +2\ndata: 10\n\n", []string{"YHOO\n+2\n10"}},
		{": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", []string{"first event", "second event", " third event"}},
		{"data\n\ndata\ndata\n\ndata:", []string{"", "\n"}},
		{"data:test\n\ndata: test\n\n", []string{"test", "test"}},
		{"\r\ndata: o\r\n\r\ndata: h\r\n\r\n", []string{"o", "h"}},
		{"data: o\r\rdata: a\rdata: b\r\r", []string{"o", "a\nb"}},
		{"\ufeffdata: o\n\n\ufeffdata: h\n\n", []string{"o"}},
		{"event: x\ndata: o\n\nevent: message\ndata: h\n\nevent\ndata: i\n\n", []string{"h", "i"}},
		{"retry: 10\nunknown: x\nData: x\n data: x\ndata : x\n\ndata: o\n\n", []string{"o"}},
		{"data: a%25b%0A%41%2f%2F%e2%82%ac%E2%82%zz%f0%9f%98%80%\n\n", []string{"a%b\nA%2f%2F€%E2%82%zz😀%"}},
	} {
		for _, byByte := range []bool{true, false} {
			got, err := readAll(&events{lines: linesOf(tt.text, 1000, byByte)})
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, tt.want, got, "%q", tt.text)
		}
	}
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	for _, byByte := range []bool{true, false} {
		l := linesOf(strings.Repeat("x", 40)+"\n"+strings.Repeat("x", 41)+"\n", 40, byByte)
		got, err := readAll(&l)
		require.ErrorIs(t, err, errLongFrame)
		require.Len(t, got, 1)
		got, err = readAll(&events{lines: linesOf(strings.Repeat("data:"+strings.Repeat("x", 9)+"\n", 5), 40, byByte)})
		require.ErrorIs(t, err, errLongFrame)
		require.Empty(t, got)
	}
	l := lines{br: bufio.NewReader(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("xy")))), limit: 9}
	_, err := readAll(&l)
	require.ErrorIs(t, err, iotest.ErrTimeout)
}

// FuzzEvents: lines and events are what a simpler reading of the whole text finds, however
// it is cut.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{
		"data: o\r\n\r\ndata: a[\"x\"]\r\n\r\n", "\r\n", "data\r\rdata:\n\ndata: \r\n\r", ":x\nevent: y\ndata: z\n\n", "\ufeffdata: %25%0a%\n\n", "a\r\n\nb\r\rc",
	} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, byByte bool) {
		plain := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
		want := strings.Split(plain, "\n")
		l := linesOf(text, len(text), byByte)
		got, err := readAll(&l)
		require.ErrorIs(t, err, io.EOF)
		if want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		require.Equal(t, append([]string{}, want...), append([]string{}, got...))

		events, err := readAll(&events{lines: linesOf(text, len(text), byByte)})
		require.ErrorIs(t, err, io.EOF)
		want = nil
		parts := strings.Split(strings.TrimPrefix(plain, "\ufeff"), "\n")
		var data []string
		kind := ""
		for _, line := range parts[:len(parts)-1] {
			field, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case line == "" && len(data) > 0 && (kind == "" || kind == "message"):
				want = append(want, string(decodePercent([]byte(strings.Join(data, "\n")))))
				fallthrough
			case line == "":
				data, kind = nil, ""
			case field == "data":
				data = append(data, value)
			case field == "event":
				kind = value
			}
		}
		require.Equal(t, want, events)
	})
}

// FuzzPercent: what the server encodes is decoded, and decoding makes nothing longer and
// no text something else.
func FuzzPercent(f *testing.F) {
	for _, s := range []string{"", "%", "%25", "%2", "%%%", "%E2%82%AC", "%e2%82", "%c0%80", "%2f%3B", "€%F0%9F%98%80%ed%a0%80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		require.Equal(t, string(p), string(decodePercent(appendPercent(nil, p))))
		got := decodePercent(bytes.Clone(p))
		require.LessOrEqual(t, len(got), len(p))
		require.True(t, !utf8.Valid(p) || utf8.Valid(got))
		if !bytes.Contains(p, []byte("%")) {
			require.Equal(t, string(p), string(got))
		}
	})
}

// FuzzAnswer: whatever a server answers, the session comes to an end, has delivered
// nothing that is not text, and says why.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"o\n", "hhhh\no\nh\na[\"x\"]\nc[3000,\"Go away!\"]\n", "o\no\n", "o\na[\"\xff\"]\n", "", "data: o\n\ndata: m\"x\"\n\n", "o\nm\"x\"\nc[1,\"\"]", "o\na[\"\\ud800\"]\n",
	} {
		for n := range 3 {
			f.Add(s, n)
		}
	}
	f.Fuzz(func(t *testing.T, body string, n int) {
		r := receivers[[]string{nameXHRPolling, nameXHRStreaming, nameEventSource}[uint(n)%3]]
		gone := errors.New("gone")
		pr, pw := io.Pipe()
		go func() { _, _ = io.WriteString(pw, body); pw.CloseWithError(gone) }()
		defer pr.Close()
		d := only(r.name, script{r.path: flows(pr)}, nil)
		l := newListener(t)
		l.got = make(chan string, len(body))
		if _, err := d.Dial(t.Context(), "http://h", nil, l.open); err != nil {
			return
		}
		require.Error(t, l.ended())
		close(l.got)
		for s := range l.got {
			require.True(t, utf8.ValidString(s))
		}
	})
}
