package stomp

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

type discard struct{}

func (discard) Emit(*neutral) error { return nil }

type sinkFunc func(*neutral) error

func (f sinkFunc) Emit(m *neutral) error { return f(m) }

func text(s string) transport.Message {
	return transport.Message{Type: transport.MessageText, Data: []byte(s)}
}

func TestNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{V12, V11, V10}, New(nil).Names())
	p := New(&Options{Versions: []string{"1.0", "1.2"}})
	require.Equal(t, []string{V12, V10}, p.Names())
	p.Names()[0] = "changed"
	require.Equal(t, []string{V12, V10}, p.Names())
}

func TestNewPanics(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]Options{
		"stomp: Options.MaxFrame is negative":                             {MaxFrame: -1},
		"stomp: Options.MaxHeaders is negative":                           {MaxHeaders: -1},
		"stomp: Options.MaxLine is negative":                              {MaxLine: -1},
		`stomp: Options.Versions has "1.3", which is not 1.0, 1.1 or 1.2`: {Versions: []string{"1.2", "1.3"}},
		"stomp: Options.Versions is empty":                                {Versions: []string{}},
		`stomp: Options.Server "a\nb" can't stand in a header`:            {Server: "a\nb"},
	} {
		require.PanicsWithValue(t, want, func() { New(&opts) })
	}
}

// The options are the caller's again.
func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	opts := &Options{Versions: []string{"1.1"}}
	p := New(opts)
	opts.Versions[0], opts.Server = "1.2", "changed"
	_, server := ends(t, p, v11)
	require.Equal(t, v11, server.version)
}

func TestVersionIsChosen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		accepted []string
		offered  string
		want     string
	}{
		{nil, "", "1.0"},
		{nil, "accept-version:\n", "1.0"},
		{nil, "accept-version:1.0,1.1,1.2\n", "1.2"},
		{nil, "accept-version:1.2,1.1,1.0\n", "1.2"},
		{nil, "accept-version:1.1\n", "1.1"},
		{nil, "accept-version:1.0, 1.1\n", "1.1"},
		{nil, "accept-version:1.1,1.3,2.0\n", "1.1"},
		{nil, "accept-version:1.1\naccept-version:1.2\n", "1.1"},
		{[]string{"1.0", "1.1"}, "accept-version:1.0,1.1,1.2\n", "1.1"},
		{[]string{"1.2"}, "accept-version:1.1\n", ""},
		{[]string{"1.1", "1.2"}, "", ""},
		{nil, "accept-version:1.3\n", ""},
		{nil, "accept-version:,\n", ""},
	} {
		// The name of the sub-protocol has no say.
		f := New(&Options{Versions: tt.accepted}).NewFramer(V10, subprotocol.FramerConfig{})
		var got list
		err := f.Decode(text("CONNECT\n"+tt.offered+"\n\x00"), &got)
		if tt.want == "" {
			e, ok := errors.AsType[*subprotocol.Error](err)
			require.True(t, ok, "%+v", tt)
			require.Equal(t, "version", e.Code)
			wire, _, err := f.Append(nil, &neutral{Kind: subprotocol.KindError, Error: e})
			require.NoError(t, err)
			require.Contains(t, string(wire), "\nversion:"+strings.Join(append([]string{}, orAll(tt.accepted)...), ",")+"\n")
			continue
		}
		require.NoError(t, err, "%+v", tt)
		require.Equal(t, tt.want, got[0].Version, "%+v", tt)
	}
}

func orAll(versions []string) []string {
	if versions == nil {
		return []string{"1.0", "1.1", "1.2"}
	}
	return versions
}

