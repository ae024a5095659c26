package envelope_test

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport"
)

// both are the two forms.
var both = []struct {
	name string
	new  func(*envelope.Options) *envelope.SubProtocol
	typ  transport.MessageType
}{
	{"json", envelope.NewJSON, transport.MessageText},
	{"msgpack", envelope.NewMsgpack, transport.MessageBinary},
}

type sinkFunc func(*subprotocol.Message) error

func (f sinkFunc) Emit(m *subprotocol.Message) error { return f(m) }

type discard struct{}

func (discard) Emit(*subprotocol.Message) error { return nil }

func TestNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"v1.json.weft"}, envelope.NewJSON(nil).Names())
	p := envelope.NewMsgpack(nil)
	p.Names()[0] = "changed"
	require.Equal(t, []string{"v1.msgpack.weft"}, p.Names())
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	for _, form := range both {
		f := form.new(nil).NewFramer("", subprotocol.FramerConfig{})
		require.Equal(t, subprotocol.Features{
			Boundaries: true, Binary: form.typ == transport.MessageBinary, Connect: true, Reconnect: true, Subscriptions: true,
			Replies: true, Receipts: true, Acks: true, Nacks: true, Transactions: true, Errors: true, Heartbeats: true, Disconnect: true,
		}, f.Features())
	}
}

func TestNewPanics(t *testing.T) {
	t.Parallel()
	for _, form := range both {
		for _, opts := range []envelope.Options{
			{MaxFrame: -1}, {MaxString: -1}, {MaxHeaders: -1}, {MaxHeaderBytes: -1}, {MaxDepth: -1}, {MaxDepth: 1}, {MaxDepth: 1001},
		} {
			func() {
				defer func() {
					p, _ := recover().(string)
					require.True(t, strings.HasPrefix(p, "envelope: Options."), "%+v: %q", opts, p)
				}()
				form.new(&opts)
			}()
		}
	}
}

// Each limit lets through what is at it and refuses what is over it.
func TestOptions(t *testing.T) {
	t.Parallel()
	opts := envelope.Options{MaxString: 20, MaxHeaders: 2, MaxHeaderBytes: 10, MaxDepth: 3}
	header := func(pairs ...string) subprotocol.Header {
		var h subprotocol.Header
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	for _, form := range both {
		sub := form.new(&opts)
		for _, tt := range []struct {
			name  string
			text  string // "": no error
			m     subprotocol.Message
			local bool // JSON alone
		}{
			{name: "string", m: subprotocol.Message{ID: strings.Repeat("ü", 10)}},
			{name: "string", m: subprotocol.Message{ID: strings.Repeat("ü", 10) + "x"}, text: `"id" has 21 bytes, the limit is 20`},
			{name: "headers", m: subprotocol.Message{Header: header("a", "b", "a", "b")}},
			{name: "headers", m: subprotocol.Message{Header: header("a", "b", "a", "b", "a", "b")}, text: `"header" has more than 2 pairs`},
			{name: "header", m: subprotocol.Message{Header: header("12345", "678", "", "\"9")}},
			{name: "header", m: subprotocol.Message{Header: header("12345", "678", "", "\"90")}, text: `"header" has more than 10 bytes`},
			{name: "body", m: subprotocol.Message{Body: []byte(strings.Repeat("x", 10000))}},
		} {
			tt.m.Kind, tt.m.Destination = subprotocol.KindSend, "/d"
			// The writer has other limits: those are about what comes in.
			data, typ, err := form.new(nil).NewFramer("", subprotocol.FramerConfig{Client: true}).Append(nil, &tt.m)
			require.NoError(t, err)
			err = sub.NewFramer("", subprotocol.FramerConfig{}).Decode(transport.Message{Type: typ, Data: data}, discard{})
			if tt.text == "" {
				require.NoError(t, err, tt.name)
				continue
			}
			var se *subprotocol.Error
			require.ErrorAs(t, err, &se, tt.name)
			require.Equal(t, "limit", se.Code)
			require.Contains(t, se.Text, tt.text)
			require.False(t, se.Fatal)
		}
	}
	opts.MaxDepth = 64 // must not reach the SubProtocol that was made of it
	f := envelope.NewJSON(&envelope.Options{MaxDepth: 3}).NewFramer("", subprotocol.FramerConfig{})
	for body, text := range map[string]string{"[[[1]]]": "", "[[[[1]]]]": `"body" is nested deeper than 3`, `{"a":[{"b":{}}]}`: "deeper than 3"} {
		err := f.Decode(transport.Message{Type: transport.MessageText, Data: []byte(`{"type":"send","destination":"/d","body":` + body + `}`)}, discard{})
		if text == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, text)
	}
}

