package handler

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/handler/internal/heartbeat"
	"github.com/weftws/weft/subprotocol"
)

// dialogue is what a session keeps whose sub-protocol has more than bodies.
type dialogue struct {
	// The reader's.
	answered atomic.Bool // the request being handled got its answer
	open     []*transaction
	held     Limits // what the open transactions hold together
	whole    bool   // a frame was complete since rest began
	waiting  bool   // rest runs

	// Guarded by Session.mu.
	subscriptions []Subscription // ordered by ID
	timer         *time.Timer    // for Connect, then for heartbeats; nil if there is nothing to time
	rest          *time.Timer    // for a frame that is not complete
	heartbeat     heartbeat.Heartbeat
	sent          bool   // something went out since the last tick
	seen          uint64 // of Session.in, by the last tick
}

// newDialogue returns nil if a sub-protocol of these features has only bodies.
func newDialogue(f subprotocol.Features) *dialogue {
	f.Boundaries, f.Binary = false, false
	if f == (subprotocol.Features{}) {
		return nil
	}
	return new(dialogue)
}

// Subscription is a standing interest of one client.
type Subscription struct {
	// ID is the client's name for it, which no other subscription of the session has. In
	// STOMP 1.0, where one may have no id, it is then NUL and the destination.
	ID string

	Destination string
	AckMode     subprotocol.AckMode
}

func compareID(s Subscription, id string) int { return cmp.Compare(s.ID, id) }

// Subscriptions returns a copy of the session's table, ordered by ID: what the client has
// subscribed to and not ended. One that is only being handled is in it too. It is empty where
// the sub-protocol has no subscriptions.
func (s *Session) Subscriptions() []Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialogue == nil {
		return nil
	}
	return slices.Clone(s.dialogue.subscriptions)
}

// subscribe enters a Subscribe into the table before the handler sees it, so that no
// message can be missed once it has returned.
func (s *Session) subscribe(m *subprotocol.Message) error {
	s.mu.Lock()
	d := s.dialogue
	i, found := slices.BinarySearchFunc(d.subscriptions, m.Subscription, compareID)
	full := len(d.subscriptions) >= s.endpoint.cfg.maxSubscriptions
	if !found && !full {
		d.subscriptions = slices.Insert(d.subscriptions, i, Subscription{m.Subscription, m.Destination, m.AckMode})
	}
	s.mu.Unlock()
	switch {
	case found:
		return s.deny(m, "subscription-exists", "this session has a subscription "+quoted(m.Subscription)+" already")
	case full:
		return s.deny(m, "too-many-subscriptions", "this session has as many subscriptions as it may have")
	}
	id := m.Subscription
	if failure := s.handle(m, nil); failure != nil {
		s.unsubscribed(id)
		return s.fail(failure)
	}
	return nil
}

// unsubscribe has the handler end a subscription before it leaves the table. If it
// can't, the client may try again.
func (s *Session) unsubscribe(m *subprotocol.Message) error {
	id := m.Subscription
	if !s.complete(m) {
		return s.deny(m, "no-subscription", "this session has no subscription "+quoted(m.Subscription))
	}
	if failure := s.handle(m, nil); failure != nil {
		return s.fail(failure)
	}
	s.unsubscribed(id)
	return nil
}

// complete fills what m, which names a subscription, does not say itself. It reports
// false if there is none of that id.
func (s *Session) complete(m *subprotocol.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	subs := s.dialogue.subscriptions
	i, found := slices.BinarySearchFunc(subs, m.Subscription, compareID)
	if found {
		m.Destination, m.AckMode = subs[i].Destination, subs[i].AckMode
	}
	return found
}

// unsubscribed takes a subscription out of the table.
func (s *Session) unsubscribed(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dialogue
	if i, found := slices.BinarySearchFunc(d.subscriptions, id, compareID); found {
		d.subscriptions = slices.Delete(d.subscriptions, i, i+1)
	}
}

// ends notes that m, which goes to the client, ends a subscription.
func (s *Session) ends(m *subprotocol.Message) {
	if m.Kind == subprotocol.KindUnsubscribe && s.dialogue != nil {
		s.unsubscribed(m.Subscription)
	}
}

// quoted is name, or its beginning, as it stands in the text of an error. STOMP's subscriptions
// without an id have the name of their destination behind a NUL, which no client knows.
func quoted(name string) string {
	const most = 64
	name = strings.TrimPrefix(name, "\x00")
	if len(name) > most {
		name = name[:most] + "..."
	}
	return strconv.Quote(name)
}

// deny answers m with an error that leaves the session as it is.
func (s *Session) deny(m *subprotocol.Message, code, text string) error {
	e := subprotocol.Error{Code: code, Text: text, Receipt: m.Receipt, Subscription: m.Subscription}
	shown := s.shownError(&e, e)
	return s.fail(&shown)
}

// replied reports that the request being handled has got an answer that takes the
// place of its Receipt.
func (s *Session) replied() bool { return s.dialogue != nil && s.dialogue.answered.Load() }

// done gives the Receipt that a request asked for.
func (s *Session) done(receipt string) {
	if receipt == "" || !s.framer.Features().Receipts {
		return
	}
	// What can't be sent was counted.
	_, _ = s.reply(s.endpoint.pools.scratch(&subprotocol.Message{Kind: subprotocol.KindReceipt, Receipt: receipt}))
}
