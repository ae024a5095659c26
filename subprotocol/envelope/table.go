package envelope

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/weftws/weft/subprotocol"
)

// field is one field of an envelope. The order is the one in which fields are
// written: those of one receiver of a deliver first, those that all receivers
// have in common last.
type field uint8

const (
	fieldType field = iota
	fieldSubscription
	fieldID
	fieldReceipt
	fieldTransaction
	fieldVersion
	fieldHeartbeat
	fieldAck
	fieldCode
	fieldMessage
	fieldFatal
	fieldAnswer
	fieldDestination
	fieldContentType
	fieldHeader
	fieldBody
	numFields

	// The other names that a body has in the JSON form.
	fieldText   = numFields
	fieldBase64 = numFields + 1
)

// neutral is the field of the table that f stands for.
func (f field) neutral() field { return min(f, fieldBody) }

// value is what a field holds.
type value uint8

const (
	aString value = iota
	aBool
	anInterval // two whole numbers
	aHeader    // a list of pairs of strings
	aBody
)

// fields are the names and values of the fields in both forms.
var fields = [numFields]struct {
	name  string
	value value
}{
	fieldType:         {"type", aString},
	fieldSubscription: {"subscription", aString},
	fieldID:           {"id", aString},
	fieldReceipt:      {"receipt", aString},
	fieldTransaction:  {"transaction", aString},
	fieldVersion:      {"version", aString},
	fieldHeartbeat:    {"heartbeat", anInterval},
	fieldAck:          {"ack", aString},
	fieldCode:         {"code", aString},
	fieldMessage:      {"message", aString},
	fieldFatal:        {"fatal", aBool},
	fieldAnswer:       {"answer", aBool},
	fieldDestination:  {"destination", aString},
	fieldContentType:  {"contentType", aString},
	fieldHeader:       {"header", aHeader},
	fieldBody:         {"body", aBody},
}

// lookup finds a field by its name.
func lookup(name []byte) (field, bool) {
	for f := range fields {
		if fields[f].name == string(name) {
			return field(f), true
		}
	}
	return 0, false
}

// set is a set of fields.
type set uint32

func of(fs ...field) set {
	var s set
	for _, f := range fs {
		s |= 1 << f
	}
	return s
}

func (s set) has(f field) bool { return s&(1<<f) != 0 }
func (s set) first() field     { return field(bits.TrailingZeros32(uint32(s))) }
func (s set) len() int         { return bits.OnesCount32(uint32(s)) }

// side is an end of a connection.
type side uint8

const (
	client side = iota
	server
)

func (s side) String() string { return [...]string{"client", "server"}[s] }

func (s side) other() side { return s ^ 1 }

// shape says which fields an envelope of one kind has when that side sends it.
// What is in neither set has no place in it.
type shape struct {
	kind               subprotocol.Kind
	from               side
	required, optional set
}

func (s *shape) allowed() set { return s.required | s.optional | of(fieldType) }

// common are the fields of the tail of a deliver.
var common = of(fieldDestination, fieldContentType, fieldHeader, fieldBody)

// shapes is the table of kinds.
var shapes = [...]shape{
	{subprotocol.KindConnect, client, 0, of(fieldVersion, fieldHeartbeat, fieldHeader)},
	{subprotocol.KindConnected, server, of(fieldVersion), of(fieldID, fieldHeartbeat, fieldHeader)},
	{subprotocol.KindSend, client, of(fieldDestination), of(fieldID, fieldReceipt, fieldTransaction) | common&^of(fieldDestination)},
	{subprotocol.KindReply, server, 0, of(fieldReceipt, fieldSubscription, fieldID) | common},
	{subprotocol.KindSubscribe, client, of(fieldSubscription, fieldDestination), of(fieldAck, fieldReceipt, fieldHeader)},
	{subprotocol.KindUnsubscribe, client, of(fieldSubscription), of(fieldReceipt, fieldHeader)},
	{subprotocol.KindUnsubscribe, server, of(fieldSubscription), of(fieldHeader)},
	{subprotocol.KindDeliver, server, 0, of(fieldSubscription, fieldID) | common},
	{subprotocol.KindAck, client, of(fieldSubscription, fieldID), of(fieldReceipt, fieldTransaction, fieldHeader)},
	{subprotocol.KindNack, client, of(fieldSubscription, fieldID), of(fieldReceipt, fieldTransaction, fieldHeader)},
	{subprotocol.KindBegin, client, of(fieldTransaction), of(fieldReceipt, fieldHeader)},
	{subprotocol.KindCommit, client, of(fieldTransaction), of(fieldReceipt, fieldHeader)},
	{subprotocol.KindAbort, client, of(fieldTransaction), of(fieldReceipt, fieldHeader)},
	{subprotocol.KindReceipt, server, of(fieldReceipt), of(fieldHeader)},
	{subprotocol.KindError, server, of(fieldCode), of(fieldMessage, fieldFatal, fieldReceipt, fieldSubscription, fieldHeader)},
	{subprotocol.KindHeartbeat, client, 0, of(fieldAnswer)},
	{subprotocol.KindHeartbeat, server, 0, of(fieldAnswer)},
	{subprotocol.KindDisconnect, client, 0, of(fieldReceipt, fieldHeader)},
	{subprotocol.KindDisconnect, server, 0, of(fieldHeader)},
}