// A client takes no version that it does not have.
func TestServerChoosesBadly(t *testing.T) {
	t.Parallel()
	for wire, accepted := range map[string]string{
		"CONNECTED\n\n\x00":              "1.2", // which means 1.0
		"CONNECTED\nversion:1.1\n\n\x00": "1.2",
		"CONNECTED\nversion:1.3\n\n\x00": "1.2",
	} {
		f := New(&Options{Versions: []string{accepted}}).NewFramer("", subprotocol.FramerConfig{Client: true})
		e, ok := errors.AsType[*subprotocol.Error](f.Decode(text(wire), discard{}))
		require.True(t, ok, wire)
		require.Equal(t, "version", e.Code)
	}
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	for v := v10; v <= v12; v++ {
		client, server := ends(t, New(nil), v)
		require.Equal(t, subprotocol.Features{
			Connect: true, Subscriptions: true, FatalErrors: true, Receipts: true, Acks: true, Nacks: v > v10, Transactions: true,
			Errors: true, Heartbeats: v > v10, Disconnect: true,
		}, server.Features())
		require.Equal(t, server.Features(), client.Features())
	}
}

// A second CONNECT changes nothing of what holds; the session refuses it.
func TestSecondConnect(t *testing.T) {
	t.Parallel()
	_, server := ends(t, New(nil), v11)
	form := server.Form()
	var got list
	require.NoError(t, server.Decode(transport.Message{
		Type: transport.MessageBinary, Data: []byte("CONNECT\naccept-version:1.2\n\n\x00"),
	}, &got))
	require.Equal(t, "1.1", got[0].Version)
	require.Equal(t, form, server.Form())
	require.Equal(t, v11, server.version)
}

// Before CONNECTED nothing but the exchange itself can be written.
func TestAppendBeforeConnected(t *testing.T) {
	t.Parallel()
	f := New(nil).NewFramer("", subprotocol.FramerConfig{})
	for _, m := range []neutral{
		{Kind: subprotocol.KindConnected}, // no client asked
		{Kind: subprotocol.KindReceipt, Receipt: "r"},
		{Kind: subprotocol.KindDeliver, ID: "i"},
		{Kind: subprotocol.KindHeartbeat},
	} {
		_, _, err := f.Append(nil, &m)
		require.ErrorIs(t, err, errors.ErrUnsupported, "%v", m.Kind)
	}
	_, err := f.(subprotocol.Splitter).AppendHead(nil, &neutral{Kind: subprotocol.KindDeliver, ID: "i"})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	wire, typ, err := f.Append(nil, &neutral{Kind: subprotocol.KindError, Error: &subprotocol.Error{Text: "a: b"}})
	require.NoError(t, err)
	require.Equal(t, transport.MessageText, typ)
	require.Equal(t, "ERROR\nmessage:a: b\ncontent-type:text/plain\ncontent-length:11\n\nerror: a: b\x00", string(wire))
}

// A server writes binary where the client began so, or where the body is no text.
func TestMessageType(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		connect          transport.MessageType
		textOnly         bool
		plain, arbitrary transport.MessageType
	}{
		{transport.MessageText, false, transport.MessageText, transport.MessageBinary},
		{transport.MessageBinary, false, transport.MessageBinary, transport.MessageBinary},
		{transport.MessageText, true, transport.MessageText, 0},
		{transport.MessageBinary, true, transport.MessageText, 0},
	} {
		f := New(nil).NewFramer("", subprotocol.FramerConfig{TextOnly: tt.textOnly})
		require.NoError(t, f.Decode(transport.Message{Type: tt.connect, Data: []byte("CONNECT\naccept-version:1.2\n\n\x00")}, discard{}))
		_, _, err := f.Append(nil, &neutral{Kind: subprotocol.KindConnected})
		require.NoError(t, err)
		for body, want := range map[string]transport.MessageType{"grüße": tt.plain, "\xff": tt.arbitrary} {
			_, typ, err := f.Append(nil, &neutral{Kind: subprotocol.KindDeliver, Body: []byte(body)})
			require.Equal(t, want, typ, "%+v %q", tt, body)
			require.Equal(t, want == 0, err != nil)
		}
	}
	f := New(&Options{Binary: true}).NewFramer("", subprotocol.FramerConfig{Client: true})
	_, typ, err := f.Append(nil, &neutral{Kind: subprotocol.KindConnect})
	require.NoError(t, err)
	require.Equal(t, transport.MessageBinary, typ)
}

