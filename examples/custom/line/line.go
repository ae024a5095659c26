// Package line is a sub-protocol that a person can type. A message is one line:
//
//	SEND DESTINATION BODY        from the client
//	SUB NAME DESTINATION         from the client
//	UNSUB NAME                   from either: the server may end a subscription too
//	MSG NAME DESTINATION BODY    from the server; an answer has no destination
//	ERROR CODE TEXT              from the server
//
// Only the body and the text may have blanks. A line with a body that is not UTF-8
// is a binary message.
package line

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

var _ subprotocol.SubProtocol = SubProtocol{}

// SubProtocol answers to "v1.line.example".
type SubProtocol struct{}

// Names returns the one name that there is.
func (SubProtocol) Names() []string { return []string{"v1.line.example"} }

// NewFramer returns a framer. It is all settings and no state.
func (SubProtocol) NewFramer(_ string, cfg subprotocol.FramerConfig) subprotocol.Framer {
	return framer(cfg)
}

type framer subprotocol.FramerConfig

func (framer) Features() subprotocol.Features {
	return subprotocol.Features{Boundaries: true, Subscriptions: true, Errors: true}
}

// Form is all that a line depends on besides the message.
func (f framer) Form() any { return framer{TextOnly: f.TextOnly} }

var kinds = map[string]subprotocol.Kind{
	"SEND": subprotocol.KindSend, "SUB": subprotocol.KindSubscribe, "UNSUB": subprotocol.KindUnsubscribe,
	"MSG": subprotocol.KindDeliver, "ERROR": subprotocol.KindError,
}

// layout returns the verb of m and where its fields are. The last one may have blanks
// if rest is true.
func layout(m *subprotocol.Message, body *string) (verb string, fields []*string, rest bool) {
	switch {
	case m.Kind == subprotocol.KindSend:
		return "SEND", []*string{&m.Destination, body}, true
	case m.Kind == subprotocol.KindSubscribe:
		return "SUB", []*string{&m.Subscription, &m.Destination}, false
	case m.Kind == subprotocol.KindUnsubscribe:
		return "UNSUB", []*string{&m.Subscription}, false
	case m.Kind == subprotocol.KindDeliver, m.Kind == subprotocol.KindReply:
		return "MSG", []*string{&m.Subscription, &m.Destination, body}, true
	case m.Kind == subprotocol.KindError && m.Error != nil:
		return "ERROR", []*string{&m.Error.Code, &m.Error.Text}, true
	}
	return "", nil, false
}

func (f framer) Decode(in transport.Message, sink subprotocol.Sink) error {
	if f.MaxFrame > 0 && len(in.Data) > f.MaxFrame {
		return &subprotocol.Error{Code: "too-large", Text: "the line is too long", Fatal: true, Status: transport.StatusMessageTooBig}
	}
	verb, line, ok := strings.Cut(string(in.Data), " ")
	m, body := &subprotocol.Message{Kind: kinds[verb], Type: in.Type}, ""
	fromServer := m.Kind == subprotocol.KindDeliver || m.Kind == subprotocol.KindError
	if m.Kind == subprotocol.KindError {
		m.Error = new(subprotocol.Error)
	}
	_, fields, rest := layout(m, &body)
	words := strings.SplitN(line, " ", len(fields))
	if !ok || len(words) == 0 || len(words) < len(fields) || !rest && strings.Contains(words[len(words)-1], " ") ||
		m.Kind != subprotocol.KindUnsubscribe && fromServer != f.Client {
		return &subprotocol.Error{Code: "malformed", Text: fmt.Sprintf("there is no such line with %.16q", verb)}
	}
	for i := range fields {
		*fields[i] = words[i]
	}
	m.Body = []byte(body)
	return sink.Emit(m)
}

func (f framer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	body := string(m.Body)
	verb, fields, rest := layout(m, &body)
	ok := fields != nil && (rest || body == "")
	out := append(dst, verb...)
	for i, field := range fields {
		ok = ok && (rest && i == len(fields)-1 || !strings.Contains(*field, " "))
		out = append(append(out, ' '), *field...)
	}
	typ := transport.MessageText
	if !utf8.Valid(out[len(dst):]) {
		typ, ok = transport.MessageBinary, ok && !f.TextOnly
	}
	if !ok {
		return dst, 0, fmt.Errorf("line: no line says what this %v does", m.Kind)
	}
	return out, typ, nil
}
