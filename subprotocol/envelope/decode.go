package envelope

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/internal/intern"
)

// maxInterval is the longest heartbeat interval in milliseconds, 24 days: what a
// timer of a browser can wait.
const maxInterval = 1<<31 - 1

// maxKept bounds the memory in bytes that an envelope may have grown to and still
// be lent again.
const maxKept = 64 << 10

// envelope is what both forms make of the bytes, before the table of kinds is
// asked. Its slices lie in the transport's bytes or in scratch.
type envelope struct {
	opts *Options

	named       set // the fields that stand in it, whatever they hold
	have        set // the fields that hold more than nothing
	strings     [numFields][]byte
	send, recv  uint32 // milliseconds
	header      []pair
	headerBytes int
	body        []byte
	fault       *subprotocol.Error // the first that was found

	scratch []byte // strings without their escapes, bodies without base64

	// What becomes the message.
	msg    subprotocol.Message
	err    subprotocol.Error
	fields subprotocol.Header // the memory of msg.Header
	later  intern.Batch       // of what is not likely to come again
}

type pair struct{ name, value []byte }

// reset empties e, and reports whether it is small enough to be kept.
func (e *envelope) reset() bool {
	later, joined := e.later.Cap()
	if cap(e.scratch)+joined > maxKept || cap(e.header)+cap(e.fields)+later > maxKept/32 {
		return false
	}
	// The handler may have given the message a header of its own, which is not to
	// be cleared.
	e.msg.Header = e.fields
	e.msg.Reset()
	clear(e.header)
	e.later.Reset()
	*e = envelope{
		header: e.header[:0], scratch: e.scratch[:0], msg: e.msg, fields: e.fields[:0], later: e.later,
	}
	return true
}

// broken is an error of an envelope that breaks the table; the session goes on.
func (e *envelope) broken(code, format string, args ...any) {
	if e.fault == nil {
		e.fault = &subprotocol.Error{Code: code, Text: fmt.Sprintf(format, args...)}
	}
}

// malformed is an error of bytes that are no envelope.
func malformed(what string, at int) error {
	return &subprotocol.Error{Code: "malformed", Text: what + " at byte " + strconv.Itoa(at), Fatal: true}
}

// begin notes that the field stands in the envelope, and reports whether that is
// the first time.
func (e *envelope) begin(f field) bool {
	if e.named.has(f) {
		e.repeated(f)
		return false
	}
	e.named |= 1 << f
	return true
}

func (e *envelope) repeated(f field) {
	e.broken("repeated-field", "the field %q is repeated", fields[f.neutral()].name)
}

func (e *envelope) unknown(name []byte) {
	if e.fault == nil { // an envelope may consist of them, and name would be allocated each time
		e.broken("unknown-field", "the field %.40q is unknown", name)
	}
}

var wants = [...]string{
	aString:    "a string",
	aBool:      "true or false",
	anInterval: "a pair of whole numbers of milliseconds up to 2147483647",
	aHeader:    "a list of pairs of strings",
	aBody:      "a body",
}

// mistyped notes a value that the field can't hold.
func (e *envelope) mistyped(f field) {
	e.broken("bad-field", "the field %q is not %s", fields[f].name, wants[fields[f].value])
}

func (e *envelope) setString(f field, s []byte) {
	if len(s) > e.opts.MaxString && f != fieldMessage {
		e.broken("limit", "the field %q has %d bytes, the limit is %d", fields[f].name, len(s), e.opts.MaxString)
		return
	}
	if len(s) > 0 {
		e.have |= 1 << f
		e.strings[f] = s
	}
}

func (e *envelope) setBool(f field, is bool) {
	if is {
		e.have |= 1 << f
	}
}

func (e *envelope) setHeartbeat(send, recv uint64) {
	if send > maxInterval || recv > maxInterval {
		e.mistyped(fieldHeartbeat)
		return
	}
	e.send, e.recv = uint32(send), uint32(recv)
	e.setBool(fieldHeartbeat, send+recv > 0)
}

// addHeader reports whether more may follow.
func (e *envelope) addHeader(name, value []byte) bool {
	if len(e.header) == e.opts.MaxHeaders {
		e.broken("limit", "the field %q has more than %d pairs", "header", e.opts.MaxHeaders)
		return false
	}
	e.headerBytes += len(name) + len(value)
	if e.headerBytes > e.opts.MaxHeaderBytes {
		e.broken("limit", "the field %q has more than %d bytes", "header", e.opts.MaxHeaderBytes)
		return false
	}
	e.have |= 1 << fieldHeader
	e.header = append(e.header, pair{name, value})
	return true
}

