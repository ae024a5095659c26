package stomp

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func (f *framer) Decode(m transport.Message, sink subprotocol.Sink) error {
	beaten := false
	for data := m.Data; len(data) > 0; {
		fr, whole, rest, err := f.next(data)
		data = rest
		if err != nil {
			f.cur = nil
			return err
		}
		if whole == nil {
			break
		}
		if fr.command == nil {
			// An empty line between frames.
			if beaten || f.version == v10 { // which has no heartbeats
				f.free(fr)
				continue
			}
			beaten = true
			fr.msg.Kind = subprotocol.KindHeartbeat
		} else if err := f.neutral(fr, whole, m.Type); err != nil {
			return err
		}
		fr.msg.Type = m.Type
		// A panic of Emit leaves fr to the collector: nobody knows who still works on it.
		if err := sink.Emit(&fr.msg); err != nil {
			return err
		}
		f.free(fr)
	}
	return nil
}

// next takes the next frame from data: whole is nil if its end is still to come.
func (f *framer) next(data []byte) (fr *frame, whole, rest []byte, err error) {
	if f.cur == nil {
		fr = f.sub.pool.Get().(*frame)
		n, err := f.scan(fr, data)
		if err != nil {
			return nil, nil, nil, err
		}
		if n > 0 {
			return fr, data[:n], data[n:], nil
		}
		fr.buf = append(fr.buf, data...)
		f.cur = fr
		return nil, nil, nil, nil
	}
	fr = f.cur
	for len(data) > 0 {
		// What is behind the next NUL, or behind the length of the body, is another frame's.
		n := len(data)
		if fr.body > 0 && fr.length >= 0 {
			n = min(n, fr.body+fr.length+1-len(fr.buf))
		} else if i := bytes.IndexByte(data, 0); i >= 0 {
			n = i + 1
		}
		if i := bytes.IndexByte(data, '\n'); fr.line == 0 && i >= 0 {
			n = min(n, i+1) // the line may be all that there is
		}
		fr.buf = append(fr.buf, data[:n]...)
		data = data[n:]
		n, err := f.scan(fr, fr.buf)
		if err != nil {
			return nil, nil, nil, err
		}
		if n > 0 {
			f.cur = nil
			return fr, fr.buf[:n], data, nil
		}
	}
	return nil, nil, nil, nil
}

// neutral makes the message of a whole frame, or says which rule it breaks.
func (f *framer) neutral(fr *frame, p []byte, typ transport.MessageType) error {
	c := fr.command
	if !utf8.Valid(p[:fr.body]) {
		return f.blame(fr, p, malformed("the headers of %s are not UTF-8", c.name))
	}
	if err := f.classify(fr, p); err != nil {
		return err
	}
	m := &fr.msg
	m.Kind = c.kind
	switch {
	case fr.length == 0:
	case c.body:
		m.Body = p[fr.body : fr.body+fr.length : fr.body+fr.length]
	case c == &subscribe && f.version == v10: // it says nothing about bodies
	default:
		return f.blame(fr, p, malformed("%s has a body, which only SEND, MESSAGE and ERROR may have", c.name))
	}
	if err := f.fill(fr, p, typ); err != nil {
		return f.blame(fr, p, err)
	}
	f.fillHeader(fr, p)
	fr.later.Make()
	if c == &failed {
		fr.fillError()
	}
	return nil
}

// plain reports whether the headers of this frame are as they are, without escapes
// and padding: in what comes before the version is agreed.
func (f *framer) plain(c *command) bool {
	return f.version == 0 || c.kind == subprotocol.KindConnect || c == &connected
}

