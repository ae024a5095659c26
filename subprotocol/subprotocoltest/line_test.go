package subprotocoltest_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// line is a sound sub-protocol that has all kinds and all optional powers. A frame
// is its length, a colon, and the fields, each with its length and a colon; a
// line break is a heartbeat.
type line struct{}

func (line) Names() []string { return []string{"line.v1", "line.v2"} }

func (line) NewFramer(_ string, cfg subprotocol.FramerConfig) subprotocol.Framer {
	return newLineFramer(cfg)
}

type lineForm struct{ textOnly bool }

type lineFramer struct {
	cfg subprotocol.FramerConfig
	buf []byte
}

func newLineFramer(cfg subprotocol.FramerConfig) *lineFramer {
	if cfg.MaxFrame == 0 {
		cfg.MaxFrame = 1 << 20
	}
	return &lineFramer{cfg: cfg}
}

func (f *lineFramer) Features() subprotocol.Features {
	return subprotocol.Features{
		Connect: true, Subscriptions: true, Replies: true, Receipts: true, Acks: true, Nacks: true,
		Transactions: true, Errors: true, Heartbeats: true, Disconnect: true,
	}
}

func (f *lineFramer) Form() any    { return lineForm{f.cfg.TextOnly} }
func (f *lineFramer) Partial() int { return len(f.buf) }

func malformed(text string) error {
	return &subprotocol.Error{Code: "malformed", Text: text, Fatal: true}
}

func (f *lineFramer) Decode(m transport.Message, sink subprotocol.Sink) error {
	data := m.Data
	if len(f.buf) > 0 {
		data = append(f.buf, data...)
	}
	f.buf = nil
	beat := false
	for len(data) > 0 {
		if data[0] == '\n' {
			data = data[1:]
			if !beat {
				beat = true
				if err := sink.Emit(&subprotocol.Message{Kind: subprotocol.KindHeartbeat}); err != nil {
					return err
				}
			}
			continue
		}
		n, rest, err := number(data)
		if err != nil {
			return err
		}
		if n > f.cfg.MaxFrame {
			return &subprotocol.Error{Code: "too-large", Text: "Too large.", Fatal: true, Status: transport.StatusMessageTooBig}
		}
		if rest == nil || len(rest) < n {
			break
		}
		msg, err := parse(rest[:n])
		if err != nil {
			return err
		}
		data = rest[n:]
		if err := sink.Emit(msg); err != nil {
			return err
		}
	}
	f.buf = bytes.Clone(data)
	return nil
}

// number reads a length and its colon. rest is nil if they are not all there.
func number(data []byte) (n int, rest []byte, err error) {
	i := bytes.IndexByte(data[:min(len(data), 10)], ':')
	if i < 0 && len(data) < 10 {
		for _, c := range data {
			if c < '0' || c > '9' {
				return 0, nil, malformed("A length has other than digits.")
			}
		}
		return 0, nil, nil
	}
	if i < 0 {
		return 0, nil, malformed("A length has no end.")
	}
	u, perr := strconv.ParseUint(string(data[:i]), 10, 31)
	if perr != nil {
		return 0, nil, malformed("A length is no number.")
	}
	return int(u), data[i+1:], nil
}

func fields(m *subprotocol.Message) []*string {
	return []*string{&m.Subscription, &m.ID, &m.Destination, &m.Receipt, &m.Transaction, &m.Version, &m.ContentType}
}

func parse(data []byte) (*subprotocol.Message, error) {
	if len(data) == 0 || data[0] <= 'A' || data[0] > 'A'+byte(subprotocol.KindDisconnect) {
		return nil, malformed("There is no such kind.")
	}
	m := &subprotocol.Message{Kind: subprotocol.Kind(data[0] - 'A')}
	data = data[1:]
	next := func() (string, error) {
		n, rest, err := number(data)
		if err == nil && (rest == nil || len(rest) < n) {
			err = malformed("A field is cut.")
		}
		if err != nil {
			return "", err
		}
		data = rest[n:]
		return string(rest[:n]), nil
	}
	var code, text, body string
	for i, p := range append(fields(m), &code, &text, &body) {
		if i == 1 {
			if len(data) == 0 || data[0] < '0' || data[0] > '2' {
				return nil, malformed("There is no such ack mode.")
			}
			m.AckMode = subprotocol.AckMode(data[0] - '0')
			data = data[1:]
		}
		var err error
		if *p, err = next(); err != nil {
			return nil, err
		}
	}
	if m.Kind == subprotocol.KindError {
		m.Error = &subprotocol.Error{Code: code, Text: text}
	}
	m.Body = []byte(body)
	for len(data) > 0 {
		name, err := next()
		if err != nil {
			return nil, err
		}
		value, err := next()
		if err != nil {
			return nil, err
		}
		m.Header.Add(name, value)
	}
	return m, nil
}

func str(dst []byte, s string) []byte {
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	return append(append(dst, ':'), s...)
}

// parts are the kind and the subscription, and all else.
func parts(m *subprotocol.Message) (head, tail []byte) {
	head = str([]byte{'A' + byte(m.Kind)}, m.Subscription)
	tail = append(tail, '0'+byte(m.AckMode))
	for _, p := range fields(m)[1:] {
		tail = str(tail, *p)
	}
	var e subprotocol.Error
	if m.Error != nil {
		e = *m.Error
	}
	tail = str(str(str(tail, e.Code), e.Text), string(m.Body))
	for _, h := range m.Header {
		tail = str(str(tail, h.Name), h.Value)
	}
	return head, tail
}

func (f *lineFramer) AppendHead(dst []byte, m *subprotocol.Message) ([]byte, error) {
	head, tail := parts(m)
	dst = append(strconv.AppendInt(dst, int64(len(head)+len(tail)), 10), ':')
	return append(dst, head...), nil
}

func (f *lineFramer) AppendTail(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	_, tail := parts(m)
	typ := transport.MessageText
	if !utf8.Valid(tail) {
		if typ = transport.MessageBinary; f.cfg.TextOnly {
			return dst, 0, errors.New("line: only text")
		}
	}
	return append(dst, tail...), typ, nil
}

func (f *lineFramer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	switch {
	case m.Kind == 0 || m.Kind > subprotocol.KindDisconnect:
		return dst, 0, fmt.Errorf("line: no wire form for %v", m.Kind)
	case m.Kind == subprotocol.KindHeartbeat:
		return append(dst, '\n'), transport.MessageText, nil
	}
	head, err := f.AppendHead(slices.Clip(dst), m)
	if err != nil {
		return dst, 0, err
	}
	out, typ, err := f.AppendTail(head, m)
	if err != nil {
		return dst, 0, err
	}
	return out, typ, nil
}
