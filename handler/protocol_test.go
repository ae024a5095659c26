package handler

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// testProtocol is a line protocol with whatever features a test wants.
type testProtocol struct {
	names    []string
	features subprotocol.Features
	formed   bool // its framers are Formers
	split    bool // and Splitters

	mu      sync.Mutex
	appends int // calls of Append and AppendTail
	heads   int
}

func (p *testProtocol) Names() []string { return p.names }

func (p *testProtocol) NewFramer(string, subprotocol.FramerConfig) subprotocol.Framer {
	f := &testFramer{p: p}
	switch {
	case p.split:
		return splitFramer{formedFramer{f}}
	case p.formed:
		return formedFramer{f}
	}
	return f
}

type testFramer struct {
	p   *testProtocol
	key any
}

func (f *testFramer) Features() subprotocol.Features { return f.p.features }

// Decode reads lines "KIND body"; "bad" is malformed, "odd" an error of no type, and "die" panics.
func (f *testFramer) Decode(m transport.Message, sink subprotocol.Sink) error {
	for line := range bytes.SplitSeq(m.Data, []byte("\n")) {
		word, body, _ := bytes.Cut(line, []byte(" "))
		msg := subprotocol.Message{Body: body, Receipt: "r1"}
		switch string(word) {
		case "bad":
			return &subprotocol.Error{Code: "malformed", Text: "a bad line", Fatal: true, Status: 1007}
		case "odd":
			return io.ErrUnexpectedEOF
		case "die":
			panic("die")
		case "CONNECT":
			msg.Kind, msg.Version = subprotocol.KindConnect, "1.2"
		case "DISCONNECT":
			msg.Kind = subprotocol.KindDisconnect
		case "BEAT":
			msg.Kind, msg.NeedReply = subprotocol.KindHeartbeat, true
		default:
			msg.Kind = subprotocol.KindSend
		}
		if err := sink.Emit(&msg); err != nil {
			return err
		}
	}
	return nil
}

func (f *testFramer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	f.p.mu.Lock()
	f.p.appends++
	f.p.mu.Unlock()
	switch m.Kind {
	case subprotocol.KindError:
		return fmt.Appendf(dst, "ERROR %s %s %s", m.Error.Code, m.Receipt, m.Error.Text), transport.MessageText, nil
	case subprotocol.KindDeliver:
		return fmt.Appendf(dst, "[%s,%s]%s", m.Subscription, m.ID, m.Body), transport.MessageText, nil
	default:
		return fmt.Appendf(dst, "%v %s%s", m.Kind, m.Version, m.Body), transport.MessageText, nil
	}
}

type formedFramer struct{ *testFramer }

func (f formedFramer) Form() any { return f.key }

type splitFramer struct{ formedFramer }

func (f splitFramer) AppendHead(dst []byte, m *subprotocol.Message) ([]byte, error) {
	f.p.mu.Lock()
	f.p.heads++
	f.p.mu.Unlock()
	if m.Subscription == "bad" {
		return dst, errors.New("bad subscription")
	}
	return fmt.Appendf(dst, "[%s,%s]", m.Subscription, m.ID), nil
}

func (f splitFramer) AppendTail(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	f.p.mu.Lock()
	f.p.appends++
	f.p.mu.Unlock()
	if string(m.Body) == "bad" {
		return dst, 0, errors.New("bad body")
	}
	return append(dst, m.Body...), transport.MessageText, nil
}
