package subprotocoltest

import (
	"slices"
	"strings"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Samples returns messages that a sub-protocol of these features carries. Without
// subscriptions these are bodies alone; with them also destinations, identifiers
// and a header, and one message at least of each kind that is claimed.
func Samples(f subprotocol.Features) []Sample {
	var ss []Sample
	client := func(m subprotocol.Message) { ss = append(ss, Sample{Message: &m}) }
	server := func(m subprotocol.Message) { ss = append(ss, Sample{Message: &m, FromServer: true}) }

	var dest, id, sub string
	var header subprotocol.Header
	if f.Subscriptions {
		dest, id, sub = "/topic/grüße", "m-1", "s-1"
		header = subprotocol.Header{{Name: "first", Value: "1"}, {Name: "second", Value: "a: b\\c\nd"}}
	}
	for _, body := range []string{"hello", "", "grüße \u2028 \U0001f600", strings.Repeat("long ", 200)} {
		client(subprotocol.Message{Kind: subprotocol.KindSend, Destination: dest, Header: header, Body: []byte(body)})
		server(subprotocol.Message{
			Kind: subprotocol.KindDeliver, Destination: dest, ID: id, Subscription: sub, Header: header, Body: []byte(body),
		})
	}
	if f.Subscriptions {
		client(subprotocol.Message{Kind: subprotocol.KindSubscribe, Destination: dest, Subscription: sub})
		client(subprotocol.Message{Kind: subprotocol.KindUnsubscribe, Subscription: sub})
	}
	if f.Receipts {
		client(subprotocol.Message{Kind: subprotocol.KindSend, Destination: dest, Receipt: "r-1", Body: []byte("receipt, please")})
		server(subprotocol.Message{Kind: subprotocol.KindReceipt, Receipt: "r-1"})
	}
	if f.Replies {
		server(subprotocol.Message{Kind: subprotocol.KindReply, Receipt: "r-1", Body: []byte("the answer")})
	}
	if f.Acks {
		client(subprotocol.Message{Kind: subprotocol.KindAck, ID: "m-1"})
		for _, mode := range []subprotocol.AckMode{subprotocol.AckClient, subprotocol.AckClientIndividual} {
			client(subprotocol.Message{Kind: subprotocol.KindSubscribe, Destination: dest, Subscription: sub, AckMode: mode})
		}
	}
	if f.Nacks {
		client(subprotocol.Message{Kind: subprotocol.KindNack, ID: "m-1"})
	}
	if f.Transactions {
		for _, k := range []subprotocol.Kind{subprotocol.KindBegin, subprotocol.KindCommit, subprotocol.KindAbort} {
			client(subprotocol.Message{Kind: k, Transaction: "t-1"})
		}
	}
	if f.Errors {
		server(subprotocol.Message{
			Kind:  subprotocol.KindError,
			Error: &subprotocol.Error{Code: "not-found", Text: "There is no such destination."},
		})
	}
	if f.Heartbeats {
		client(subprotocol.Message{Kind: subprotocol.KindHeartbeat})
		server(subprotocol.Message{Kind: subprotocol.KindHeartbeat})
	}
	if f.Disconnect {
		client(subprotocol.Message{Kind: subprotocol.KindDisconnect})
	}
	return ss
}

// unclaimed returns the kinds that a framer of these features can't encode.
func unclaimed(f subprotocol.Features) []subprotocol.Kind {
	kinds := []subprotocol.Kind{0, subprotocol.KindDisconnect + 1, 255}
	add := func(claimed bool, ks ...subprotocol.Kind) {
		if !claimed {
			kinds = append(kinds, ks...)
		}
	}
	add(f.Connect, subprotocol.KindConnect, subprotocol.KindConnected)
	add(f.Subscriptions, subprotocol.KindSubscribe, subprotocol.KindUnsubscribe)
	add(f.Receipts, subprotocol.KindReceipt)
	add(f.Acks, subprotocol.KindAck)
	add(f.Nacks, subprotocol.KindNack)
	add(f.Transactions, subprotocol.KindBegin, subprotocol.KindCommit, subprotocol.KindAbort)
	add(f.Errors, subprotocol.KindError)
	add(f.Heartbeats, subprotocol.KindHeartbeat)
	add(f.Disconnect, subprotocol.KindDisconnect)
	return kinds
}

// stream joins the samples of one direction as a transport without boundaries
// delivers them, without those that end the connection.
func stream(ss []sample, fromServer bool) (wire transport.Message, want []*subprotocol.Message) {
	for _, s := range ss {
		if s.FromServer != fromServer || s.Message.Kind == subprotocol.KindDisconnect {
			continue
		}
		wire.Type = s.wire.Type
		wire.Data = slices.Concat(wire.Data, s.wire.Data)
		want = append(want, s.want())
	}
	return wire, want
}

// withBody returns the sample of that direction that has a body, with another
// body. It returns nil if there is none.
func withBody(ss []sample, fromServer bool, body []byte) *subprotocol.Message {
	for _, s := range ss {
		if s.FromServer == fromServer && len(s.Message.Body) > 0 {
			m := s.Message.Clone()
			m.Body = body
			return m
		}
	}
	return nil
}
