package stomp

import (
	"errors"
	"fmt"

	"github.com/weftws/weft/subprotocol"
)

// version is one of STOMP, 0 while it is not known.
type version uint8

const (
	v10 version = iota + 1
	v11
	v12
	numVersions
)

func (v version) String() string { return [...]string{"unknown", "1.0", "1.1", "1.2"}[v] }

func versionOf(s string) version {
	switch s {
	case "1.0":
		return v10
	case "1.1":
		return v11
	case "1.2":
		return v12
	}
	return 0
}

// name is a header that means something here.
type name uint8

const (
	other name = iota
	acceptVersion
	ack
	contentLength
	contentType
	destination
	heartBeat
	id
	message
	messageID
	receipt
	receiptID
	session
	subscription
	transaction
	versionName
	numNames
)

var names = [numNames]string{
	acceptVersion: "accept-version", ack: "ack", contentLength: "content-length", contentType: "content-type",
	destination: "destination", heartBeat: "heart-beat", id: "id", message: "message", messageID: "message-id",
	receipt: "receipt", receiptID: "receipt-id", session: "session", subscription: "subscription",
	transaction: "transaction", versionName: "version",
}

func (n name) String() string { return names[n] }

// maxName is the length of the longest of names.
const maxName = len("accept-version")

// lookup finds a header by its name. None has an octet that is ever escaped.
func lookup(s string) name {
	switch s {
	case "accept-version":
		return acceptVersion
	case "ack":
		return ack
	case "content-length":
		return contentLength
	case "content-type":
		return contentType
	case "destination":
		return destination
	case "heart-beat":
		return heartBeat
	case "id":
		return id
	case "message":
		return message
	case "message-id":
		return messageID
	case "receipt":
		return receipt
	case "receipt-id":
		return receiptID
	case "session":
		return session
	case "subscription":
		return subscription
	case "transaction":
		return transaction
	case "version":
		return versionName
	}
	return other
}

// set is a set of names.
type set uint32

func of(ns ...name) set {
	var s set
	for _, n := range ns {
		s |= 1 << n
	}
	return s
}

func (s set) has(n name) bool { return s&(1<<n) != 0 }

// command is a row of the table of commands.
type command struct {
	name string
	kind subprotocol.Kind
	from side
	body bool // may have one
	uses set  // headers that become fields of the message; all others are its Header
}

// side is an end of a connection.
type side bool

const (
	client side = false
	server side = true
)

func (s side) String() string {
	if s == server {
		return "server"
	}
	return "client"
}

var (
	connect     = command{"CONNECT", subprotocol.KindConnect, client, false, of(acceptVersion, heartBeat, receipt, contentLength)}
	stomp       = command{"STOMP", subprotocol.KindConnect, client, false, connect.uses}
	send        = command{"SEND", subprotocol.KindSend, client, true, of(destination, receipt, transaction, contentType, contentLength)}
	subscribe   = command{"SUBSCRIBE", subprotocol.KindSubscribe, client, false, of(destination, id, ack, receipt, contentLength)}
	unsubscribe = command{"UNSUBSCRIBE", subprotocol.KindUnsubscribe, client, false, of(destination, id, receipt, contentLength)}
	acked       = command{"ACK", subprotocol.KindAck, client, false, of(id, messageID, subscription, transaction, receipt, contentLength)}
	nacked      = command{"NACK", subprotocol.KindNack, client, false, acked.uses}
	begin       = command{"BEGIN", subprotocol.KindBegin, client, false, of(transaction, receipt, contentLength)}
	commit      = command{"COMMIT", subprotocol.KindCommit, client, false, begin.uses}
	abort       = command{"ABORT", subprotocol.KindAbort, client, false, begin.uses}
	disconnect  = command{"DISCONNECT", subprotocol.KindDisconnect, client, false, of(receipt, contentLength)}

	connected = command{"CONNECTED", subprotocol.KindConnected, server, false, of(versionName, session, heartBeat, contentLength)}
	delivered = command{"MESSAGE", subprotocol.KindDeliver, server, true,
		of(destination, subscription, messageID, ack, contentType, contentLength)}
	receipted = command{"RECEIPT", subprotocol.KindReceipt, server, false, of(receiptID, contentLength)}
	failed    = command{"ERROR", subprotocol.KindError, server, true, of(message, receiptID, subscription, contentType, contentLength)}
)

