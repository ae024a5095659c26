package raw_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type sinkFunc func(*subprotocol.Message) error

func (f sinkFunc) Emit(m *subprotocol.Message) error { return f(m) }

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, client := range []bool{false, true} {
		f := raw.New(nil).NewFramer("", subprotocol.FramerConfig{Client: client})
		want := subprotocol.KindSend
		if client {
			want = subprotocol.KindDeliver
		}
		for _, body := range []string{"", "hello", "\xff\x00"} {
			n := 0
			err := f.Decode(transport.Message{Type: transport.MessageBinary, Data: []byte(body)},
				sinkFunc(func(m *subprotocol.Message) error {
					n++
					require.Equal(t, &subprotocol.Message{
						Kind: want, Type: transport.MessageBinary, Body: []byte(body), Header: m.Header,
					}, m)
					require.Empty(t, m.Header)
					return nil
				}))
			require.NoError(t, err)
			require.Equal(t, 1, n, "one transport message, one Message")
		}
	}
}

func TestDecodeReturnsErrorOfEmit(t *testing.T) {
	t.Parallel()
	f := raw.New(nil).NewFramer("", subprotocol.FramerConfig{})
	want := errors.New("enough")
	err := f.Decode(transport.Message{Type: transport.MessageText}, sinkFunc(func(*subprotocol.Message) error { return want }))
	require.Same(t, want, err)
}

// What a handler leaves on a Message must not come back with a later one.
func TestMessagesDoNotLeakIntoEachOther(t *testing.T) {
	t.Parallel()
	p := raw.New(nil)
	for range 100 {
		f := p.NewFramer("", subprotocol.FramerConfig{})
		err := f.Decode(transport.Message{Type: transport.MessageText, Data: []byte("x")},
			sinkFunc(func(m *subprotocol.Message) error {
				require.Empty(t, m.Destination)
				require.Empty(t, m.Header)
				require.Empty(t, m.PathValue("room"))
				require.Nil(t, m.Error)
				m.Destination = "/left/behind"
				m.Header.Add("left", "behind")
				m.SetPathValue("room", "blue")
				m.Error = &subprotocol.Error{}
				return nil
			}))
		require.NoError(t, err)
	}
}

func TestMaxFrame(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ option, config, limit int }{{4, 0, 4}, {4, 8, 8}, {8, 4, 4}, {0, 5, 5}} {
		f := raw.New(&raw.Options{MaxFrame: tt.option}).NewFramer("", subprotocol.FramerConfig{MaxFrame: tt.config})
		n := 0
		count := sinkFunc(func(*subprotocol.Message) error { n++; return nil })
		require.NoError(t, f.Decode(transport.Message{Data: make([]byte, tt.limit)}, count))
		require.Equal(t, 1, n)

		err := f.Decode(transport.Message{Data: make([]byte, tt.limit+1)}, count)
		var se *subprotocol.Error
		require.ErrorAs(t, err, &se)
		require.Equal(t, "too-large", se.Code)
		require.Equal(t, transport.StatusMessageTooBig, se.Status)
		require.True(t, se.Fatal)
		require.Equal(t, 1, n)
	}
}

func TestAppendType(t *testing.T) {
	t.Parallel()
	const text, binary = transport.MessageText, transport.MessageBinary
	for _, tt := range []struct {
		name     string
		option   transport.MessageType
		textOnly bool
		typ      transport.MessageType
		body     string
		want     transport.MessageType // 0: an error
	}{
		{"utf-8 by itself is text", 0, false, 0, "grüße", text},
		{"empty is text", 0, false, 0, "", text},
		{"other bytes are binary", 0, false, 0, "\xff", binary},
		{"option binary", binary, false, 0, "abc", binary},
		{"option text", text, false, 0, "abc", text},
		{"option text, other bytes", text, false, 0, "\xff", 0},
		{"message before option", binary, false, text, "abc", text},
		{"asked for text", 0, false, text, "abc", text},
		{"asked for text, other bytes", 0, false, text, "a\xc3", 0},
		{"asked for binary", 0, false, binary, "abc", binary},
		{"unknown type", 0, false, 3, "abc", 0},
		{"text only, text", 0, true, text, "abc", text},
		{"text only, by itself", 0, true, 0, "abc", text},
		{"text only, other bytes", 0, true, 0, "\xff", 0},
		{"text only, asked for binary", 0, true, binary, "abc", 0},
		{"text only, option binary", binary, true, 0, "abc", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := raw.New(&raw.Options{Type: tt.option}).NewFramer("", subprotocol.FramerConfig{TextOnly: tt.textOnly})
			for _, k := range []subprotocol.Kind{subprotocol.KindSend, subprotocol.KindDeliver, subprotocol.KindReply} {
				got, typ, err := f.Append([]byte("ab"), &subprotocol.Message{Kind: k, Type: tt.typ, Body: []byte(tt.body)})
				require.Equal(t, tt.want, typ)
				if tt.want == 0 {
					require.Error(t, err)
					require.Equal(t, "ab", string(got))
					continue
				}
				require.NoError(t, err)
				require.Equal(t, "ab"+tt.body, string(got))
			}
		})
	}
}