const numKinds = subprotocol.KindDisconnect + 1

// kindNames are the values of the field "type".
var kindNames = func() (names [numKinds]string) {
	for _, s := range shapes {
		names[s.kind] = strings.ToLower(s.kind.String())
	}
	return names
}()

// byKind finds a shape.
var byKind = func() (found [2][numKinds]*shape) {
	for i := range shapes {
		found[shapes[i].from][shapes[i].kind] = &shapes[i]
	}
	return found
}()

// kindOf finds a kind by its name, 0 if there is none.
func kindOf(name []byte) subprotocol.Kind {
	for k := subprotocol.KindConnect; k < numKinds; k++ {
		if kindNames[k] == string(name) {
			return k
		}
	}
	return 0
}

// a puts the indefinite article before the name of a kind.
func a(k subprotocol.Kind) string {
	name := kindNames[k]
	if strings.IndexByte("aeiou", name[0]) >= 0 {
		return "an " + name
	}
	return "a " + name
}

// present returns the fields that m has something for.
func present(m *subprotocol.Message) set {
	s := of(fieldType)
	add := func(has bool, f field) {
		if has {
			s |= 1 << f
		}
	}
	add(m.Subscription != "", fieldSubscription)
	add(m.ID != "", fieldID)
	add(m.Receipt != "", fieldReceipt)
	add(m.Transaction != "", fieldTransaction)
	add(m.Heartbeat != subprotocol.Heartbeat{}, fieldHeartbeat)
	add(m.AckMode != subprotocol.AckAuto, fieldAck)
	add(m.NeedReply, fieldAnswer)
	add(m.Destination != "", fieldDestination)
	add(m.ContentType != "", fieldContentType)
	add(len(m.Header) > 0, fieldHeader)
	add(len(m.Body) > 0, fieldBody)
	add(true, fieldVersion)
	if e := m.Error; e != nil && m.Kind == subprotocol.KindError {
		add(e.Code != "", fieldCode)
		add(e.Text != "", fieldMessage)
		add(e.Fatal, fieldFatal)
		add(e.Receipt != "", fieldReceipt)
		add(e.Subscription != "", fieldSubscription)
	}
	return s
}

// text returns what m has for a field that is a string.
func text(m *subprotocol.Message, f field) string {
	switch f {
	case fieldType:
		return kindNames[m.Kind]
	case fieldSubscription:
		if m.Kind == subprotocol.KindError && m.Error != nil {
			return cmp.Or(m.Subscription, m.Error.Subscription)
		}
		return m.Subscription
	case fieldID:
		return m.ID
	case fieldReceipt:
		if m.Kind == subprotocol.KindError && m.Error != nil {
			return cmp.Or(m.Receipt, m.Error.Receipt)
		}
		return m.Receipt
	case fieldTransaction:
		return m.Transaction
	case fieldVersion:
		return version
	case fieldAck:
		return m.AckMode.String()
	case fieldCode:
		return m.Error.Code
	case fieldMessage:
		return m.Error.Text
	case fieldDestination:
		return m.Destination
	case fieldContentType:
		return m.ContentType
	}
	return ""
}

// plan returns the fields that side writes for m, or why m has no wire form.
func plan(from side, m *subprotocol.Message) (set, error) {
	if m.Kind == 0 || m.Kind >= numKinds {
		return 0, fmt.Errorf("envelope: the kind %d has no wire form: %w", m.Kind, errors.ErrUnsupported)
	}
	s := byKind[from][m.Kind]
	if s == nil {
		return 0, fmt.Errorf("envelope: %s does not come from the %v: %w", a(m.Kind), from, errors.ErrUnsupported)
	}
	have := present(m)
	if missing := s.required &^ have; missing != 0 {
		return 0, fmt.Errorf("envelope: the field %q is missing in %s", fields[missing.first()].name, a(m.Kind))
	}
	switch {
	case len(m.Body) > 0 && !s.optional.has(fieldBody):
		return 0, fmt.Errorf("envelope: %s has no body: %w", a(m.Kind), errors.ErrUnsupported)
	case m.Version != "" && m.Version != version && s.allowed().has(fieldVersion):
		return 0, fmt.Errorf("envelope: the version %q is unknown: %w", m.Version, errors.ErrUnsupported)
	case m.AckMode > subprotocol.AckClientIndividual && s.optional.has(fieldAck):
		return 0, fmt.Errorf("envelope: the ack mode %d is unknown: %w", m.AckMode, errors.ErrUnsupported)
	}
	return have & s.allowed(), nil
}
