package envelope

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// random makes messages that have a wire form.
type random struct{ *rand.Rand }

var pieces = []string{
	"a", "/topic", "/", " ", "\"", "\\", "\n", "\x00", "\x1f", "\x7f", "ü", "\u2028", "\U0001f600", "\ufeff", "\uffff", "{}", "</script>",
	`\u0041`, `\`, strings.Repeat("long", 20),
}

func (r random) text(max int) string {
	var b strings.Builder
	for range r.IntN(max + 1) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

func (r random) body() []byte {
	switch r.IntN(4) {
	case 0:
		b := make([]byte, r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	case 1:
		return []byte(r.text(20))
	case 2:
		return []byte(r.json(0) + strings.Repeat(" ", r.IntN(2)))
	default:
		return nil
	}
}

func (r random) json(depth int) string {
	if depth > 70 {
		return "0"
	}
	switch r.IntN(9) {
	case 0:
		return []string{"null", "true", "false", `""`}[r.IntN(4)]
	case 1:
		return []string{"0", "-0", "1.50", "1e400", "-12E-3", strings.Repeat("9", 100)}[r.IntN(6)]
	case 2:
		return string(appendQuoted(nil, r.text(5)))
	case 3:
		return `"\ud800\/\u00e9"`
	case 4:
		n := 1 + r.IntN(70)
		return strings.Repeat("[", n) + r.json(depth+n) + strings.Repeat("]", n)
	case 5, 6:
		return "[" + r.json(depth+1) + " , " + r.json(depth+1) + "]"
	default:
		return `{ "a":` + r.json(depth+1) + `,"a":` + r.json(depth+1) + "}"
	}
}

func (r random) heartbeat() time.Duration {
	return time.Duration(r.Int64N(maxInterval+1)) * time.Millisecond
}

// message makes a message of that shape with some of its fields.
func (r random) message(s *shape) *subprotocol.Message {
	m := &subprotocol.Message{Kind: s.kind}
	if s.allowed().has(fieldVersion) {
		m.Version = version
	}
	var e *subprotocol.Error
	if s.kind == subprotocol.KindError {
		e = new(subprotocol.Error)
		m.Error = e
	}
	for i := range fields {
		f := field(i)
		if !s.required.has(f) && (!s.optional.has(f) || r.IntN(3) == 0) {
			continue
		}
		text := r.text(10)
		if s.required.has(f) {
			text += "x"
		}
		switch f {
		case fieldSubscription:
			m.Subscription = text
		case fieldID:
			m.ID = text
		case fieldReceipt:
			m.Receipt = text
		case fieldTransaction:
			m.Transaction = text
		case fieldHeartbeat:
			m.Heartbeat = subprotocol.Heartbeat{Send: r.heartbeat(), Receive: r.heartbeat()}
		case fieldAck:
			m.AckMode = subprotocol.AckMode(r.IntN(3))
		case fieldCode:
			e.Code = text
		case fieldMessage:
			e.Text = r.text(100)
		case fieldFatal:
			e.Fatal = r.IntN(2) == 0
		case fieldAnswer:
			m.NeedReply = r.IntN(2) == 0
		case fieldDestination:
			m.Destination = text
		case fieldContentType:
			m.ContentType = []string{"application/json", "text/plain", "a/b+json; c=d", "APPLICATION/JSON", "image/png", text}[r.IntN(6)]
		case fieldHeader:
			for range r.IntN(5) {
				m.Header.Add(r.text(2), r.text(4))
			}
		case fieldBody:
			if b := r.body(); len(b) > 0 {
				m.Body = b
			}
		}
	}
	if e != nil {
		e.Receipt, e.Subscription = m.Receipt, m.Subscription
	}
	return m
}

// read decodes w, which from has sent, and makes comparable what comes out.
func read(t *testing.T, f *framer, w transport.Message) *subprotocol.Message {
	t.Helper()
	var got last
	require.NoError(t, f.Decode(w, &got), "%q", w.Data)
	m := got.m
	require.Equal(t, w.Type, m.Type)
	m.Type = 0
	if len(m.Header) == 0 {
		m.Header = nil
	}
	if len(m.Body) == 0 {
		m.Body = nil
	}
	return m
}

// What one side writes the other reads, in both forms, and it is the same in both.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		r := random{rand.New(rand.NewPCG(seed, 1))}
		type end struct{ client, server *framer }
		var ends [2]end
		for i, s := range []*SubProtocol{NewJSON(nil), NewMsgpack(nil)} {
			ends[i] = end{
				s.NewFramer("", subprotocol.FramerConfig{Client: true}).(*framer), s.NewFramer("", subprotocol.FramerConfig{}).(*framer),
			}
		}
		for range 100 {
			for i := range shapes {
				want := r.message(&shapes[i])
				for _, e := range ends {
					writer, reader := e.client, e.server
					if shapes[i].from == server {
						writer, reader = e.server, e.client
					}
					data, typ, err := writer.Append(nil, want)
					require.NoError(t, err)
					require.Equal(t, want, read(t, reader, transport.Message{Type: typ, Data: data}), "%q", data)
					if typ == transport.MessageText {
						require.True(t, utf8.Valid(data))
					}
					if want.Kind != subprotocol.KindDeliver {
						continue
					}
					head, err := writer.AppendHead(nil, want)
					require.NoError(t, err)
					other := *want
					other.Subscription, other.ID = "another", ""
					split, typ2, err := writer.AppendTail(head, &other)
					require.NoError(t, err)
					require.Equal(t, typ, typ2)
					require.Equal(t, data, split)
				}
			}
		}
	}
}

// JSON stands as JSON, text as a string, all else as base64.
func TestBodyForms(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tt := range []struct{ contentType, body, want string }{
		{"", `{"a":1}`, `"body":{"a":1}`},
		{"", `null`, `"body":null`},
		{"", `"text"`, `"body":"text"`},
		{"", `hello`, `"text":"hello"`},
		{"", ` {}`, `"text":" {}"`},
		{"", "{}\n", `"text":"{}\n"`},
		{"", "\xff", `"base64":"/w=="`},
		{"", "\"\xff\"", `"base64":"Iv8i"`},
		{"", deep(64), `"body":` + deep(64)},
		{"", deep(65), `"text":"` + deep(65) + `"`},
		{"application/json", `1e999`, `"body":1e999`},
		{"Application/JSON ; charset=utf-8", `[1, 2]`, `"body":[1, 2]`},
		{"application/ld+json", `{}`, `"body":{}`},
		{"+json", `{}`, `"text":"{}"`},
		{"application/jsonx", `{}`, `"text":"{}"`},
		{"application/json", `{`, `"text":"{"`},
		{"application/json", `{"a":"` + "\x01" + `"}`, `"text":"{\"a\":\"\u0001\"}"`},
		{"text/plain", `{}`, `"text":"{}"`},
		{"text/plain", "a\"\\\r\n\tü\u2028\x7f", `"text":"a\"\\\r\n\tü` + "\u2028\x7f" + `"`},
		{"image/png", `png`, `"text":"png"`},
		{"image/png", "\x89PNG", `"base64":"iVBORw=="`},
		{"image/png", "", ``},
	} {
		f, _ := framerFor(client, false)
		w, _ := framerFor(server, false)
		m := &subprotocol.Message{Kind: subprotocol.KindSend, Destination: "/d", ContentType: tt.contentType, Body: []byte(tt.body)}
		data, typ, err := w.Append(nil, m)
		require.NoError(t, err)
		_, body, _ := strings.Cut(string(data), `"/d"`)
		if tt.contentType != "" {
			_, body, _ = strings.Cut(body, fmt.Sprintf("%q", tt.contentType))
		}
		require.Equal(t, tt.want, strings.TrimSuffix(strings.TrimPrefix(body, ","), "}"))
		require.Equal(t, tt.body, string(read(t, f, transport.Message{Type: typ, Data: data}).Body))
	}
}

// What a peer may write, though Append does not.
func TestReadLeniently(t *testing.T) {
	t.Parallel()
	send := func(change func(*subprotocol.Message)) *subprotocol.Message {
		m := &subprotocol.Message{Kind: subprotocol.KindSend, Destination: "/d"}
		if change != nil {
			change(m)
		}
		return m
	}
	body := func(b string) *subprotocol.Message {
		return send(func(m *subprotocol.Message) { m.Body = []byte(b) })
	}
	for _, tt := range []struct {
		input string
		want  *subprotocol.Message
	}{
		{" \t\r\n{ \"destination\" : \"/d\" , \"type\" : \"send\" } ", send(nil)},
		{`{"destination":"/d","type":"\u0073\u0065nd","\u0069d":null,"receipt":"","header":[],"fatal":false,"heartbeat":[0,0],"ack":null}`, send(nil)},
		{`{"type":"send","destination":"\/\ud83d\ude00\b\f\u00E9"}`, send(func(m *subprotocol.Message) { m.Destination = "/\U0001f600\b\fé" })},
		{`{"type":"send","destination":"/d","body": { "a" : 1 } }`, body(`{ "a" : 1 }`)},
		{`{"type":"send","destination":"/d","body":null}`, body("null")},
		{`{"type":"send","destination":"/d","body":"\ud800"}`, body(`"\ud800"`)},
		{`{"type":"send","destination":"/d","text":null}`, send(nil)},
		{`{"type":"send","destination":"/d","text":""}`, send(nil)},
		{`{"type":"send","destination":"/d","text":null,"body":[],"base64":""}`, body("[]")},
		{`{"type":"send","destination":"/d","body":"","text":""}`, body(`""`)},
		{`{"type":"send","destination":"/d","body":false}`, body("false")},
		{`{"type":"send","destination":"/d","text":"\u0000"}`, body("\x00")},
		{`{"type":"send","destination":"/d","base64":"\u0059Q=="}`, body("a")},
		{`{"type":"connect"}`, &subprotocol.Message{Kind: subprotocol.KindConnect, Version: "1"}},
		{`{"type":"connect","version":"12","heartbeat":[ 1 , 0 ],"header":[ [ "a" , "b\n" ] ]}`, &subprotocol.Message{
			Kind: subprotocol.KindConnect, Version: "1", Heartbeat: subprotocol.Heartbeat{Send: time.Millisecond},
			Header: subprotocol.Header{{Name: "a", Value: "b\n"}},
		}},
		{pack("82", "'type", "'send", "'destination", "'/d"), send(nil)},
		{pack("de0002", "d90474797065", "da000473656e64", "db0000000b64657374696e6174696f6e", "'/d"), send(nil)},
		{pack("df00000005", "'type", "'send", "'destination", "'/d", "'receipt", "c0", "'body", "c0", "'fatal", "c2"), send(nil)},
		{pack("83", "'type", "'send", "'destination", "'/d", "'body", "c60000000161"), body("a")},
		{pack("83", "'type", "'send", "'destination", "'/d", "'body", "c5000161"), body("a")},
		{pack("82", "'type", "'connect", "'heartbeat", "dd00000002", "cf0000000000000001", "d001"), &subprotocol.Message{
			Kind: subprotocol.KindConnect, Version: "1", Heartbeat: subprotocol.Heartbeat{Send: time.Millisecond, Receive: time.Millisecond},
		}},
		{pack("82", "'type", "'connect", "'header", "dc0001", "dc0002", "'a", "'b"), &subprotocol.Message{
			Kind: subprotocol.KindConnect, Version: "1", Header: subprotocol.Header{{Name: "a", Value: "b"}},
		}},
	} {
		f, typ := framerFor(client, tt.input[0] >= 0x80)
		require.Equal(t, tt.want, read(t, f, transport.Message{Type: typ, Data: []byte(tt.input)}), "%q", tt.input)
	}
}

// A quote, a backslash or a control character is found wherever it stands.
func TestPlain(t *testing.T) {
	t.Parallel()
	for n := range 20 {
		b := make([]byte, n)
		for at := range n {
			for c := range 256 {
				for i := range b {
					b[i] = "a\x7f\x80\xff !#[]"[(i+c)%9]
				}
				b[at] = byte(c)
				want := n
				if c < ' ' || c == '"' || c == '\\' {
					want = at
				}
				if got := plain(b); got != want {
					t.Fatalf("%q: %d, not %d", b, got, want)
				}
			}
		}
	}
}
