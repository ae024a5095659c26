package stomp

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func (f *framer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	form := f.form()
	if m.Kind == subprotocol.KindHeartbeat {
		return f.appendHeartbeat(dst, m)
	}
	c, err := outgoing(side(!f.client), m.Kind)
	if err != nil {
		return dst, 0, err
	}
	if len(m.Body) > 0 && !c.body {
		return dst, 0, fmt.Errorf("stomp: %s has no body: %w", c.name, errors.ErrUnsupported)
	}
	if form.version == 0 && c != &connect && c != &connected && c != &failed {
		return dst, 0, fmt.Errorf("stomp: %s before the version is agreed: %w", c.name, errors.ErrUnsupported)
	}
	w := writer{b: dst, version: form.version}
	w.b = append(append(w.b, c.name...), '\n')
	body, uses := m.Body, c.uses
	switch c {
	case &connect:
		f.connect(&w, m)
	case &connected:
		f.connected(&w, m)
	case &delivered:
		f.deliver(&w, m)
		if m.Kind == subprotocol.KindReply && m.Receipt != "" {
			w.field(receiptID, m.Receipt)
			uses |= of(receiptID)
		}
		w.field(destination, m.Destination)
		w.optional(contentType, m.ContentType)
	case &receipted:
		w.required(receiptID, m.Receipt)
	case &failed:
		body = f.failed(&w, m)
	default:
		f.request(&w, c, m)
	}
	w.header(m.Header, uses)
	typ, err := w.finish(form, body)
	if err != nil {
		return dst, 0, err
	}
	if c == &connected {
		f.count.Store(numberFrom(m.ID))
		f.begin(f.binary)
	}
	return w.b, typ, nil
}

// AppendHead writes the command of a deliver and what is this receiver's: subscription,
// message-id and ack.
func (f *framer) AppendHead(dst []byte, m *subprotocol.Message) ([]byte, error) {
	w, err := f.part(dst, m)
	if err != nil {
		return dst, err
	}
	w.b = append(append(w.b, delivered.name...), '\n')
	f.deliver(&w, m)
	if w.err != nil {
		return dst, w.err
	}
	return w.b, nil
}

// AppendTail writes the rest of a deliver.
func (f *framer) AppendTail(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	w, err := f.part(dst, m)
	if err != nil {
		return dst, 0, err
	}
	w.field(destination, m.Destination)
	w.optional(contentType, m.ContentType)
	w.header(m.Header, delivered.uses)
	typ, err := w.finish(f.form(), m.Body)
	if err != nil {
		return dst, 0, err
	}
	return w.b, typ, nil
}

// part begins a part of a deliver.
func (f *framer) part(dst []byte, m *subprotocol.Message) (writer, error) {
	v := f.form().version
	if f.client || v == 0 || m.Kind != subprotocol.KindDeliver {
		return writer{}, fmt.Errorf("stomp: %v has no head and tail here: %w", m.Kind, errors.ErrUnsupported)
	}
	return writer{b: dst, version: v}, nil
}

func (f *framer) appendHeartbeat(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	form := f.form()
	switch {
	case form.version < v11:
		return dst, 0, fmt.Errorf("stomp: there are no heartbeats in version %v: %w", form.version, errors.ErrUnsupported)
	case m.NeedReply:
		return dst, 0, fmt.Errorf("stomp: a heartbeat can't ask for an answer: %w", errors.ErrUnsupported)
	}
	typ, _ := form.messageType(nil)
	return append(dst, '\n'), typ, nil
}

// connect writes the client's part of the connect exchange, which has no escapes.
func (f *framer) connect(w *writer, m *subprotocol.Message) {
	w.version = 0
	list := cmp.Or(m.Version, f.sub.list)
	for v := range strings.SplitSeq(list, ",") {
		if !f.sub.accepted[versionOf(v)] {
			w.fail("a version that Options.Versions does not have can't be offered")
		}
	}
	w.field(acceptVersion, list)
	if m.Heartbeat != (subprotocol.Heartbeat{}) {
		w.heartbeat(m.Heartbeat)
	}
}

// connected writes the server's part.
func (f *framer) connected(w *writer, m *subprotocol.Message) {
	w.version = 0
	if f.version == 0 || m.Version != "" && m.Version != f.version.String() {
		w.fail("a version that the client did not offer can't be chosen")
	}
	w.field(versionName, f.version.String())
	w.optional(session, m.ID)
	if m.Header.Get("server") == "" {
		w.custom("server", f.sub.opts.Server)
	}
	if f.version >= v11 {
		w.heartbeat(m.Heartbeat)
	}
}

func (w *writer) heartbeat(h subprotocol.Heartbeat) {
	w.key(heartBeat)
	w.interval(h.Send)
	w.b = append(w.b, ',')
	w.interval(h.Receive)
	w.end()
}

// interval writes whole milliseconds, rounded up: 0 would mean none.
func (w *writer) interval(d time.Duration) {
	if d < 0 || d > maxInterval*time.Millisecond {
		w.fail("a heartbeat interval that is negative or over 2147483647 ms can't be written")
		return
	}
	w.number(uint64((d + time.Millisecond - 1) / time.Millisecond))
}