// The forms of connections differ where the bytes do.
func TestForm(t *testing.T) {
	t.Parallel()
	forms := map[any]string{}
	for v := v10; v <= v12; v++ {
		for _, binary := range []bool{false, true} {
			for _, textOnly := range []bool{false, true} {
				f := New(nil).NewFramer("", subprotocol.FramerConfig{TextOnly: textOnly}).(*framer)
				typ := transport.MessageText
				if binary {
					typ = transport.MessageBinary
				}
				require.NoError(t, f.Decode(transport.Message{Type: typ, Data: fmt.Appendf(nil, "CONNECT\naccept-version:%v\n\n\x00", v)}, discard{}))
				_, _, err := f.Append(nil, &neutral{Kind: subprotocol.KindConnected})
				require.NoError(t, err)
				forms[f.Form()] = ""
			}
		}
	}
	require.Len(t, forms, 3*3) // for each version: text, binary, text alone
}

// A MESSAGE without an ID has one of its own, and can't be acknowledged.
func TestDeliverWithoutID(t *testing.T) {
	t.Parallel()
	for v := v10; v <= v12; v++ {
		client, server := ends(t, New(nil), v)
		var got list
		for range 2 {
			head, err := server.AppendHead(nil, &neutral{Kind: subprotocol.KindDeliver, Subscription: "s"})
			require.NoError(t, err)
			wire, typ, err := server.AppendTail(head, &neutral{Kind: subprotocol.KindDeliver, Destination: "/d"})
			require.NoError(t, err)
			require.NoError(t, client.Decode(transport.Message{Type: typ, Data: wire}, &got))
		}
		for i, m := range got {
			require.Equal(t, fmt.Sprintf("m%d", i+1), m.ID+m.Header.Get("message-id"), "%v", v)
			require.Equal(t, v == v12, m.ID == "")
		}
	}
}

func TestAckID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"i", "1.", "-", "grüße", "0", strings.Repeat("9", 100)} {
		for _, sub := range []string{"s", ".", "-1", "1.a", noID + "/d"} {
			w := writer{version: v12}
			w.ackID(&neutral{ID: id, Subscription: sub})
			require.NoError(t, w.err)
			gotID, gotSub, named, ok := parseAckID(w.b)
			require.True(t, ok, "%s", w.b)
			require.Equal(t, id, string(gotID))
			if !named {
				gotSub = append([]byte(noID), gotSub...)
			}
			require.Equal(t, sub, string(gotSub))
		}
	}
}

// What is written fits on a line, whatever is in it.
func TestHeadersCannotBeForged(t *testing.T) {
	t.Parallel()
	evil := "x\nsubscription:other\n\nbody\x00"
	for v := v10; v <= v12; v++ {
		_, server := ends(t, New(nil), v)
		for _, m := range []neutral{
			{Destination: evil},
			{ContentType: evil},
			{Subscription: evil},
			{ID: evil},
			{Header: fields("k", evil)},
			{Header: fields(evil, "v")},
		} {
			m.Kind = subprotocol.KindDeliver
			_, _, err := server.Append(nil, &m)
			require.Error(t, err, "%v %+v", v, m)
		}
		wire, _, err := server.Append(nil, &neutral{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "c", Text: evil}})
		require.NoError(t, err, "an error is always shown")
		require.Contains(t, string(wire), "message:x subscription")
	}
}

// Credentials are in no text of an error.
func TestErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{
		"CONNECT\nlogin:ada\npasscode secret\n\n\x00",
		"CONNECT\npasscode:secret\n\nsecret\x00",
		"CONNECT\npasscode:secret\r\r\n\n\x00",
		"CONNECT\npasscode:secret\xff\n\n\x00",
		"CONNECT\naccept-version:1.2\npasscode:secret\nheart-beat:secret\n\n\x00",
		"CONNECT\npasscode:secret\naccept-version:9\n\n\x00",
		"CONNECT\npasscode:secret\x00",
	} {
		f := New(nil).NewFramer("", subprotocol.FramerConfig{})
		err := f.Decode(transport.Message{Type: transport.MessageBinary, Data: []byte(wire)}, discard{})
		require.Error(t, err, wire)
		require.NotContains(t, err.Error(), "secret")
	}
}

