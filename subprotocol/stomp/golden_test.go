package stomp

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

var update = flag.Bool("update", false, "write the files in testdata")

// exchange is what two sides say on one connection, in one version.
type exchange struct {
	name, what string
	versions   []version
	opts       *Options
	steps      func(v version) []step
}

// step is one message, or bytes that are none of ours.
type step struct {
	from side
	m    *neutral
	wire string
}

func sent(m neutral) step     { return step{client, &m, ""} }
func answered(m neutral) step { return step{server, &m, ""} }
func from(s side, wire string) step {
	return step{s, nil, wire}
}

// opening is the usual connect exchange.
func opening(v version) []step {
	return []step{
		sent(neutral{Kind: subprotocol.KindConnect, Version: v.String(), Header: fields("host", "/")}),
		answered(neutral{Kind: subprotocol.KindConnected, ID: "5f0c2a"}),
	}
}

func fields(pairs ...string) header {
	var h header
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

var (
	all     = []version{v10, v11, v12}
	since11 = []version{v11, v12}
)

func exchanges() []exchange {
	after := func(steps ...step) func(version) []step {
		return func(v version) []step { return append(opening(v), steps...) }
	}
	heartbeat := subprotocol.Heartbeat{Send: 10 * time.Second, Receive: 20*time.Second + 1}
	const (
		auto       = subprotocol.AckAuto
		cumulative = subprotocol.AckClient
	)
	return []exchange{
		{"connect", "A session begins and ends.", all, nil, func(v version) []step {
			return []step{
				sent(neutral{Kind: subprotocol.KindConnect, Version: v.String(), Heartbeat: heartbeat,
					Header: fields("host", "/", "login", "guest", "passcode", "a:\\n")}),
				answered(neutral{Kind: subprotocol.KindConnected, Version: v.String(), ID: "5f0c2a", Heartbeat: heartbeat,
					Header: fields("user-name", "a:\\n")}),
				sent(neutral{Kind: subprotocol.KindDisconnect, Receipt: "bye"}),
				answered(neutral{Kind: subprotocol.KindReceipt, Receipt: "bye"}),
			}
		}},
		{"newest", "The newest version of both is chosen, and the client may begin with STOMP.", []version{v12}, nil, func(version) []step {
			return []step{
				from(client, "STOMP\naccept-version:1.0,1.1,1.2,1.3\nreceipt:none\nheart-beat:0,0\n\n\x00"),
				answered(neutral{Kind: subprotocol.KindConnected, ID: "5f0c2a"}),
			}
		}},
		{"oldest", "No accept-version means 1.0, where values may be padded and heartbeats are not known.", []version{v10}, nil, func(version) []step {
			return []step{
				from(client, "CONNECT\nlogin: guest\npasscode:\tguest\t\nheart-beat:often\n\n\x00\n"),
				answered(neutral{Kind: subprotocol.KindConnected, ID: "5f0c2a", Heartbeat: heartbeat}),
				from(client, "\nSEND\ndestination: /d\ncontent-length: 2\n\nhi\x00\n"),
			}
		}},
		{"no-version", "No version is common.", []version{v12}, nil, func(version) []step {
			return []step{
				from(client, "CONNECT\naccept-version:1.3,2.0\n\n\x00"),
				answered(neutral{Kind: subprotocol.KindError, Error: &subprotocol.Error{
					Code: "version", Text: "none of the versions that the client accepts is among 1.0,1.1,1.2", Fatal: true}}),
			}
		}},
		{"not-connected", "CONNECT does not come first.", []version{v12}, nil, func(version) []step {
			return []step{from(client, "SEND\ndestination:/d\nreceipt:1\n\n\x00")}
		}},
		{"bad-heartbeat", "The intervals are no numbers.", since11, nil, func(v version) []step {
			return []step{from(client, "CONNECT\naccept-version:"+v.String()+"\nheart-beat:10000, 0\n\n\x00")}
		}},
		{"refused", "A session does not begin; nothing is escaped yet.", all, nil, func(v version) []step {
			return []step{
				sent(neutral{Kind: subprotocol.KindConnect, Version: v.String(), Header: fields("login", "guest", "passcode", "stale")}),
				answered(neutral{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "refused", Text: `the passcode of DOMAIN\guest is: stale`, Fatal: true}}),
			}
		}},
		{"send", "Messages are sent, with bodies of all sorts.", all, nil, after(
			sent(neutral{Kind: subprotocol.KindSend, Destination: "/d"}),
			sent(neutral{Kind: subprotocol.KindSend, Destination: "/grüße", ContentType: "text/plain", Receipt: "1",
				Header: fields("a", "1", "a", "2"), Body: []byte("hello\n\x00world\x00")}),
			answered(neutral{Kind: subprotocol.KindReceipt, Receipt: "1"}),
			sent(neutral{Kind: subprotocol.KindSend, Destination: "/d", Body: []byte("\xff\xfe")}),
			from(client, "SEND\ndestination:/d\n\nended by NUL\x00SEND\ndestination:/d\ncontent-length:0\n\n\x00\n\n"),
		)},
		{"repeated", "Of headers that stand twice the first counts; others stay in order.", all, nil, after(
			from(client, "SEND\ndestination:/d\nk:1\ndestination:/e\nk:2\ncontent-length:2\ncontent-length:9\n\nhi\x00"),
		)},
		{"crlf", "Lines may end with CR and LF.", []version{v12}, nil, func(version) []step {
			return []step{
				from(client, "\r\nCONNECT\r\naccept-version:1.2\r\nhost:/\r\n\r\n\x00"),
				answered(neutral{Kind: subprotocol.KindConnected, ID: "5f0c2a"}),
				from(client, "\r\nSEND\r\ndestination:/d\r\n\r\nbody\r\n\x00\r\n"),
			}
		}},
		{"escapes", "Headers have what would end them.", since11, nil, after(
			sent(neutral{Kind: subprotocol.KindSend, Destination: "/d:\\n", Header: fields("a:\nb\\", "c:\nd\\")}),
			from(client, "SEND\ndestination:/d\nraw: a:b\nk:\\\\n\\c\n\n\x00"),
		)},
		{"escaped-cr", "So does a carriage return.", []version{v12}, nil, after(
			sent(neutral{Kind: subprotocol.KindSend, Destination: "/d", Header: fields("k", "a\r\nb")}),
		)},
		{"no-escapes", "There are none in 1.0.", []version{v10}, nil, after(
			from(client, "SEND\ndestination:/d\nk:a\\nb:\\t\n\n\x00"),
		)},
		{"subscribe", "A subscription begins, brings something that needs no ACK, and ends.", all, nil, after(
			sent(neutral{Kind: subprotocol.KindSubscribe, Subscription: "s", Destination: "/topic/d", AckMode: auto, Receipt: "1",
				Header: fields("selector", "a = 1")}),
			answered(neutral{Kind: subprotocol.KindDeliver, Subscription: "s", Destination: "/topic/d", Body: []byte("hi")}),
			answered(neutral{Kind: subprotocol.KindDeliver, Subscription: "s", Destination: "/topic/d", ContentType: "text/plain",
				Header: fields("message-id", "forged", "subscription", "forged", "k", "v")}),
			sent(neutral{Kind: subprotocol.KindUnsubscribe, Subscription: "s", Receipt: "2"}),
		)},
		{"subscribe-by-destination", "A subscription has no id.", []version{v10}, nil, after(
			from(client, "SUBSCRIBE\ndestination:/queue/d\nack:client\n\nthis body is ignored\x00"),
			answered(neutral{Kind: subprotocol.KindDeliver, Subscription: "\x00/queue/d", ID: "31", Destination: "/queue/d"}),
			sent(neutral{Kind: subprotocol.KindAck, Subscription: "\x00/queue/d", ID: "2-31/queue/d"}),
			sent(neutral{Kind: subprotocol.KindUnsubscribe, Subscription: "\x00/queue/d"}),
		)},
		{"lenient", "A subscription has no id in later versions.", since11, &Options{Lenient: true}, func(v version) []step {
			ack := neutral{Kind: subprotocol.KindAck, Subscription: "\x00/queue/d", ID: "2-31/queue/d"}
			return append(opening(v),
				sent(neutral{Kind: subprotocol.KindSubscribe, Subscription: "\x00/queue/d", Destination: "/queue/d", AckMode: cumulative}),
				answered(neutral{Kind: subprotocol.KindDeliver, Subscription: "\x00/queue/d", ID: "31", Destination: "/queue/d"}),
				sent(ack),
				sent(neutral{Kind: subprotocol.KindUnsubscribe, Subscription: "\x00/queue/d"}),
			)
		}},
		{"ack", "What arrives is acknowledged, in a transaction too.", all, nil, func(v version) []step {
			first, second := "31", "a:32"
			if v != v11 {
				first, second = "2.31q", "4.a:32q"
			}
			steps := append(opening(v),
				sent(neutral{Kind: subprotocol.KindSubscribe, Subscription: "q", Destination: "/queue/d", AckMode: cumulative}),
				answered(neutral{Kind: subprotocol.KindDeliver, Subscription: "q", ID: "31", Destination: "/queue/d", Body: []byte("1")}),
				answered(neutral{Kind: subprotocol.KindDeliver, Subscription: "q", ID: "a:32", Destination: "/queue/d",
					Header: fields("redelivered", "true"), Body: []byte("2")}),
				sent(neutral{Kind: subprotocol.KindAck, Subscription: "q", ID: first}),
			)
			if v == v10 {
				return steps
			}
			return append(steps,
				sent(neutral{Kind: subprotocol.KindNack, Subscription: "q", ID: second, Transaction: "t", Receipt: "2"}))
		}},
		{"transaction", "Messages are sent together.", all, nil, after(
			sent(neutral{Kind: subprotocol.KindBegin, Transaction: "t"}),
			sent(neutral{Kind: subprotocol.KindSend, Destination: "/d", Transaction: "t", Receipt: "1", Body: []byte("3")}),
			sent(neutral{Kind: subprotocol.KindCommit, Transaction: "t", Receipt: "2"}),
			sent(neutral{Kind: subprotocol.KindAbort, Transaction: "u"}),
		)},
		{"reply", "A request is answered, to a subscription or to none.", all, nil, after(
			answered(neutral{Kind: subprotocol.KindReply, Receipt: "1", ContentType: "application/json", Body: []byte("1")}),
			answered(neutral{Kind: subprotocol.KindReply, Subscription: "s", Destination: "/app/now", Body: []byte("noon")}),
			answered(neutral{Kind: subprotocol.KindDeliver, Destination: "/d"}),
			answered(neutral{Kind: subprotocol.KindDeliver, Destination: "/d", ID: "31"}),
		)},
		{"error", "A request fails, which ends the session.", all, nil, after(
			answered(neutral{Kind: subprotocol.KindError, Receipt: "1", Subscription: "s", Header: fields("k", "v"),
				Error: &subprotocol.Error{Code: "not-found", Text: "two\nlines: one"}}),
		)},
		{"foreign", "Another server answers in its own way.", []version{v12}, nil, func(version) []step {
			return []step{
				sent(neutral{Kind: subprotocol.KindConnect, Header: fields("host", "/")}),
				from(server, "CONNECTED\nserver:Other/1.0\nsession:s-1\nheart-beat:0,4294967296\nversion:1.2\n\n\x00\n"),
				from(server, "\nMESSAGE\nsubscription:s\ndestination:/queue/d\nack:T_1@@7\nmessage-id:T_1@@s@@7\nredelivered:false\ncontent-length:2\n\nhi\x00\n"),
				sent(neutral{Kind: subprotocol.KindAck, Subscription: "s", ID: "T_1@@7"}),
				from(server, "ERROR\nmessage:Bad frame\ncontent-type:text/plain\nversion:1.0,1.2\ncontent-length:18\n\nSomething is wrong\x00"),
			}
		}},
		{"heartbeat", "Both sides are alive, however many line ends say so.", since11, nil, after(
			sent(neutral{Kind: subprotocol.KindHeartbeat}),
			answered(neutral{Kind: subprotocol.KindHeartbeat}),
			from(client, "\n\n\nSEND\ndestination:/d\n\n\x00\n\n"),
		)},
	}
}