func TestMaxFrame(t *testing.T) {
	t.Parallel()
	for _, form := range both {
		for _, tt := range []struct{ option, config, limit int }{{100, 0, 100}, {100, 200, 200}, {200, 100, 100}, {100, -1, 0}, {0, 0, 0}} {
			f := form.new(&envelope.Options{MaxFrame: tt.option}).NewFramer("", subprotocol.FramerConfig{MaxFrame: tt.config})
			writer := form.new(nil).NewFramer("", subprotocol.FramerConfig{Client: true})
			n := 10000
			if tt.limit > 0 {
				empty, _, err := writer.Append(nil, &subprotocol.Message{Kind: subprotocol.KindSend, Destination: "/d", Body: []byte("é")})
				require.NoError(t, err)
				n = tt.limit - len(empty) + 2
			}
			for _, over := range []int{0, 1} {
				data, typ, err := writer.Append(nil, &subprotocol.Message{
					Kind: subprotocol.KindSend, Destination: "/d", Body: bytes.Repeat([]byte("x"), n+over),
				})
				require.NoError(t, err)
				err = f.Decode(transport.Message{Type: typ, Data: data}, discard{})
				if over == 0 || tt.limit == 0 {
					require.NoError(t, err, "%d bytes, limit %d", len(data), tt.limit)
					continue
				}
				var se *subprotocol.Error
				require.ErrorAs(t, err, &se, "%d bytes, limit %d", len(data), tt.limit)
				require.Equal(t, "too-large", se.Code)
				require.Equal(t, transport.StatusMessageTooBig, se.Status)
			}
		}
	}
}

// An endpoint sees Features.Binary and refuses a transport of text at set-up; should
// someone go on, nothing is sent.
func TestMsgpackNeedsBinary(t *testing.T) {
	t.Parallel()
	f := envelope.NewMsgpack(nil).NewFramer("", subprotocol.FramerConfig{TextOnly: true})
	require.True(t, f.Features().Binary)
	dst := []byte("dst")
	m := &subprotocol.Message{Kind: subprotocol.KindDeliver, Body: []byte("x")}
	b, typ, err := f.Append(dst, m)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.Zero(t, typ)
	require.Equal(t, dst, b)
	_, err = f.(subprotocol.Splitter).AppendHead(dst, m)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, _, err = f.(subprotocol.Splitter).AppendTail(dst, m)
	require.ErrorIs(t, err, errors.ErrUnsupported)

	f = envelope.NewJSON(nil).NewFramer("", subprotocol.FramerConfig{TextOnly: true})
	_, typ, err = f.Append(nil, &subprotocol.Message{Kind: subprotocol.KindDeliver, Body: []byte("\xff")})
	require.NoError(t, err)
	require.Equal(t, transport.MessageText, typ)
}

func TestForm(t *testing.T) {
	t.Parallel()
	for _, form := range both {
		p := form.new(nil)
		of := func(cfg subprotocol.FramerConfig) any { return p.NewFramer("", cfg).(subprotocol.Former).Form() }
		require.Equal(t, of(subprotocol.FramerConfig{}), of(subprotocol.FramerConfig{MaxFrame: 3}))
		require.NotEqual(t, of(subprotocol.FramerConfig{}), of(subprotocol.FramerConfig{Client: true}),
			"what a server sends is an error for a client")
		require.Equal(t, form.typ == transport.MessageText,
			of(subprotocol.FramerConfig{}) == of(subprotocol.FramerConfig{TextOnly: true}))
	}
}

// Only a Deliver has a head and a tail.
func TestSplitOthers(t *testing.T) {
	t.Parallel()
	for _, form := range both {
		f := form.new(nil).NewFramer("", subprotocol.FramerConfig{}).(subprotocol.Splitter)
		m := &subprotocol.Message{Kind: subprotocol.KindReply}
		_, err := f.AppendHead(nil, m)
		require.Error(t, err)
		_, _, err = f.AppendTail(nil, m)
		require.Error(t, err)
	}
}