// setBody sets the body, which may stand in one field alone.
func (e *envelope) setBody(b []byte) {
	switch {
	case len(b) == 0:
	case e.have.has(fieldBody):
		e.repeated(fieldBody)
	default:
		e.have |= 1 << fieldBody
		e.body = b
	}
}

// neutral makes the message, or returns which rule of the table is broken.
func (f *framer) neutral(e *envelope) error {
	kind := kindOf(e.strings[fieldType])
	e.msg.Kind = kind
	switch {
	case e.fault != nil:
	case !e.have.has(fieldType):
		e.broken("missing-field", "the field %q is missing", "type")
	case kind == 0:
		e.broken("unknown-type", "the type %.40q is unknown", e.strings[fieldType])
	case byKind[f.side.other()][kind] == nil:
		e.broken("wrong-side", "%s does not come from the %v", a(kind), f.side.other())
	default:
		s := byKind[f.side.other()][kind]
		if extra := e.have &^ s.allowed(); extra != 0 {
			e.broken("forbidden-field", "the field %q has no place in %s", fields[extra.first()].name, a(kind))
		} else if missing := s.required &^ e.have; missing != 0 {
			e.broken("missing-field", "the field %q is missing in %s", fields[missing.first()].name, a(kind))
		}
	}
	e.readVersion(f.side)
	e.readAck()
	if e.fault != nil {
		e.fault.Receipt = string(e.strings[fieldReceipt])
		return e.fault
	}
	f.fill(e)
	return nil
}

func (e *envelope) readVersion(side side) {
	s := e.strings[fieldVersion]
	if e.msg.Kind == subprotocol.KindConnect && len(s) == 0 {
		e.msg.Version = version
	}
	if len(s) == 0 {
		return
	}
	n, err := strconv.ParseUint(string(s), 10, 16)
	switch {
	case err != nil || s[0] < '1' || s[0] > '9':
		e.broken("bad-field", "the field %q is not a whole number from 1 in a string", "version")
	case side == client && n != 1:
		e.broken("bad-field", "the version %d was not offered", n)
	}
	e.msg.Version = version
}

func (e *envelope) readAck() {
	switch string(e.strings[fieldAck]) {
	case "", "auto":
	case "client":
		e.msg.AckMode = subprotocol.AckClient
	case "client-individual":
		e.msg.AckMode = subprotocol.AckClientIndividual
	default:
		e.broken("bad-field", `the field "ack" is not "auto", "client" or "client-individual"`)
	}
}

// fill makes the message of an envelope that keeps the rules. What is likely to
// come again or to be kept is interned, all other strings are made with one allocation.
func (f *framer) fill(e *envelope) {
	m := &e.msg
	f.seen.Set(&m.Destination, e.strings[fieldDestination])
	f.seen.Set(&m.ContentType, e.strings[fieldContentType])
	f.seen.Set(&m.Subscription, e.strings[fieldSubscription])
	e.later.Set(&m.ID, e.strings[fieldID])
	e.later.Set(&m.Receipt, e.strings[fieldReceipt])
	e.later.Set(&m.Transaction, e.strings[fieldTransaction])
	m.NeedReply = e.have.has(fieldAnswer)
	m.Heartbeat.Send = time.Duration(e.send) * time.Millisecond
	m.Heartbeat.Receive = time.Duration(e.recv) * time.Millisecond
	m.Body = e.body
	if m.Kind == subprotocol.KindError {
		m.Error = &e.err
		e.err.Fatal = e.have.has(fieldFatal)
		e.later.Set(&e.err.Code, e.strings[fieldCode])
		e.later.Set(&e.err.Text, e.strings[fieldMessage])
	}
	e.fields = slices.Grow(e.fields[:0], len(e.header))[:len(e.header)]
	m.Header = e.fields
	for i, p := range e.header {
		f.seen.Set(&m.Header[i].Name, p.name)
		e.later.Set(&m.Header[i].Value, p.value)
	}
	e.later.Make()
	if m.Error != nil {
		m.Error.Receipt, m.Error.Subscription = m.Receipt, m.Subscription
	}
}