// refused stands for the command of a frame that can't come, while its headers are read.
var refused = command{name: "a frame that is refused", uses: of(receipt)}

// commandOf finds a command by its name, nil if there is none.
func commandOf(name []byte) *command {
	switch string(name) {
	case "CONNECT":
		return &connect
	case "STOMP":
		return &stomp
	case "SEND":
		return &send
	case "SUBSCRIBE":
		return &subscribe
	case "UNSUBSCRIBE":
		return &unsubscribe
	case "ACK":
		return &acked
	case "NACK":
		return &nacked
	case "BEGIN":
		return &begin
	case "COMMIT":
		return &commit
	case "ABORT":
		return &abort
	case "DISCONNECT":
		return &disconnect
	case "CONNECTED":
		return &connected
	case "MESSAGE":
		return &delivered
	case "RECEIPT":
		return &receipted
	case "ERROR":
		return &failed
	}
	return nil
}

// command finds the command of a line, or says why it can't come now.
func (f *framer) command(line []byte) (*command, *subprotocol.Error) {
	c := commandOf(line)
	from := side(f.client)
	switch {
	case c == nil:
		return nil, fault("unknown-command", "the command %.20q is unknown", line)
	case c.from != from:
		return nil, fault("unknown-command", "%s does not come from the %v", c.name, from)
	case c == &nacked && f.version == v10:
		return nil, fault("unknown-command", "STOMP 1.0 has no NACK")
	case f.version != 0 && c == &connected:
		return nil, malformed("this connection is connected already")
	case f.version != 0 || c.kind == subprotocol.KindConnect || c == &connected || c == &failed:
		return c, nil
	case f.client:
		return nil, fault("not-connected", "the first frame must be CONNECTED or ERROR, not %s", c.name)
	default:
		return nil, fault("not-connected", "the first frame must be CONNECT or STOMP, not %s", c.name)
	}
}

// outgoing finds the command that side sends for a kind.
func outgoing(from side, k subprotocol.Kind) (*command, error) {
	if k == subprotocol.KindReply {
		k = subprotocol.KindDeliver
	}
	for _, c := range [...]*command{
		&send, &delivered, &acked, &nacked, &receipted, &subscribe, &unsubscribe, &begin, &commit, &abort, &connect,
		&connected, &failed, &disconnect,
	} {
		if c.kind == k && c.from == from {
			return c, nil
		}
	}
	return nil, fmt.Errorf("stomp: the kind %v does not come from the %v: %w", k, from, errors.ErrUnsupported)
}

// ackID writes what an ACK has to say so that it is enough alone: the id, and
// the subscription that it came by. The number tells where one ends, the sign whether
// the subscription is named by its destination, which is written instead.
func (w *writer) ackID(m *subprotocol.Message) {
	w.number(uint64(len(m.ID)))
	if dest, ok := byDestination(m.Subscription); ok {
		w.b = append(w.b, '-')
		w.escaped(m.ID)
		w.escaped(dest)
		return
	}
	w.b = append(w.b, '.')
	w.escaped(m.ID)
	w.escaped(m.Subscription)
}

// parseAckID is the inverse of ackID. named is false if sub is a destination.
func parseAckID(b []byte) (id, sub []byte, named, ok bool) {
	n, i := 0, 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if n = 10*n + int(b[i]-'0'); n > len(b) {
			return nil, nil, false, false
		}
	}
	if i == 0 || b[0] == '0' || i == len(b) || b[i] != '.' && b[i] != '-' || n >= len(b)-i-1 {
		return nil, nil, false, false
	}
	rest := b[i+1:]
	return rest[:n], rest[n:], b[i] == '.', true
}

// A subscription without an id has the name of its destination, behind an octet that
// no id can have.
const noID = "\x00"

// byDestination returns the destination of a subscription that has no id.
func byDestination(sub string) (dest string, ok bool) {
	if len(sub) > 0 && sub[0] == noID[0] {
		return sub[1:], true
	}
	return "", false
}

// unnamed is the subscription of what goes to none: STOMP demands one.
const unnamed = "reply"