// Append leaves out what the kind has no field for, so that a Send that came in
// can go out as a Deliver or a Reply.
func TestAppendLeavesOut(t *testing.T) {
	t.Parallel()
	f := envelope.NewJSON(nil).NewFramer("", subprotocol.FramerConfig{})
	m := &subprotocol.Message{
		Kind: subprotocol.KindDeliver, Destination: "/d", Receipt: "r", Transaction: "t", Version: "x", NeedReply: true,
		Error: &subprotocol.Error{Code: "c", Subscription: "s"}, AckMode: 9, Body: []byte("1"),
	}
	data, _, err := f.Append(nil, m)
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"deliver","destination":"/d","body":1}`, string(data))

	_, _, err = f.Append(nil, &subprotocol.Message{Kind: subprotocol.KindSend, Destination: "/d"})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "a send does not come from the server")
	_, _, err = f.Append(nil, &subprotocol.Message{Kind: subprotocol.KindReceipt})
	require.ErrorContains(t, err, `the field "receipt" is missing in a receipt`)
}

func TestHeartbeatRoundsUp(t *testing.T) {
	t.Parallel()
	f := envelope.NewJSON(nil).NewFramer("", subprotocol.FramerConfig{Client: true})
	data, _, err := f.Append(nil, &subprotocol.Message{
		Kind: subprotocol.KindConnect, Heartbeat: subprotocol.Heartbeat{Send: 1, Receive: time.Second + 1},
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"connect","version":"1","heartbeat":[1,1001]}`, string(data))
}

// Strings may be kept by the handler, whatever becomes of the bytes and of later
// messages, and what a handler leaves on a Message does not come back.
func TestMessagesAreIndependent(t *testing.T) {
	t.Parallel()
	for _, form := range both {
		p := form.new(nil)
		writer := p.NewFramer("", subprotocol.FramerConfig{Client: true})
		reader := p.NewFramer("", subprotocol.FramerConfig{})
		own := subprotocol.Header{{Name: "own", Value: "header"}}
		var kept []subprotocol.Message
		const n = 100
		for i := range n {
			suffix := strings.Repeat("x", i)
			data, typ, err := writer.Append(nil, &subprotocol.Message{
				Kind: subprotocol.KindSend, Destination: "/\"" + suffix, ID: "i\n" + suffix, Receipt: "r" + suffix,
				Header: subprotocol.Header{{Name: "n" + suffix, Value: "\t" + suffix}},
			})
			require.NoError(t, err)
			err = reader.Decode(transport.Message{Type: typ, Data: data}, sinkFunc(func(m *subprotocol.Message) error {
				require.Empty(t, m.PathValue("room"))
				require.Nil(t, m.Error)
				kept = append(kept, *m)
				kept[i].Header = bytesCloned(m.Header)
				m.SetPathValue("room", "blue")
				m.Error = &subprotocol.Error{}
				m.Header = own
				return nil
			}))
			require.NoError(t, err)
			clear(data)
		}
		require.Equal(t, subprotocol.Header{{Name: "own", Value: "header"}}, own, "a handler's own header stays")
		for i, m := range kept {
			suffix := strings.Repeat("x", i)
			require.Equal(t, "/\""+suffix, m.Destination)
			require.Equal(t, "i\n"+suffix, m.ID)
			require.Equal(t, "r"+suffix, m.Receipt)
			require.Equal(t, subprotocol.Header{{Name: "n" + suffix, Value: "\t" + suffix}}, m.Header)
		}
	}
}

// Who keeps the names of a subscription, as sessions and brokers do, does not keep the rest
// of the envelope with them.
func TestSubscriptionsAreKeptAlone(t *testing.T) {
	t.Parallel()
	for _, form := range both {
		p := form.new(nil)
		reader := p.NewFramer("", subprotocol.FramerConfig{})
		data, typ, err := p.NewFramer("", subprotocol.FramerConfig{Client: true}).Append(nil, &subprotocol.Message{
			Kind: subprotocol.KindSubscribe, Subscription: strings.Repeat("s", 500), Destination: strings.Repeat("d", 500),
			Receipt: "r", Header: subprotocol.Header{{Name: "n", Value: strings.Repeat("v", 5000)}},
		})
		require.NoError(t, err)
		var kept []string
		var value weak.Pointer[byte]
		err = reader.Decode(transport.Message{Type: typ, Data: data}, sinkFunc(func(m *subprotocol.Message) error {
			kept = append(kept, m.Subscription, m.Destination)
			value = weak.Make(unsafe.StringData(m.Header[0].Value))
			return nil
		}))
		require.NoError(t, err)
		runtime.GC()
		require.Nil(t, value.Value(), form.name)
		require.Len(t, kept, 2)
		runtime.KeepAlive(kept)
	}
}