// classify finds the headers that mean something, and checks the escapes of all.
func (f *framer) classify(fr *frame, p []byte) *subprotocol.Error {
	plain := f.plain(fr.command)
	for i := range fr.fields {
		fd := &fr.fields[i]
		if !fr.command.uses.has(fd.name) {
			fd.name = other
		} else if fr.first[fd.name] == 0 {
			fr.first[fd.name] = int32(i + 1)
		}
		line := p[fd.start:fd.end]
		if !plain && f.version >= v11 && bytes.IndexByte(line, '\\') >= 0 {
			fd.escaped = true
			var ok bool
			if fr.scratch, ok = f.unescape(fr.scratch[:0], line); !ok {
				return f.blame(fr, p, fault("bad-header", "the header %.40q of %s has an escape that STOMP %v does not have",
					p[fd.start:fd.colon], fr.command.name, f.version))
			}
		}
		if (plain || f.version == v12) && bytes.IndexByte(line, '\r') >= 0 {
			return f.blame(fr, p, fault("bad-header", "the header %.40q of %s has a carriage return",
				p[fd.start:fd.colon], fr.command.name))
		}
	}
	return nil
}

// value returns the value of a header, nil if the frame has none of that name. It is
// valid until fr is freed.
func (f *framer) value(fr *frame, p []byte, n name) []byte {
	i := fr.first[n]
	if i == 0 {
		return nil
	}
	fd := &fr.fields[i-1]
	v := p[fd.colon+1 : fd.end : fd.end]
	if f.version == v10 {
		return trim(v)
	}
	if fd.escaped {
		v = f.unescaped(fr, v)
	}
	return v
}

// unescaped is b without its escapes, which were checked. It lies in scratch, which
// only grows.
func (f *framer) unescaped(fr *frame, b []byte) []byte {
	n := len(fr.scratch)
	fr.scratch, _ = f.unescape(fr.scratch, b)
	return fr.scratch[n:]
}

// need is value of a header that must be there, and must have a value.
func (f *framer) need(fr *frame, p []byte, n name) ([]byte, *subprotocol.Error) {
	v := f.value(fr, p, n)
	if len(v) > 0 {
		return v, nil
	}
	if f.plain(fr.command) {
		return nil, fault("missing-header", "%s needs the header %q", fr.command.name, names[n])
	}
	return nil, fault("missing-header", "%s needs the header %q in STOMP %v", fr.command.name, names[n], f.version)
}

// fill sets the fields that the command has, all but the header.
func (f *framer) fill(fr *frame, p []byte, typ transport.MessageType) *subprotocol.Error {
	m := &fr.msg
	fr.later.Set(&m.Receipt, f.value(fr, p, receipt))
	switch fr.command {
	case &connect, &stomp:
		m.Receipt = ""
		fr.later.Reset()
		return f.fillConnect(fr, p, typ)
	case &connected:
		return f.fillConnected(fr, p)
	case &send:
		dest, err := f.need(fr, p, destination)
		f.seen.Set(&m.Destination, dest)
		f.seen.Set(&m.ContentType, f.value(fr, p, contentType))
		fr.later.Set(&m.Transaction, f.value(fr, p, transaction))
		return err
	case &subscribe:
		return f.fillSubscribe(fr, p)
	case &unsubscribe:
		return f.fillUnsubscribe(fr, p)
	case &acked, &nacked:
		fr.later.Set(&m.Transaction, f.value(fr, p, transaction))
		return f.fillAck(fr, p)
	case &begin, &commit, &abort:
		tx, err := f.need(fr, p, transaction)
		fr.later.Set(&m.Transaction, tx)
		return err
	case &delivered:
		return f.fillDeliver(fr, p)
	case &receipted:
		v, err := f.need(fr, p, receiptID)
		fr.later.Set(&m.Receipt, v)
		return err
	case &failed:
		f.seen.Set(&m.ContentType, f.value(fr, p, contentType))
		f.seen.Set(&m.Subscription, f.value(fr, p, subscription))
		fr.later.Set(&m.Receipt, f.value(fr, p, receiptID))
		fr.later.Set(&fr.err.Text, f.value(fr, p, message))
	}
	return nil
}

