package envelope

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
)

// exchange is a list of messages that one side or the other sends.
type exchange struct {
	name, what string
	steps      []step
}

func (x *exchange) file() string { return filepath.Join("testdata", x.name+".txt") }

type step struct {
	from side
	m    subprotocol.Message
}

// arrives returns what the other side reads.
func (s *step) arrives() *subprotocol.Message {
	m := s.m.Clone()
	switch m.Kind {
	case subprotocol.KindConnect, subprotocol.KindConnected:
		m.Version = "1"
	case subprotocol.KindError:
		m.Error.Receipt, m.Error.Subscription = m.Receipt, m.Subscription
	}
	return m
}

func exchanges() []exchange {
	type message = subprotocol.Message
	header := func(name, value string) subprotocol.Header { return subprotocol.Header{{Name: name, Value: value}} }
	heartbeat := subprotocol.Heartbeat{Send: 10 * time.Second, Receive: 20 * time.Second}
	return []exchange{
		{"connect", "A session begins, shows fresh credentials, and ends.", []step{
			{client, message{Kind: subprotocol.KindConnect}},
			{server, message{Kind: subprotocol.KindConnected, ID: "5f0c2a"}},
			{client, message{Kind: subprotocol.KindConnect, Heartbeat: heartbeat, Header: header("token", "k7Rz")}},
			{server, message{Kind: subprotocol.KindConnected, ID: "5f0c2a", Heartbeat: heartbeat, Header: header("user", "ada")}},
			{client, message{Kind: subprotocol.KindDisconnect, Receipt: "1", Header: header("reason", "bye")}},
			{server, message{Kind: subprotocol.KindReceipt, Receipt: "1"}},
			{server, message{Kind: subprotocol.KindDisconnect}},
		}},
		{"refused", "A session does not begin.", []step{
			{client, message{Kind: subprotocol.KindConnect, Header: header("token", "stale")}},
			{server, message{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "refused", Text: "the token is stale", Fatal: true}}},
		}},
		{"subscribe", "A subscription begins, brings something, and is ended by either side.", []step{
			{client, message{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/topic/grüße"}},
			{server, message{Kind: subprotocol.KindDeliver, Subscription: "s", Destination: "/topic/grüße", Body: []byte("hi")}},
			{client, message{Kind: subprotocol.KindUnsubscribe, Subscription: "s", Receipt: "2"}},
			{server, message{Kind: subprotocol.KindError, Subscription: "s", Error: &subprotocol.Error{Code: "forbidden", Text: "the room was closed"}}},
			{server, message{Kind: subprotocol.KindUnsubscribe, Subscription: "s"}},
		}},
		{"ack", "What arrives is acknowledged, in a transaction too.", []step{
			{client, message{Kind: subprotocol.KindSubscribe, Subscription: "q", Destination: "/queue/jobs", AckMode: subprotocol.AckClient, Receipt: "1"}},
			{client, message{Kind: subprotocol.KindSubscribe, Subscription: "r", Destination: "/queue/jobs", AckMode: subprotocol.AckClientIndividual}},
			{server, message{Kind: subprotocol.KindDeliver, Subscription: "q", ID: "31", Destination: "/queue/jobs", ContentType: "application/json",
				Header: subprotocol.Header{{Name: "try", Value: "1"}, {Name: "try", Value: "2"}}, Body: []byte(`{"job":1}`)}},
			{client, message{Kind: subprotocol.KindAck, Subscription: "q", ID: "31"}},
			{client, message{Kind: subprotocol.KindNack, Subscription: "q", ID: "32", Transaction: "t", Receipt: "2", Header: header("reason", "busy")}},
		}},
		{"transaction", "Messages are sent together.", []step{
			{client, message{Kind: subprotocol.KindBegin, Transaction: "t"}},
			{client, message{Kind: subprotocol.KindSend, Destination: "/app/pay", Transaction: "t", Receipt: "1", Body: []byte(`{"amount":3}`)}},
			{client, message{Kind: subprotocol.KindCommit, Transaction: "t", Receipt: "2"}},
			{server, message{Kind: subprotocol.KindReceipt, Receipt: "1"}},
			{server, message{Kind: subprotocol.KindReceipt, Receipt: "2"}},
			{client, message{Kind: subprotocol.KindBegin, Transaction: "u", Receipt: "3"}},
			{client, message{Kind: subprotocol.KindAbort, Transaction: "u", Receipt: "4"}},
		}},
		{"reply", "A request is answered, or fails.", []step{
			{client, message{Kind: subprotocol.KindSend, Destination: "/app/time", Receipt: "1", ID: "own"}},
			{server, message{Kind: subprotocol.KindReply, Receipt: "1", ContentType: "application/json", Body: []byte(`"12:00"`)}},
			{client, message{Kind: subprotocol.KindSend, Destination: "/app/nowhere", Receipt: "2"}},
			{server, message{Kind: subprotocol.KindError, Receipt: "2", Error: &subprotocol.Error{Code: "not-found", Text: "there is no such destination"}}},
			{server, message{Kind: subprotocol.KindReply, Subscription: "s", Destination: "/app/members", Body: []byte("[]")}},
		}},
		{"heartbeat", "Both sides are alive.", []step{
			{client, message{Kind: subprotocol.KindHeartbeat, NeedReply: true}},
			{server, message{Kind: subprotocol.KindHeartbeat}},
		}},
		{"body", "Bodies of all sorts.", []step{
			{client, message{Kind: subprotocol.KindSend, Destination: "/d", Body: []byte(`{"n":1.50,"s":"\u00fc"}`)}},
			{client, message{Kind: subprotocol.KindSend, Destination: "/d", Body: []byte("null")}},
			{client, message{Kind: subprotocol.KindSend, Destination: "/d", Body: []byte("{} ")}},
			{client, message{Kind: subprotocol.KindSend, Destination: "/d", ContentType: "text/plain", Body: []byte("a \"b\"\n\\\x00ü\U0001f600")}},
			{client, message{Kind: subprotocol.KindSend, Destination: "/d", ContentType: "image/png", Body: []byte("\x89PNG\r\n\x1a\n")}},
			{server, message{Kind: subprotocol.KindDeliver}},
		}},
	}
}

// Each exchange has a file: every message in JSON and then in msgpack.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, x := range exchanges() {
		want := "# " + x.what + "\n"
		for _, s := range x.steps {
			for _, p := range []*SubProtocol{NewJSON(nil), NewMsgpack(nil)} {
				f := p.NewFramer("", subprotocol.FramerConfig{Client: s.from == client})
				data, _, err := f.Append(nil, &s.m)
				require.NoError(t, err)
				if p.msgpack {
					data = fmt.Appendf(nil, "%x", data)
				}
				want += fmt.Sprintf("%c %s\n", "><"[s.from], data)
			}
		}
		name := x.file()
		if *update {
			require.NoError(t, os.MkdirAll("testdata", 0o755))
			require.NoError(t, os.WriteFile(name, []byte(want), 0o644))
		}
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, want, string(got), "write it with go test -update")

		lines := strings.Split(strings.TrimSpace(string(got)), "\n")[1:]
		for i := 0; i < len(lines); i += 2 {
			fromJSON := parseLine(lines[i]).check(t)
			fromMsgpack := parseLine(lines[i+1]).check(t)
			fromMsgpack.Type = fromJSON.Type
			require.Equal(t, fromJSON, fromMsgpack)
		}
	}
}