func bytesCloned(h subprotocol.Header) subprotocol.Header {
	return append(subprotocol.Header(nil), h...)
}

// The figures are what the format costs: a string for what is new in an envelope.
// Not parallel: AllocsPerRun counts the allocations of the whole process.
func TestAllocations(t *testing.T) {
	header := subprotocol.Header{{Name: "trace", Value: "5f0c"}, {Name: "user", Value: "ada"}}
	type message = subprotocol.Message
	for _, form := range both {
		p := form.new(nil)
		for _, tt := range []struct {
			name   string
			server bool
			want   float64 // of Decode
			m      message
		}{
			{"send", false, 0, message{Kind: subprotocol.KindSend, Destination: "/app/rooms/blue/say", ContentType: "application/json",
				Body: []byte(`{"text":"hello, \"you\""}`)}},
			{"send text", false, 0, message{Kind: subprotocol.KindSend, Destination: "/app/rooms/blue/say", Body: []byte("a \"quoted\"\n\x01")}},
			{"send bytes", false, 0, message{Kind: subprotocol.KindSend, Destination: "/app/rooms/blue/say", Body: []byte("\xff\xfe")}},
			{"send with all", false, 1, message{Kind: subprotocol.KindSend, Destination: "/app/rooms/blue/say", ID: "i", Receipt: "r-1",
				Transaction: "t", Header: header, Body: []byte("[]")}},
			{"ack", false, 1, message{Kind: subprotocol.KindAck, Subscription: "s-1", ID: "81"}},
			{"heartbeat", false, 0, message{Kind: subprotocol.KindHeartbeat}},
			{"deliver", true, 1, message{Kind: subprotocol.KindDeliver, Subscription: "s-1", ID: "81", Destination: "/topic/blue", Body: []byte("{}")}},
			{"error", true, 1, message{Kind: subprotocol.KindError, Receipt: "r", Error: &subprotocol.Error{Code: "internal", Text: "no"}}},
		} {
			writer := p.NewFramer("", subprotocol.FramerConfig{Client: !tt.server})
			reader := p.NewFramer("", subprotocol.FramerConfig{Client: tt.server})
			data, typ, err := writer.Append(nil, &tt.m)
			require.NoError(t, err)
			in := transport.Message{Type: typ, Data: data}
			var sink subprotocol.Sink = discard{}
			_ = reader.Decode(in, sink) // what is interned is made once
			n := testing.AllocsPerRun(1000, func() { _ = reader.Decode(in, sink) })
			t.Logf("%s: Decode of a %s of %d bytes: %v", form.name, tt.name, len(data), n)
			if !raceEnabled { // the race detector has pools forget
				require.LessOrEqual(t, n, tt.want, "%s: Decode of a %s", form.name, tt.name)
			}
			dst := make([]byte, 0, 1024)
			require.Zero(t, testing.AllocsPerRun(1000, func() { _, _, _ = writer.Append(dst, &tt.m) }), "%s: Append of a %s", form.name, tt.name)
			if tt.m.Kind == subprotocol.KindDeliver {
				split := writer.(subprotocol.Splitter)
				require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = split.AppendHead(dst, &tt.m) }))
				require.Zero(t, testing.AllocsPerRun(1000, func() { _, _, _ = split.AppendTail(dst, &tt.m) }))
			}
		}
	}
}

// What is announced is not allocated. Not parallel: it counts the bytes of the whole
// process.
func TestLengthsAreNotTrusted(t *testing.T) {
	p := envelope.NewMsgpack(nil)
	f := p.NewFramer("", subprotocol.FramerConfig{})
	// A map of 2^32-1 fields, and a name of as many bytes.
	hostile := []byte("\xdf\xff\xff\xff\xff\xdb\xff\xff\xff\xff")
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		require.Error(t, f.Decode(transport.Message{Type: transport.MessageBinary, Data: hostile}, discard{}))
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(runs*16<<10))
}