func (f *framer) fillConnect(fr *frame, p []byte, typ transport.MessageType) *subprotocol.Error {
	v := f.version
	if v == 0 { // else the session has its own opinion of a second one
		list := "1.0"
		if b := f.value(fr, p, acceptVersion); len(b) > 0 {
			list = string(b)
		}
		for offered := range strings.SplitSeq(list, ",") {
			if o := versionOf(strings.TrimSpace(offered)); f.sub.accepted[o] {
				v = max(v, o)
			}
		}
		if v == 0 {
			return fault("version", "none of the versions that the client accepts is among %s", f.sub.list)
		}
		f.version, f.binary = v, typ == transport.MessageBinary
	}
	fr.msg.Version = v.String()
	if v == v10 {
		return nil
	}
	return f.fillHeartbeat(fr, p)
}

func (f *framer) fillConnected(fr *frame, p []byte) *subprotocol.Error {
	v := v10
	if b := f.value(fr, p, versionName); b != nil {
		v = versionOf(string(b))
	}
	if !f.sub.accepted[v] {
		return fault("version", "the server chose a version that is not among %s", f.sub.list)
	}
	f.version = v
	f.begin(f.sub.opts.Binary)
	fr.msg.Version = v.String()
	fr.later.Set(&fr.msg.ID, f.value(fr, p, session))
	if v == v10 {
		return nil
	}
	return f.fillHeartbeat(fr, p)
}

// maxInterval is the longest heartbeat interval in milliseconds, 24 days: what a timer
// of a browser can wait.
const maxInterval = 1<<31 - 1

func (f *framer) fillHeartbeat(fr *frame, p []byte) *subprotocol.Error {
	v := f.value(fr, p, heartBeat)
	if v == nil {
		return nil
	}
	send, receive, _ := bytes.Cut(v, []byte(","))
	s, ok1 := decimal(send, maxInterval)
	r, ok2 := decimal(receive, maxInterval)
	if !ok1 || !ok2 {
		return fault("bad-header", `the header "heart-beat" of %s is not two numbers of milliseconds`, fr.command.name)
	}
	fr.msg.Heartbeat = subprotocol.Heartbeat{
		Send: time.Duration(s) * time.Millisecond, Receive: time.Duration(r) * time.Millisecond,
	}
	return nil
}

// lenient reports whether a subscription may be without an id.
func (f *framer) lenient() bool { return f.version == v10 || f.sub.opts.Lenient }

// internNoID makes *to of a destination.
func (f *framer) internNoID(fr *frame, to *string, dest []byte) {
	n := len(fr.scratch)
	fr.scratch = append(append(fr.scratch, noID...), dest...)
	f.seen.Set(to, fr.scratch[n:])
}

func (f *framer) fillSubscribe(fr *frame, p []byte) *subprotocol.Error {
	m := &fr.msg
	dest, err := f.need(fr, p, destination)
	if err != nil {
		return err
	}
	f.seen.Set(&m.Destination, dest)
	if b := f.value(fr, p, id); len(b) > 0 {
		f.seen.Set(&m.Subscription, b)
	} else if f.lenient() {
		f.internNoID(fr, &m.Subscription, dest)
	} else {
		_, err := f.need(fr, p, id)
		return err
	}
	mode := f.value(fr, p, ack)
	switch {
	case mode == nil || string(mode) == "auto":
	case string(mode) == "client":
		m.AckMode = subprotocol.AckClient
	case string(mode) == "client-individual" && f.version >= v11:
		m.AckMode = subprotocol.AckClientIndividual
	case f.version == v10:
		return fault("bad-header", `the header "ack" of SUBSCRIBE is not auto or client, which are all that STOMP 1.0 has`)
	default:
		return fault("bad-header", `the header "ack" of SUBSCRIBE is not auto, client or client-individual`)
	}
	return nil
}

