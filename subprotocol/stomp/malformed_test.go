package stomp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// malformed is what comes after the connect exchange and breaks a rule.
type malformedInput struct {
	name     string
	from     version // the first version that refuses it
	to       version // and the last
	atClient bool
	input    string
	code     string
	text     string // what the text has, at least
	receipt  string
}

// malformedTable returns what a version refuses.
func malformedTable(v version) []malformedInput {
	var bs []malformedInput
	for _, b := range allMalformed() {
		if b.from <= v && v <= b.to {
			bs = append(bs, b)
		}
	}
	return bs
}

func allMalformed() []malformedInput {
	long := strings.Repeat("x", 9<<10)
	return []malformedInput{
		{"unknown command", v10, v12, false, "HELLO\n\n\x00", "unknown-command", `"HELLO"`, ""},
		{"unknown command with a receipt", v10, v12, false, "HELLO\nk:v\nreceipt:7\nreceipt:8\n\nbody\x00", "unknown-command", `"HELLO"`, "7"},
		{"unknown command with an escaped receipt", v11, v12, false, "HELLO\nreceipt:a\\cb\n\n\x00", "unknown-command", `"HELLO"`, "a:b"},
		{"unknown command with a bad header", v10, v12, false, "HELLO\nreceipt:7\nwhat\n", "unknown-command", `"HELLO"`, "7"},
		{"unknown command without an empty line", v10, v12, false, "HELLO\nreceipt:7\n\x00", "unknown-command", `"HELLO"`, "7"},
		{"lower case", v10, v12, false, "send\ndestination:/d\n\n\x00", "unknown-command", `"send"`, ""},
		{"padded command", v10, v12, false, "SEND \ndestination:/d\n\n\x00", "unknown-command", `"SEND "`, ""},
		{"HTTP", v10, v12, false, "GET / HTTP/1.1\r\n", "unknown-command", `"GET / HTTP/1.1`, ""},
		{"MESSAGE of a client", v10, v12, false, "MESSAGE\n\n\x00", "unknown-command", "MESSAGE does not come from the client", ""},
		{"SEND of a server", v10, v12, true, "SEND\n\n\x00", "unknown-command", "SEND does not come from the server", ""},
		{"NACK", v10, v10, false, "NACK\nmessage-id:1\n\n\x00", "unknown-command", "NACK", ""},
		{"NACK with a receipt", v10, v10, false, "NACK\nmessage-id:1\nreceipt: 7 \n\n\x00", "unknown-command", "NACK", "7"},
		{"second CONNECTED", v10, v12, true, "CONNECTED\n\n\x00", "malformed", "connected already", ""},

		{"SEND nowhere", v10, v12, false, "SEND\nreceipt:7\n\nx\x00", "missing-header", `SEND needs the header "destination"`, "7"},
		{"SEND to nothing", v10, v12, false, "SEND\nreceipt:7\ndestination:\n\nx\x00", "missing-header", `SEND needs the header "destination"`, "7"},
		{"SUBSCRIBE to nothing", v10, v12, false, "SUBSCRIBE\nid:1\n\n\x00", "missing-header", `SUBSCRIBE needs the header "destination"`, ""},
		{"SUBSCRIBE without id", v11, v12, false, "SUBSCRIBE\ndestination:/d\nreceipt:7\n\n\x00", "missing-header", `SUBSCRIBE needs the header "id"`, "7"},
		{"SUBSCRIBE with a bad mode", v10, v12, false, "SUBSCRIBE\nid:1\ndestination:/d\nack:often\n\n\x00", "bad-header", `"ack" of SUBSCRIBE`, ""},
		{"SUBSCRIBE with an empty mode", v10, v12, false, "SUBSCRIBE\nid:1\ndestination:/d\nack:\n\n\x00", "bad-header", `"ack" of SUBSCRIBE`, ""},
		{"SUBSCRIBE with a later mode", v10, v10, false, "SUBSCRIBE\nid:1\ndestination:/d\nack:client-individual\n\n\x00", "bad-header", "1.0", ""},
		{"UNSUBSCRIBE from nothing", v10, v10, false, "UNSUBSCRIBE\n\n\x00", "missing-header", `"id" or "destination"`, ""},
		{"UNSUBSCRIBE without id", v11, v12, false, "UNSUBSCRIBE\ndestination:/d\n\n\x00", "missing-header", `UNSUBSCRIBE needs the header "id"`, ""},
		{"ACK of nothing", v10, v11, false, "ACK\nsubscription:s\n\n\x00", "missing-header", `ACK needs the header "message-id"`, ""},
		{"ACK without subscription", v11, v11, false, "ACK\nmessage-id:1\n\n\x00", "missing-header", `ACK needs the header "subscription"`, ""},
		{"ACK without id", v12, v12, false, "ACK\nmessage-id:1\nsubscription:s\n\n\x00", "missing-header", `ACK needs the header "id"`, ""},
		{"NACK without id", v12, v12, false, "NACK\nmessage-id:1\nreceipt:7\n\n\x00", "missing-header", `NACK needs the header "id"`, "7"},
		{"BEGIN nothing", v10, v12, false, "BEGIN\n\n\x00", "missing-header", `BEGIN needs the header "transaction"`, ""},
		{"COMMIT nothing", v10, v12, false, "COMMIT\n\n\x00", "missing-header", `COMMIT needs the header "transaction"`, ""},
		{"ABORT nothing", v10, v12, false, "ABORT\n\n\x00", "missing-header", `ABORT needs the header "transaction"`, ""},
		{"MESSAGE from nowhere", v10, v12, true, "MESSAGE\nmessage-id:1\nsubscription:s\n\n\x00", "missing-header", `MESSAGE needs the header "destination"`, ""},
		{"MESSAGE to nothing", v11, v12, true, "MESSAGE\nmessage-id:1\ndestination:/d\n\n\x00", "missing-header", `MESSAGE needs the header "subscription"`, ""},
		{"MESSAGE without id", v10, v12, true, "MESSAGE\nsubscription:s\ndestination:/d\n\n\x00", "missing-header", `MESSAGE needs the header "message-id"`, ""},
		{"RECEIPT of nothing", v10, v12, true, "RECEIPT\n\n\x00", "missing-header", `RECEIPT needs the header "receipt-id"`, ""},

		{"ACK of a counted MESSAGE", v12, v12, false, "ACK\nid:m1\n\n\x00", "unknown-ack", `"id" of ACK`, ""},
		{"ACK of a counted MESSAGE", v10, v10, false, "ACK\nmessage-id:m1\n\n\x00", "unknown-ack", `"message-id" of ACK`, ""},
		{"ACK of too little", v12, v12, false, "ACK\nid:3.abc\n\n\x00", "unknown-ack", `"id" of ACK`, ""},
		{"ACK of much", v12, v12, false, "ACK\nid:99999999999999999999.abc\n\n\x00", "unknown-ack", `"id" of ACK`, ""},
		{"ACK with a leading zero", v12, v12, false, "ACK\nid:01.as\n\n\x00", "unknown-ack", `"id" of ACK`, ""},
		{"ACK of a number", v12, v12, false, "ACK\nid:1\nreceipt:7\n\n\x00", "unknown-ack", `"id" of ACK`, "7"},

		{"no colon", v10, v12, false, "SEND\nreceipt:7\ndestination\n\n\x00", "malformed", "header 2 of SEND has no colon", "7"},
		{"no colon and a padded receipt", v10, v10, false, "SEND\nreceipt: 7\ndestination\n\n\x00", "malformed", "header 2 of SEND has no colon", "7"},
		{"no name", v10, v12, false, "SEND\n:/d\n\n\x00", "malformed", "header 1 of SEND has no name", ""},
		{"no empty line", v10, v12, false, "SEND\ndestination:/d\x00", "malformed", "NUL before the empty line", ""},
		{"no empty line, a later one", v10, v12, false, "SEND\ndestination:/d\x00SEND\n\n\x00", "malformed", "NUL before the empty line", ""},
		{"NUL in the command", v10, v12, false, "SEND\x00\n", "malformed", "NUL before the empty line", ""},
		{"CR before LF", v10, v11, false, "SEND\r\ndestination:/d\r\n\r\n\x00", "unknown-command", `"SEND\r"`, ""},
		{"CR in a header", v12, v12, false, "SEND\ndestination:/d\nk:a\rb\n\n\x00", "bad-header", `"k" of SEND`, ""},
		{"headers not UTF-8", v10, v12, false, "SEND\ndestination:/\xff\n\n\x00", "malformed", "not UTF-8", ""},
		{"undefined escape", v11, v12, false, "SEND\nreceipt:7\ndestination:/d\nk:\\t\n\n\x00", "bad-header", `"k" of SEND`, "7"},
		{"undefined escape of a name", v11, v12, false, "SEND\ndestination:/d\n\\t:1\n\n\x00", "bad-header", "of SEND", ""},
		{"undefined escape of a repeated header", v11, v12, false, "SEND\ndestination:/d\ndestination:\\x\n\n\x00", "bad-header", `"destination" of SEND`, ""},
		{"escape of nothing", v11, v12, false, "SEND\ndestination:/d\\\n\n\x00", "bad-header", `"destination" of SEND`, ""},
		{"escape across the colon", v11, v12, false, "SEND\ndestination:/d\nk\\:cx\n\n\x00", "bad-header", "of SEND", ""},
		{"escaped CR", v11, v11, false, "SEND\ndestination:/d\nk:\\r\n\n\x00", "bad-header", `"k" of SEND`, ""},
		{"escape in a receipt", v11, v12, false, "SEND\ndestination:/d\nreceipt:\\x\n\n\x00", "bad-header", `"receipt" of SEND`, ""},

		{"content-length too long", v10, v12, false, "SEND\ndestination:/d\ncontent-length:3\n\nhi\x00\n\n\n", "malformed", "no NUL behind the body of SEND", ""},
		{"content-length too short", v10, v12, false, "SEND\nreceipt:7\ndestination:/d\ncontent-length:1\n\nhi\x00", "malformed", "no NUL behind the body of SEND", "7"},
		{"content-length negative", v10, v12, false, "SEND\ndestination:/d\ncontent-length:-1\n\nhi\x00", "bad-header", `"content-length" of SEND`, ""},
		{"content-length signed", v10, v12, false, "SEND\ndestination:/d\ncontent-length:+2\n\nhi\x00", "bad-header", `"content-length" of SEND`, ""},
		{"content-length padded", v11, v12, false, "SEND\ndestination:/d\ncontent-length: 2\n\nhi\x00", "bad-header", `"content-length" of SEND`, ""},
		{"content-length empty", v10, v12, false, "SEND\ndestination:/d\ncontent-length:\n\nhi\x00", "bad-header", `"content-length" of SEND`, ""},
		{"content-length no number", v10, v12, false, "SEND\ndestination:/d\ncontent-length:two\n\nhi\x00", "bad-header", `"content-length" of SEND`, ""},
		{"content-length large", v10, v12, false, "SEND\ndestination:/d\ncontent-length:65536\n\n", "too-large", "65536 bytes", ""},
		{"content-length huge", v10, v12, false, "SEND\ndestination:/d\nreceipt:7\ncontent-length:18446744073709551617\n\n", "too-large", "65536 bytes", "7"},
		{"body of SUBSCRIBE", v11, v12, false, "SUBSCRIBE\nid:1\ndestination:/d\n\nbody\x00", "malformed", "SUBSCRIBE has a body", ""},
		{"body of UNSUBSCRIBE", v10, v12, false, "UNSUBSCRIBE\nid:1\n\nbody\x00", "malformed", "UNSUBSCRIBE has a body", ""},
		{"body of DISCONNECT", v10, v12, false, "DISCONNECT\nreceipt:7\ncontent-length:1\n\nb\x00", "malformed", "DISCONNECT has a body", "7"},
		{"body of RECEIPT", v10, v12, true, "RECEIPT\nreceipt-id:7\n\nb\x00", "malformed", "RECEIPT has a body", ""},

		{"endless frame", v10, v12, false, "SEND\ndestination:/d\n\n" + strings.Repeat("x", 65<<10), "too-large", "65536 bytes", ""},
		{"long frame", v10, v12, false, "SEND\ndestination:/d\n\n" + strings.Repeat("x", 65<<10) + "\x00", "too-large", "65536 bytes", ""},
		{"endless line", v10, v12, false, "SEND\ndestination:/d" + long, "too-large", "8192 bytes", ""},
		{"long line", v10, v12, false, "SEND\ndestination:/d" + long + "\n\n\x00", "too-large", "8192 bytes", ""},
		{"long command", v10, v12, false, long, "too-large", "8192 bytes", ""},
		{"many headers", v10, v12, false, "SEND\nreceipt:7\n" + strings.Repeat("a:b\n", 64), "too-large", "64 headers", "7"},
	}
}