// A body that lies in one message is not copied, and what is behind it can't be
// reached.
func TestBodyIsNotCopied(t *testing.T) {
	t.Parallel()
	_, server := ends(t, New(nil), v12)
	m := text("SEND\ndestination:/d\n\nhello\x00SEND\ndestination:/d\n\nworld\x00")
	var at []int
	require.NoError(t, server.Decode(m, sinkFunc(func(got *neutral) error {
		require.Equal(t, len(got.Body), cap(got.Body))
		i := bytes.Index(m.Data, got.Body)
		require.Same(t, &m.Data[i], &got.Body[0])
		at = append(at, i)
		return nil
	})))
	require.Len(t, at, 2)
}

// What Decode holds of a frame is what has come, whatever is announced. Not parallel: it
// counts the bytes of the whole process.
func TestLengthsAreNotTrusted(t *testing.T) {
	p := New(&Options{MaxFrame: 1 << 30})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const runs = 100
	for range runs {
		_, server := ends(t, p, v12)
		require.NoError(t, server.Decode(text("SEND\ndestination:/d\ncontent-length:1000000000\n\nx"), discard{}))
		require.Equal(t, len("SEND\ndestination:/d\ncontent-length:1000000000\n\nx"), server.Partial())
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(runs*64<<10))
}

// A frame that comes byte by byte costs no more per byte when it is long: the scan never
// goes back, so that each byte is looked at once.
func TestScanStaysWhereItIs(t *testing.T) {
	t.Parallel()
	const n = 4 << 10
	p := New(&Options{MaxFrame: 1 << 30, MaxLine: 1 << 30, MaxHeaders: 1 << 20})
	for name, text := range map[string]string{
		"a line":           "SEND\ndestination:" + strings.Repeat("x", n),
		"headers":          "SEND\n" + strings.Repeat("a:b\n", n/4),
		"a body to a NUL":  "SEND\ndestination:/d\n\n" + strings.Repeat("x", n),
		"a body of length": "SEND\ndestination:/d\ncontent-length:1000000\n\n" + strings.Repeat("\x00", n),
		"empty lines":      strings.Repeat("\n", n),
		"CR and LF":        strings.Repeat("\r\n", n/2),
	} {
		_, server := ends(t, p, v12)
		for i := range len(text) {
			require.NoError(t, server.Decode(transport.Message{Type: transport.MessageText, Data: []byte{text[i]}}, discard{}))
			if fr := server.cur; fr != nil && fr.length < 0 {
				require.Equal(t, len(fr.buf), fr.pos, "%s: byte %d", name, i)
			}
		}
	}
}

// What is usual allocates nothing. Not parallel: it counts what the whole process
// allocates.
func TestAllocs(t *testing.T) {
	p := New(nil)
	near, far := ends(t, p, v12)
	for _, tt := range []struct {
		name string
		m    neutral
		from side
		want float64
	}{
		{"SEND", neutral{Kind: subprotocol.KindSend, Destination: "/app/say", ContentType: "application/json", Body: []byte("{}")}, client, 0},
		{"SEND with a receipt", neutral{Kind: subprotocol.KindSend, Destination: "/app/say", Receipt: "7", Body: []byte("{}")}, client, 1},
		{"SEND with headers", neutral{Kind: subprotocol.KindSend, Destination: "/app/say", Receipt: "7", Header: fields("k", "v", "l", "a:b"), Body: []byte("{}")}, client, 1},
		{"ACK", neutral{Kind: subprotocol.KindAck, ID: "2.31s", Subscription: "s"}, client, 1},
		{"heartbeat", neutral{Kind: subprotocol.KindHeartbeat}, client, 0},
		{"MESSAGE", neutral{Kind: subprotocol.KindDeliver, Subscription: "s", ID: "31", Destination: "/app/say", Body: []byte("{}")}, server, 1},
		{"RECEIPT", neutral{Kind: subprotocol.KindReceipt, Receipt: "7"}, server, 1},
	} {
		writer, reader := near, far
		if tt.from == server {
			writer, reader = far, near
		}
		dst := make([]byte, 0, 1024)
		wire, typ, err := writer.Append(dst, &tt.m)
		require.NoError(t, err)
		in := transport.Message{Type: typ, Data: bytes.Clone(wire)}
		var sink subprotocol.Sink = discard{}
		require.NoError(t, reader.Decode(in, sink)) // what is interned is made once
		n := testing.AllocsPerRun(1000, func() { _ = reader.Decode(in, sink) })
		t.Logf("Decode of a %s of %d bytes: %v", tt.name, len(in.Data), n)
		if !raceEnabled { // the race detector has pools forget
			require.LessOrEqual(t, n, tt.want, "Decode of a %s", tt.name)
		}
		require.Zero(t, testing.AllocsPerRun(1000, func() { _, _, _ = writer.Append(dst, &tt.m) }), "Append of a %s", tt.name)
		if tt.m.Kind == subprotocol.KindDeliver {
			require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = writer.AppendHead(dst, &tt.m) }))
			require.Zero(t, testing.AllocsPerRun(1000, func() { _, _, _ = writer.AppendTail(dst, &tt.m) }))
		}
	}
}

