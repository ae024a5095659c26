package subprotocol

import (
	"slices"
	"time"

	"github.com/weftws/weft/transport"
)

// Kind says what a Message is for.
type Kind uint8

// The kinds. Client and server mark who sends them.
const (
	KindConnect     Kind = iota + 1 // client: asks to begin, or shows fresh credentials
	KindConnected                   // server: has begun
	KindSend                        // client: to Destination
	KindReply                       // server: the answer to one Send or Subscribe
	KindDeliver                     // server: to a subscription, or to the session where there are none
	KindSubscribe                   // client: begins Subscription on Destination
	KindUnsubscribe                 // either: ends Subscription
	KindAck                         // client: has taken a Deliver
	KindNack                        // client: has not taken a Deliver
	KindBegin                       // client: begins Transaction
	KindCommit                      // client: does all of Transaction
	KindAbort                       // client: does nothing of Transaction
	KindReceipt                     // server: has done what asked for Receipt
	KindError                       // server: see Message.Error
	KindHeartbeat                   // either: is alive
	KindDisconnect                  // either: ends the session
	kindEnd
)

var kindNames = [...]string{
	"none", "CONNECT", "CONNECTED", "SEND", "REPLY", "DELIVER", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK",
	"BEGIN", "COMMIT", "ABORT", "RECEIPT", "ERROR", "HEARTBEAT", "DISCONNECT",
}

// String returns the kind in capitals: "SEND".
func (k Kind) String() string {
	if k >= kindEnd {
		return "unknown"
	}
	return kindNames[k]
}

// Message is one unit of a sub-protocol in neutral form: what handlers,
// middleware and brokers work on, whatever the wire format. Fields that a kind
// does not use are empty.
//
// A Message that a Framer emits is valid until the call that it is given to
// returns. Clone makes one that stays.
type Message struct {
	Kind Kind

	// Type asks for text or binary where the wire format leaves the choice, and
	// says which one a message came as. 0 leaves it to the sub-protocol.
	Type transport.MessageType

	// NeedReply marks a Heartbeat that asks for an answer.
	NeedReply bool

	Destination  string
	ID           string // what Ack and Nack name; a Deliver without one wants neither
	Subscription string
	Receipt      string // asked for, or given; a Reply and an Error carry their request's
	Transaction  string
	Version      string // offered in Connect, chosen in Connected
	ContentType  string // of Body, "" if not said

	// Heartbeat is what the sender of a Connect or Connected offers and wants.
	Heartbeat Heartbeat

	// AckMode says how what a Subscribe brings is to be acknowledged.
	AckMode AckMode

	Header Header
	Body   []byte

	// Error is what a KindError says.
	Error *Error

	pathValues []pair
}

type pair struct{ name, value string }

// Heartbeat is what one side says about its signs of life; 0 means none. Wire
// formats carry whole milliseconds.
type Heartbeat struct {
	// Send is the longest time between two messages that it can promise, Receive the
	// longest that it wants of the other side. The larger of one side's Send
	// and the other's Receive holds, if neither is 0.
	Send, Receive time.Duration
}

// AckMode says which deliveries of a subscription an Ack is about.
type AckMode uint8

const (
	// AckAuto: what was sent counts as taken; there are no Acks.
	AckAuto AckMode = iota
	// AckClient: an Ack is about that Deliver and all before it.
	AckClient
	// AckClientIndividual: an Ack is about that Deliver alone.
	AckClientIndividual
)

// String returns "auto", "client" or "client-individual".
func (a AckMode) String() string {
	switch a {
	case AckAuto:
		return "auto"
	case AckClient:
		return "client"
	case AckClientIndividual:
		return "client-individual"
	default:
		return "unknown"
	}
}

// PathValue returns what the wildcard of that name matched in the pattern that
// routed m, "" if there is none.
func (m *Message) PathValue(name string) string {
	for i := range m.pathValues {
		if m.pathValues[i].name == name {
			return m.pathValues[i].value
		}
	}
	return ""
}

// SetPathValue sets the value of the wildcard name, for routers.
func (m *Message) SetPathValue(name, value string) {
	for i := range m.pathValues {
		if m.pathValues[i].name == name {
			m.pathValues[i].value = value
			return
		}
	}
	m.pathValues = append(m.pathValues, pair{name, value})
}

// Reset empties m and keeps the room that its slices have.
func (m *Message) Reset() {
	clear(m.Header)
	clear(m.pathValues)
	*m = Message{Header: m.Header[:0], pathValues: m.pathValues[:0]}
}

// Clone returns a copy that shares no memory that could change.
func (m *Message) Clone() *Message {
	c := *m
	c.Header = slices.Clone(m.Header)
	c.Body = slices.Clone(m.Body)
	c.pathValues = slices.Clone(m.pathValues)
	if m.Error != nil {
		e := *m.Error
		c.Error = &e
	}
	return &c
}

// Header is an ordered list of fields. A name may stand more than once; the first
// one counts. Names are compared exactly.
type Header []Field

// Field is one line of a Header.
type Field struct{ Name, Value string }

// Get returns the first value of name, "" if there is none.
func (h Header) Get(name string) string {
	for i := range h {
		if h[i].Name == name {
			return h[i].Value
		}
	}
	return ""
}

// Values returns all values of name, in order.
func (h Header) Values(name string) []string {
	var vs []string
	for i := range h {
		if h[i].Name == name {
			vs = append(vs, h[i].Value)
		}
	}
	return vs
}

// Add appends a field.
func (h *Header) Add(name, value string) { *h = append(*h, Field{name, value}) }

// Set replaces the first field of that name and deletes the others, or appends
// one.
func (h *Header) Set(name, value string) {
	for i := range *h {
		if (*h)[i].Name == name {
			(*h)[i].Value = value
			tail := slices.DeleteFunc((*h)[i+1:], func(f Field) bool { return f.Name == name })
			*h = (*h)[:i+1+len(tail)]
			return
		}
	}
	h.Add(name, value)
}

// Del deletes all fields of that name.
func (h *Header) Del(name string) {
	*h = slices.DeleteFunc(*h, func(f Field) bool { return f.Name == name })
}
