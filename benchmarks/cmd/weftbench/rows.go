package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
)

// row is one server that can be compared. The exported fields are what a server
// program prints for -list.
type row struct {
	Name        string     `json:"name"`
	Library     string     `json:"library"`
	Version     string     `json:"version"`
	Kind        string     `json:"kind"` // echo; pubsub: no echo; broker: fan-out and queues alone
	URL         string     `json:"url,omitempty"`
	Framing     string     `json:"framing"` // tcp: no handshake; http: SockJS without a WebSocket
	Subprotocol string     `json:"subprotocol,omitempty"`
	SockJS      string     `json:"sockjs,omitempty"` // the transport of SockJS, which is below /sockjs
	UTF8        bool       `json:"utf8"`
	Limit       string     `json:"limit"`
	Compression string     `json:"compression"`
	Envelope    int        `json:"envelope"` // bytes that it adds to each delivery
	Hello       []message  `json:"hello,omitempty"`
	Ready       string     `json:"ready,omitempty"` // is in the answer to the last hello
	Marker      string     `json:"marker"`          // a character that a delivery has once
	Echo        *echoFrame `json:"echo,omitempty"`
	Queue       *queueForm `json:"queue,omitempty"`
	TLS         bool       `json:"tls"`
	Unavailable string     `json:"unavailable,omitempty"` // why it can't be started here
	Note        string     `json:"note,omitempty"`

	program []string // and its first arguments
	forms   []form   // of weft's own rows; those of the peers follow from the fields above
}

// message is one WebSocket message to send.
type message struct {
	Type string `json:"type"` // text or binary
	Data []byte `json:"data"`
}

// echoFrame is how a row of another protocol is asked for an echo: the body goes
// into the request at an offset.
type echoFrame struct {
	Type    string `json:"type"`
	Request []byte `json:"request"`
	At      int    `json:"at"`
}

// queueForm is how a row with queues is spoken to, which is STOMP 1.2: what begins a
// connection, and where the queue is.
type queueForm struct {
	Connect     []byte `json:"connect"`
	Destination string `json:"destination"`
}

// form is how a connection speaks to a row.
type form struct {
	subprotocol string
	hello       func(id string) []message // subscribes under id
	ready       string                    // is in the answer to that
	request     func(body []byte) message
}

// formOf is the form of the ith connection.
func (r *row) formOf(i int) form {
	if len(r.forms) > 0 {
		return r.forms[i%len(r.forms)]
	}
	if r.SockJS != "" {
		return sockJSForm
	}
	return form{
		subprotocol: r.Subprotocol,
		hello:       func(string) []message { return r.Hello },
		ready:       r.Ready,
		request: func(body []byte) message {
			if r.Echo == nil {
				return message{Type: "text", Data: body}
			}
			return message{Type: r.Echo.Type, Data: slices.Insert(slices.Clone(r.Echo.Request), r.Echo.At, body...)}
		},
	}
}

func (r *row) echoes() bool    { return r.Kind == "echo" || r.Echo != nil }
func (r *row) webSocket() bool { return r.Framing != "tcp" }
func (r *row) mixed() bool     { return len(r.forms) > 1 }
func (r *row) broker() bool    { return r.Kind == "broker" }

// weftRows are weft's own, served by this program. The first one is the base unless
// another is chosen.
func weftRows() []*row {
	var rows []*row
	add := func(engine, format, note string, forms ...form) {
		rows = append(rows, &row{
			Name: engine + "/" + format, Library: "weft", Kind: "echo", Framing: "websocket",
			UTF8: true, Limit: "64 KiB a message", Compression: "off", Note: note, forms: forms,
			Envelope: envelopeSize(forms[0]), Marker: marker, TLS: true,
		})
	}
	plain := form{ // raw: what a client gets that asks for none
		hello:   func(string) []message { return nil },
		request: func(body []byte) message { return message{Type: "text", Data: body} },
	}
	json, msgpack := envelopeForm(envelope.NewJSON(nil)), envelopeForm(envelope.NewMsgpack(nil))
	stomp := stompForm()
	add("gobwas-bare", "raw", "a bare listener, no net/http", plain)
	add("gobwas", "raw", "under net/http", plain)
	add("gorilla", "raw", "under net/http", plain)
	add("gobwas-bare", "json", "the JSON envelope", json)
	add("gobwas-bare", "msgpack", "the msgpack envelope", msgpack)
	add("gobwas-bare", "stomp", "STOMP 1.2, and the broker for its topics and queues", stomp)
	rows[len(rows)-1].Queue = &queueForm{Connect: stomp.hello("")[0].Data, Destination: "/queue/bench"}
	add("gobwas-bare", "mixed", "a quarter of the connections each: raw, JSON, msgpack, STOMP", plain, json, msgpack, stomp)
	for _, transport := range []string{"websocket", "xhr-streaming", "xhr-polling"} {
		add("sockjs", transport, "SockJS over gobwas, under net/http", sockJSForm)
		r := rows[len(rows)-1]
		r.SockJS, r.TLS = transport, false
		r.Envelope = len(`a["\"\""]`) - 2 // the quotes of the publication are its own
		if transport != "websocket" {
			r.Framing = "http"
			r.Envelope++ // a line end
		}
	}
	return rows
}