func (f *framer) fillUnsubscribe(fr *frame, p []byte) *subprotocol.Error {
	if b := f.value(fr, p, id); len(b) > 0 {
		f.seen.Set(&fr.msg.Subscription, b)
		return nil
	}
	if !f.lenient() {
		_, err := f.need(fr, p, id)
		return err
	}
	dest := f.value(fr, p, destination)
	if len(dest) == 0 {
		return fault("missing-header", `UNSUBSCRIBE needs the header "id" or "destination"`)
	}
	f.internNoID(fr, &fr.msg.Subscription, dest)
	return nil
}

func (f *framer) fillAck(fr *frame, p []byte) *subprotocol.Error {
	m := &fr.msg
	n := messageID
	if f.version == v12 {
		n = id
	}
	v, err := f.need(fr, p, n)
	if err != nil {
		return err
	}
	if f.version == v11 {
		sub := f.value(fr, p, subscription)
		if len(sub) > 0 {
			fr.later.Set(&m.ID, v)
			f.seen.Set(&m.Subscription, sub)
			return nil
		}
		if !f.lenient() {
			_, err := f.need(fr, p, subscription)
			return err
		}
	}
	which, sub, named, ok := parseAckID(v)
	if !ok {
		return fault("unknown-ack", "the header %q of %s names no message that was delivered here", names[n], fr.command.name)
	}
	fr.later.Set(&m.ID, which)
	if named {
		f.seen.Set(&m.Subscription, sub)
	} else {
		f.internNoID(fr, &m.Subscription, sub)
	}
	return nil
}

func (f *framer) fillDeliver(fr *frame, p []byte) *subprotocol.Error {
	m := &fr.msg
	dest := f.value(fr, p, destination)
	if dest == nil {
		_, err := f.need(fr, p, destination)
		return err
	}
	f.seen.Set(&m.Destination, dest)
	f.seen.Set(&m.ContentType, f.value(fr, p, contentType))
	if b := f.value(fr, p, subscription); len(b) > 0 {
		f.seen.Set(&m.Subscription, b)
	} else if f.lenient() {
		f.internNoID(fr, &m.Subscription, dest)
	} else {
		_, err := f.need(fr, p, subscription)
		return err
	}
	v, err := f.need(fr, p, messageID)
	if err != nil {
		return err
	}
	if f.version == v12 {
		// What an ACK names has a header of its own; the name of the message stays.
		fr.fields[fr.first[messageID]-1].name = other
		v = f.value(fr, p, ack)
	}
	fr.later.Set(&m.ID, v)
	return nil
}

// fillError tells code and text apart, if they are written as Append does it. Of others
// the body stays, and the code says nothing.
func (fr *frame) fillError() {
	m, e := &fr.msg, &fr.err
	m.Error = e
	e.Fatal = true
	e.Receipt, e.Subscription = m.Receipt, m.Subscription
	e.Text = oneLine(e.Text)
	code, text, found := strings.Cut(string(m.Body), ": ")
	if found && code != "" && !strings.ContainsAny(code, " \n\r\t") && utf8.Valid(m.Body) &&
		strings.Trim(slashed(oneLine(text)), padding) == strings.Trim(slashed(e.Text), padding) {
		e.Code, e.Text = code, text
		m.Body = nil
	} else {
		e.Code = "error"
	}
	if len(m.Body) == 0 {
		m.ContentType = ""
	}
}

// fillHeader has the header made of all that did not become a field.
func (f *framer) fillHeader(fr *frame, p []byte) {
	fr.header = slices.Grow(fr.header[:0], len(fr.fields))
	for i := range fr.fields {
		fd := &fr.fields[i]
		if fd.name != other {
			continue
		}
		fr.header = append(fr.header, subprotocol.Field{})
		h := &fr.header[len(fr.header)-1]
		key, v := p[fd.start:fd.colon], p[fd.colon+1:fd.end]
		switch {
		case f.version == v10:
			v = trim(v)
		case fd.escaped:
			key, v = f.unescaped(fr, key), f.unescaped(fr, v)
		}
		f.seen.Set(&h.Name, key)
		fr.later.Set(&h.Value, v)
	}
	fr.msg.Header = fr.header
}