// deliver writes the receiver's part of MESSAGE.
func (f *framer) deliver(w *writer, m *subprotocol.Message) {
	_, noID := byDestination(m.Subscription)
	if !noID {
		w.field(subscription, cmp.Or(m.Subscription, unnamed))
	}
	w.key(messageID)
	switch {
	case m.ID == "":
		w.b = strconv.AppendUint(append(w.b, 'm'), f.count.Add(1), 36)
	case m.Subscription != "" && (w.version == v10 || w.version == v11 && noID):
		w.ackID(m)
	default:
		w.escaped(m.ID)
	}
	w.end()
	if w.version == v12 && m.ID != "" && m.Subscription != "" {
		w.key(ack)
		w.ackID(m)
		w.end()
	}
}

// failed writes what an ERROR says, and returns the body.
func (f *framer) failed(w *writer, m *subprotocol.Message) []byte {
	e := m.Error
	if e == nil {
		w.fail("an ERROR without Message.Error can't be written")
		return nil
	}
	code, text := cmp.Or(e.Code, "error"), oneLine(e.Text)
	if w.version == 0 {
		text = slashed(text)
	}
	w.field(message, text)
	w.optional(receiptID, cmp.Or(m.Receipt, e.Receipt))
	if sub := cmp.Or(m.Subscription, e.Subscription); sub != "" && sub[0] != noID[0] {
		w.field(subscription, sub)
	}
	if code == "version" && m.Header.Get("version") == "" {
		w.field(versionName, f.sub.list)
	}
	if len(m.Body) > 0 {
		w.optional(contentType, m.ContentType)
		return m.Body
	}
	w.field(contentType, "text/plain")
	return []byte(code + ": " + e.Text)
}

// request writes the headers of what only a client sends.
func (f *framer) request(w *writer, c *command, m *subprotocol.Message) {
	switch c {
	case &send:
		w.required(destination, m.Destination)
		w.optional(contentType, m.ContentType)
		w.optional(transaction, m.Transaction)
	case &subscribe:
		f.subscription(w, m)
		w.required(destination, m.Destination)
		switch {
		case m.AckMode > subprotocol.AckClientIndividual, m.AckMode == subprotocol.AckClientIndividual && w.version == v10:
			w.fail("this version has no such ack mode")
		case m.AckMode != subprotocol.AckAuto:
			w.field(ack, m.AckMode.String())
		}
	case &unsubscribe:
		f.subscription(w, m)
		if dest, ok := byDestination(m.Subscription); ok {
			w.required(destination, dest)
		}
	case &acked, &nacked:
		f.acknowledge(w, m)
		w.optional(transaction, m.Transaction)
	case &begin, &commit, &abort:
		w.required(transaction, m.Transaction)
	}
	w.optional(receipt, m.Receipt)
}

// subscription writes the id of a subscription, if it has one.
func (f *framer) subscription(w *writer, m *subprotocol.Message) {
	dest, noID := byDestination(m.Subscription)
	switch {
	case !noID:
		w.required(id, m.Subscription)
	case w.version != v10 && !f.sub.opts.Lenient:
		w.fail("a subscription without an id can't be written in this version")
	case m.Kind == subprotocol.KindSubscribe && dest != m.Destination:
		w.fail("a subscription without an id can't have another's destination")
	}
}

func (f *framer) acknowledge(w *writer, m *subprotocol.Message) {
	_, noID := byDestination(m.Subscription)
	switch {
	case w.version == v10 && m.Kind == subprotocol.KindNack:
		w.fail("a NACK can't be written in version 1.0")
	case w.version == v12:
		w.required(id, m.ID)
	default:
		w.required(messageID, m.ID)
		if w.version == v11 && !noID {
			w.required(subscription, m.Subscription)
		}
	}
}

// required is field for a value that may not be missing.
func (w *writer) required(n name, value string) {
	if value == "" && w.err == nil {
		w.err = fmt.Errorf("stomp: the header %q has no value", names[n])
	}
	w.field(n, value)
}

// header writes the application's headers, without those that were written already.
func (w *writer) header(h subprotocol.Header, uses set) {
	for i := range h {
		if !uses.has(lookup(h[i].Name)) {
			w.custom(h[i].Name, h[i].Value)
		}
	}
}

// finish ends the headers and writes the body.
func (w *writer) finish(form form, body []byte) (transport.MessageType, error) {
	typ, err := form.messageType(body)
	if err = cmp.Or(w.err, err); err != nil {
		return 0, err
	}
	if len(body) > 0 {
		w.key(contentLength)
		w.number(uint64(len(body)))
		w.end()
	}
	w.end()
	w.b = append(append(w.b, body...), 0)
	return typ, nil
}

// messageType is what a frame goes out as.
func (f form) messageType(body []byte) (transport.MessageType, error) {
	switch {
	case f.binary:
		return transport.MessageBinary, nil
	case utf8.Valid(body):
		return transport.MessageText, nil
	case f.textOnly:
		return 0, fmt.Errorf("stomp: a body that is not UTF-8 over a transport that carries only text: %w", errors.ErrUnsupported)
	default:
		return transport.MessageBinary, nil
	}
}