// Each exchange has a file for each version. It is played between two framers, so that
// what one writes is what the other reads.
func TestGolden(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, x := range exchanges() {
		for _, v := range x.versions {
			got := play(t, &x, v)
			name := filepath.Join("testdata", v.String()+"-"+x.name+".txt")
			known[name] = true
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
			}
			want, err := os.ReadFile(name)
			require.NoError(t, err)
			require.Equal(t, string(want), got, "%s: write it with go test -update", name)
		}
	}
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	files = slices.DeleteFunc(files, func(name string) bool { return known[name] })
	require.Empty(t, files, "no exchange has these")
}

func play(t *testing.T, x *exchange, v version) string {
	p := New(x.opts)
	ends := map[side]subprotocol.Framer{
		client: p.NewFramer("", subprotocol.FramerConfig{Client: true}),
		server: p.NewFramer("", subprotocol.FramerConfig{}),
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# %s\n", x.what)
	for _, s := range x.steps(v) {
		wire := transport.Message{Type: transport.MessageText, Data: []byte(s.wire)}
		if s.m != nil {
			var err error
			wire.Data, wire.Type, err = ends[s.from].Append(nil, s.m)
			require.NoError(t, err, "%s in %v", x.name, v)
		}
		mark := "> "
		if s.from == server {
			mark = "< "
		}
		out.WriteString("\n")
		for line := range strings.Lines(string(wire.Data)) {
			out.WriteString(strings.TrimRight(mark+visible(line), " ") + "\n")
		}
		var got list
		err := ends[!s.from].Decode(wire, &got)
		for _, m := range got {
			fmt.Fprintf(&out, "= %s\n", describe(m))
		}
		if e, ok := err.(*subprotocol.Error); ok { //nolint:errorlint // the contract says which type it is
			fmt.Fprintf(&out, "! %s: %s (receipt %q, status %d)\n", e.Code, e.Text, e.Receipt, e.Status)
		}
	}
	return out.String()
}

// visible is a line with signs for what would not be seen.
func visible(line string) string {
	signs := strings.NewReplacer("\n", "", "\x00", "^@", "\r", "^M", "\t", "^I")
	return signs.Replace(strings.ToValidUTF8(line, "\uFFFD"))
}

// describe names what m has.
func describe(m *neutral) string {
	var b bytes.Buffer
	b.WriteString(m.Kind.String())
	add := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s=%q", name, value)
		}
	}
	add("type", m.Type.String())
	add("version", m.Version)
	add("destination", m.Destination)
	add("subscription", m.Subscription)
	add("id", m.ID)
	add("receipt", m.Receipt)
	add("transaction", m.Transaction)
	add("content-type", m.ContentType)
	if m.AckMode != subprotocol.AckAuto {
		add("ack", m.AckMode.String())
	}
	if m.Heartbeat != (subprotocol.Heartbeat{}) {
		add("heartbeat", fmt.Sprint(m.Heartbeat.Send, " ", m.Heartbeat.Receive))
	}
	for _, h := range m.Header {
		fmt.Fprintf(&b, " [%q %q]", h.Name, h.Value)
	}
	if e := m.Error; e != nil {
		fmt.Fprintf(&b, " error=%q text=%q fatal=%t", e.Code, e.Text, e.Fatal)
	}
	add("body", string(m.Body))
	return b.String()
}