// connected makes both ends of a connection of one version, after the connect
// exchange.
func ends(t testing.TB, p *SubProtocol, v version) (client, server *framer) {
	t.Helper()
	return endsAs(t, p, v, "")
}

// endsAs is ends of a session that has a name.
func endsAs(t testing.TB, p *SubProtocol, v version, session string) (client, server *framer) {
	t.Helper()
	client, _ = p.NewFramer("", subprotocol.FramerConfig{Client: true}).(*framer)
	server, _ = p.NewFramer("", subprotocol.FramerConfig{}).(*framer)
	wire, typ, err := client.Append(nil, &neutral{Kind: subprotocol.KindConnect, Version: v.String()})
	require.NoError(t, err)
	require.NoError(t, server.Decode(transport.Message{Type: typ, Data: wire}, new(list)))
	wire, typ, err = server.Append(nil, &neutral{Kind: subprotocol.KindConnected, ID: session})
	require.NoError(t, err)
	require.NoError(t, client.Decode(transport.Message{Type: typ, Data: wire}, new(list)))
	return client, server
}

// list keeps what is emitted.
type list []*neutral

func (l *list) Emit(m *neutral) error {
	*l = append(*l, m.Clone())
	return nil
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	p := New(nil)
	for v := v10; v <= v12; v++ {
		for _, b := range malformedTable(v) {
			for _, whole := range []bool{true, false} {
				reader, server := ends(t, p, v)
				if !b.atClient {
					reader = server
				}
				var got list
				var err error
				for rest := []byte(b.input); len(rest) > 0 && err == nil; {
					n := 1
					if whole {
						n = len(rest)
					}
					err = reader.Decode(transport.Message{Type: transport.MessageBinary, Data: rest[:n:n]}, &got)
					rest = rest[n:]
				}
				e, ok := err.(*subprotocol.Error) //nolint:errorlint // the contract says which type it is
				require.True(t, ok, "%v %s, whole %t: error %v, messages %v", v, b.name, whole, err, got)
				require.Equal(t, b.code, e.Code, "%v %s, whole %t: %v", v, b.name, whole, err)
				require.Contains(t, e.Text, b.text, "%v %s", v, b.name)
				require.Equal(t, b.receipt, e.Receipt, "%v %s", v, b.name)
				require.True(t, e.Fatal)
				require.Equal(t, b.code == "too-large", e.Status == transport.StatusMessageTooBig, "%v %s", v, b.name)
				require.Empty(t, got, "%v %s", v, b.name)
			}
		}
	}
}