func TestAppendUnsupportedNamesKind(t *testing.T) {
	t.Parallel()
	f := raw.New(nil).NewFramer("", subprotocol.FramerConfig{})
	for k := range subprotocol.KindDisconnect + 2 {
		switch k {
		case subprotocol.KindSend, subprotocol.KindDeliver, subprotocol.KindReply:
			continue
		}
		got, typ, err := f.Append([]byte("ab"), &subprotocol.Message{Kind: k, Body: []byte("x")})
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, k.String())
		require.Zero(t, typ)
		require.Equal(t, "ab", string(got))
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	p := raw.New(nil)
	form := func(cfg subprotocol.FramerConfig) any { return p.NewFramer("", cfg).(subprotocol.Former).Form() }
	require.Equal(t, form(subprotocol.FramerConfig{}), form(subprotocol.FramerConfig{Client: true, MaxFrame: 3}))
	require.NotEqual(t, form(subprotocol.FramerConfig{}), form(subprotocol.FramerConfig{TextOnly: true}),
		"a binary message made for one is an error for the other")
}

func TestNames(t *testing.T) {
	t.Parallel()
	opts := &raw.Options{Names: []string{"chat.v2", "chat"}}
	p := raw.New(opts)
	opts.Names[0] = "changed"
	p.Names()[1] = "changed"
	require.Equal(t, []string{"chat.v2", "chat"}, p.Names())
	require.Empty(t, raw.New(nil).Names())
}

func TestNewPanics(t *testing.T) {
	t.Parallel()
	for _, opts := range []raw.Options{
		{Names: []string{""}},
		{Names: []string{"a b"}},
		{Names: []string{"a,b"}},
		{Names: []string{"grün"}},
		{Names: []string{"a", "b", "a"}},
		{Type: 3},
		{MaxFrame: -1},
	} {
		func() {
			defer func() {
				p, _ := recover().(string)
				require.True(t, strings.HasPrefix(p, "raw: "), "%+v: %q", opts, p)
			}()
			raw.New(&opts)
		}()
	}
}

type discard struct{}

func (discard) Emit(*subprotocol.Message) error { return nil }

// Not parallel: AllocsPerRun counts the allocations of the whole process.
func TestNoAllocations(t *testing.T) {
	f := raw.New(nil).NewFramer("", subprotocol.FramerConfig{})
	in := transport.Message{Type: transport.MessageText, Data: []byte(strings.Repeat("grüße ", 30))}
	var sink subprotocol.Sink = discard{}
	require.Zero(t, testing.AllocsPerRun(1000, func() { _ = f.Decode(in, sink) }), "Decode")

	out := &subprotocol.Message{Kind: subprotocol.KindReply, Type: in.Type, Body: in.Data}
	dst := make([]byte, 0, 1024)
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _, _ = f.Append(dst, out) }), "Append")

	former := f.(subprotocol.Former)
	forms := map[any]int{former.Form(): 1}
	require.Zero(t, testing.AllocsPerRun(1000, func() { forms[former.Form()]++ }), "Form")
}

func BenchmarkDecode(b *testing.B) {
	f := raw.New(nil).NewFramer("", subprotocol.FramerConfig{})
	in := transport.Message{Type: transport.MessageText, Data: []byte("hello")}
	var sink subprotocol.Sink = discard{}
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Decode(in, sink); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "hello", "grüße", "\xff\xfe", "a\x00b", strings.Repeat("x", 65)} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, data string, text bool) {
		const limit = 64
		typ := transport.MessageBinary
		if text {
			typ = transport.MessageText
		}
		fr := raw.New(nil).NewFramer("", subprotocol.FramerConfig{MaxFrame: limit})
		var out []byte
		n := 0
		err := fr.Decode(transport.Message{Type: typ, Data: []byte(data)}, sinkFunc(func(m *subprotocol.Message) error {
			n++
			m.Type = 0 // the bytes may be no text, whatever the transport said
			var err error
			out, typ, err = fr.Append(nil, m)
			return err
		}))
		if len(data) > limit {
			if err == nil || n != 0 {
				t.Fatalf("%d bytes: error %v, %d messages", len(data), err, n)
			}
			return
		}
		if err != nil || n != 1 || string(out) != data {
			t.Fatalf("%q: error %v, %d messages, back as %q", data, err, n, out)
		}
		if typ == transport.MessageText && strings.ToValidUTF8(data, "?") != data {
			t.Fatalf("%q went out as text", data)
		}
	})
}