// stompMessage is a frame of STOMP, to which it adds the NUL.
func stompMessage(format string, args ...any) message {
	return message{Type: "text", Data: fmt.Appendf(nil, format+"\x00", args...)}
}

// stompForm is written by hand: its frames are no more than text.
func stompForm() form {
	return form{
		subprotocol: stomp.V12,
		hello: func(id string) []message {
			return []message{
				stompMessage("CONNECT\naccept-version:1.2\nheart-beat:0,0\n\n"),
				stompMessage("SUBSCRIBE\nid:%s\ndestination:%s\nreceipt:1\n\n", id, topic),
			}
		},
		ready: "RECEIPT",
		request: func(body []byte) message {
			return stompMessage("SEND\ndestination:/echo\ncontent-length:%d\n\n%s", len(body), body)
		},
	}
}

func envelopeForm(sp subprotocol.SubProtocol) form {
	name := sp.Names()[0]
	encode := func(m *subprotocol.Message) message {
		b, typ, err := sp.NewFramer(name, subprotocol.FramerConfig{Client: true}).Append(nil, m)
		if err != nil {
			panic(err) // a constant message
		}
		if typ == transport.MessageText {
			return message{Type: "text", Data: b}
		}
		return message{Type: "binary", Data: b}
	}
	return form{
		subprotocol: name,
		hello: func(id string) []message {
			return []message{
				encode(&subprotocol.Message{Kind: subprotocol.KindConnect}),
				encode(&subprotocol.Message{Kind: subprotocol.KindSubscribe, Subscription: id, Destination: topic, Receipt: "1"}),
			}
		},
		ready: "receipt",
		request: func(body []byte) message {
			return encode(&subprotocol.Message{Kind: subprotocol.KindSend, Destination: "/echo", Body: body})
		},
	}
}

// envelopeSize is what a delivery has besides the body.
func envelopeSize(f form) int {
	var sp subprotocol.SubProtocol
	switch f.subprotocol {
	case envelope.NewJSON(nil).Names()[0]:
		sp = envelope.NewJSON(nil)
	case envelope.NewMsgpack(nil).Names()[0]:
		sp = envelope.NewMsgpack(nil)
	case stomp.V12:
		return len("MESSAGE\nsubscription:1\nmessage-id:mbwurq6r2\ndestination:" + topic + "\ncontent-length:128\n\n\x00")
	default:
		return 0
	}
	fr := sp.NewFramer(f.subprotocol, subprotocol.FramerConfig{})
	_, _, err := fr.Append(nil, &subprotocol.Message{Kind: subprotocol.KindConnected, Version: "1"})
	if err != nil {
		panic(err)
	}
	b, _, err := fr.Append(nil, &subprotocol.Message{
		Kind: subprotocol.KindDeliver, Subscription: "1", Destination: topic, Body: publication,
	})
	if err != nil {
		panic(err)
	}
	return len(b) - len(publication)
}