// Form is called for each delivery.
func TestFormAllocatesNothing(t *testing.T) {
	near, far := ends(t, New(nil), v12)
	for _, f := range []*framer{near, far} {
		require.Zero(t, testing.AllocsPerRun(100, func() { _ = f.Form() }))
	}
}

// Messages of two connections are two messages: what a client remembers of the first, so as not to
// work on a message twice, must not hide one of the second.
func TestMessageIDsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, session := range []string{"KFZ3WQ2ZL7OMVPTYI5H6AXJ4DN", "KFZ3WQ2ZL7OMVPTYI5H6AXJ4DO", "B7A5SNYQ3M6UEIXO4RTL2VGHPC"} {
		client, server := endsAs(t, New(nil), v12, session)
		for range 100 {
			wire, typ, err := server.Append(nil, &neutral{Kind: subprotocol.KindDeliver, Subscription: "s", Destination: "/d"})
			require.NoError(t, err)
			var got list
			require.NoError(t, client.Decode(transport.Message{Type: typ, Data: wire}, &got))
			id := got[0].Header.Get("message-id")
			require.False(t, seen[id], "%s again", id)
			seen[id] = true
		}
	}
}

// What a server takes from one client must not end another one.
func TestClientTakesWhatServerTook(t *testing.T) {
	t.Parallel()
	const most = 64 << 10
	fill := func(frame, with string) string {
		return strings.Replace(frame, "@", strings.Repeat(with, (most-len(frame))/len(with)), 1)
	}
	line := strings.Repeat(":", 8<<10-2)
	many := "SEND\ndestination:/queue/a\n"
	for i := range 63 {
		many += fmt.Sprintf("h%d:x\n", i)
	}
	long := "SEND\ndestination:/queue/a\n"
	for i := range 7 {
		long += fmt.Sprintf("%d:%s\n", i, line)
	}
	for name, frame := range map[string]string{
		"headers": many + "\nx\x00",
		"escapes": fill(long+"\n@\x00", "x"),
		"body":    fill("SEND\ndestination:/queue/a\n\n@\x00", "x"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, sender := ends(t, New(nil), v10)
			client, receiver := ends(t, New(nil), v12)
			var sent, got list
			require.NoError(t, sender.Decode(text(frame), &sent))
			require.Len(t, sent, 1)
			m := sent[0]
			m.Kind = subprotocol.KindDeliver
			m.Subscription, m.ID = strings.Repeat(":", 4<<10-2), strings.Repeat("9", 20)
			m.Header = append(subprotocol.Header{
				{Name: "redelivered", Value: "true"}, {Name: "delivery-count", Value: "20"}, {Name: "dead-reason", Value: "refused"},
				{Name: "dead-destination", Value: strings.Repeat(":", 1024)}, {Name: "dead-deliveries", Value: "20"},
			}, m.Header...)
			b, typ, err := receiver.Append(nil, m)
			require.NoError(t, err)
			require.NoError(t, client.Decode(transport.Message{Type: typ, Data: b}, &got))
			require.Len(t, got, 1)
			require.Equal(t, m.Body, got[0].Body)
			require.NoError(t, client.Decode(transport.Message{Type: typ, Data: b[:len(b)-1]}, &got), "and in two pieces")
		})
	}
}