// allRows are weft's and, as far as they can be had, the peers'. What is missing
// is said by the notes.
func allRows(ctx context.Context, peers, dir string) (rows []*row, notes []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	version := weftVersion(ctx)
	for _, r := range weftRows() {
		r.Version = version
		r.program = []string{self, "serve"}
		rows = append(rows, r)
	}
	if peers == "none" {
		return rows, nil, nil
	}
	given := peers != ""
	if !given {
		if peers, err = buildPeers(ctx, dir); err != nil {
			return rows, []string{"the peers are left out: " + err.Error()}, ctx.Err()
		}
	}
	more, err := listPeers(ctx, peers)
	if err != nil {
		if given {
			return nil, nil, err
		}
		return rows, []string{"the peers are left out: " + err.Error()}, ctx.Err()
	}
	for _, r := range more {
		if r.Unavailable != "" {
			notes = append(notes, fmt.Sprintf("%s is left out: %s", r.Name, r.Unavailable))
			continue
		}
		rows = append(rows, r)
	}
	return rows, notes, nil
}

// weftVersion is the commit, if this is a checkout.
func weftVersion(ctx context.Context) string {
	b, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=10").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// buildPeers builds benchmarks/compare into dir. It is looked for from the working
// directory upwards, and built by its own go.mod: the peers have the versions stated there.
func buildPeers(ctx context.Context, dir string) (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		source := filepath.Join(at, "benchmarks", "compare")
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			program := filepath.Join(dir, "compare")
			cmd := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
			cmd.Dir = source
			cmd.Env = append(os.Environ(), "GOWORK=off")
			if out, err := cmd.CombinedOutput(); err != nil {
				return "", fmt.Errorf("building benchmarks/compare: %w: %s", err, firstLines(string(out), 3))
			}
			return program, nil
		}
		if filepath.Dir(at) == at {
			return "", errors.New("there is no benchmarks/compare here or above: run in a checkout of weft")
		}
		at = filepath.Dir(at)
	}
}

func listPeers(ctx context.Context, program string) ([]*row, error) {
	cmd := exec.CommandContext(ctx, program, "-list")
	var stderr tail
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s -list: %w %s", program, err, stderr.String())
	}
	var rows []*row
	if err := json.Unmarshal(out, &rows); err != nil {
		return nil, fmt.Errorf("%s -list: %w", program, err)
	}
	for _, r := range rows {
		if r.Name == "" || len(r.Marker) != 1 || r.Echo != nil && (r.Echo.At < 0 || r.Echo.At > len(r.Echo.Request)) {
			return nil, fmt.Errorf("%s -list: row %q is not whole", program, r.Name)
		}
		r.program = []string{program}
	}
	return rows, nil
}

// choose returns the items that the comma-separated patterns name, in the order of all.
func choose[T any](what, patterns string, all []T, name func(T) string) ([]T, error) {
	if patterns == "" || patterns == "all" {
		return all, nil
	}
	wanted := make([]bool, len(all))
	for p := range strings.SplitSeq(patterns, ",") {
		found := false
		for i, x := range all {
			ok, err := path.Match(p, name(x))
			if err != nil {
				return nil, fmt.Errorf("%s %q: %w", what, p, err)
			}
			if ok {
				wanted[i], found = true, true
			}
		}
		if !found {
			var names []string
			for _, x := range all {
				names = append(names, name(x))
			}
			return nil, fmt.Errorf("no %s %q; there are: %s", what, p, strings.Join(names, ", "))
		}
	}
	var chosen []T
	for i, x := range all {
		if wanted[i] {
			chosen = append(chosen, x)
		}
	}
	return chosen, nil
}

// orderBase puts the base first.
func orderBase(rows []*row, base string) ([]*row, error) {
	if base == "" {
		return rows, nil
	}
	chosen, err := choose("row (-base)", base, rows, (*row).name)
	if err != nil {
		return nil, err
	}
	i := slices.Index(rows, chosen[0])
	return slices.Concat([]*row{rows[i]}, rows[:i], rows[i+1:]), nil
}

func (r *row) name() string { return r.Name }

func firstLines(s string, n int) string {
	lines := strings.SplitN(strings.TrimSpace(s), "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "; ")
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// profileRows has the servers of weft's rows write CPU profiles to a folder, which is
// made if it is not there, and notes that.
func profileRows(rows []*row, notes []string, dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("-profile: %w", err)
	}
	for _, r := range rows {
		if len(r.program) == 2 && r.program[1] == "serve" {
			r.program = append(r.program, "-profile", dir)
		}
	}
	return append(notes, "weft's servers wrote CPU profiles, which costs them a little"), nil
}

// engineOf is the part of the name of one of weft's rows that says what serves.
func engineOf(r *row) string {
	engine, _, _ := strings.Cut(r.Name, "/")
	return engine
}
