package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// What one person, and all together, can make the room hold. Texts are counted in
// characters as a page's maxlength counts them (UTF-16 units), or fewer.
const (
	maxName    = 24
	maxText    = 500
	maxPeople  = 200
	maxHistory = 50

	// One person may say maxBurst things at once, and one more each refill.
	maxBurst = 10
	refill   = 500 * time.Millisecond

	// maxMessage bounds what a page sends, in bytes: the longest text, in the
	// longest JSON that it can become, and some room.
	maxMessage = 4 << 10
)

// incoming is what a page sends: "join" with a name, or "say" with a text.
type incoming struct {
	Type string `json:"type"`
	Name string `json:"name"`
	Text string `json:"text"`
}

// The messages that a page gets. Times are in milliseconds since 1970, as
// JavaScript counts.
type (
	welcome struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		People  []string `json:"people"`
		History []said   `json:"history"`
	}
	said struct {
		Type string `json:"type"`
		Name string `json:"name"`
		Text string `json:"text"`
		At   int64  `json:"at"`
	}
	moved struct { // "joined" or "left"
		Type string `json:"type"`
		Name string `json:"name"`
	}
	refused struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
)

// room is the one room of the chat. It is a handler.Handler.
type room struct {
	now func() time.Time

	// mu is held while a message goes into every queue, so that all pages see the
	// same order. That waits for nobody: Publish only queues.
	mu      sync.Mutex
	people  []person // in the order in which they joined
	history []said
}

type person struct {
	session *handler.Session
	name    string
	rested  time.Time // when all of maxBurst is there again
}

// may reports whether p may say something now, and counts it.
func (p *person) may(now time.Time) bool {
	if p.rested.Before(now) {
		p.rested = now
	}
	if p.rested.Sub(now) > (maxBurst-1)*refill {
		return false
	}
	p.rested = p.rested.Add(refill)
	return true
}

func newRoom() *room { return &room{now: time.Now} }

// Handle takes one message of one page.
func (m *room) Handle(_ context.Context, r handler.Request) error {
	switch r.Message.Kind {
	case subprotocol.KindSend:
		return m.receive(r)
	case subprotocol.KindDisconnect:
		m.leave(r.Session)
	}
	return nil
}

func (m *room) receive(r handler.Request) error {
	var in incoming
	if err := json.Unmarshal(r.Message.Body, &in); err != nil {
		return refuse(r, "That was no JSON of the kind that this chat speaks.")
	}
	var problem string
	switch in.Type {
	case "join":
		problem = m.join(r.Session, in.Name)
	case "say":
		problem = m.say(r.Session, in.Text)
	default:
		problem = "This chat knows only join and say."
	}
	if problem != "" {
		return refuse(r, problem)
	}
	return nil
}

// refuse tells the sender alone what was wrong.
func refuse(r handler.Request, text string) error {
	_, err := r.Reply(&subprotocol.Message{Type: transport.MessageText, Body: encode(refused{"refused", text})})
	return err
}

func (m *room) join(s *handler.Session, name string) (problem string) {
	name = clean(name)
	switch {
	case name == "":
		return "A name needs at least one letter."
	case length(name) > maxName:
		return fmt.Sprintf("A name has at most %d characters.", maxName)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.find(s) >= 0 {
		return "You have joined already."
	}
	if len(m.people) >= maxPeople {
		return "The room is full. Please try again later."
	}
	name = m.free(name)
	m.publish(moved{"joined", name})
	m.people = append(m.people, person{session: s, name: name})
	names := make([]string, len(m.people))
	for i, p := range m.people {
		names[i] = p.name
	}
	// Queued like all else, so that nothing said from here on can overtake it. A
	// session that has ended meanwhile gets its Disconnect next, and leaves.
	_, _ = s.Send(&subprotocol.Message{
		Kind: subprotocol.KindDeliver,
		Type: transport.MessageText,
		Body: encode(welcome{"welcome", name, names, append([]said{}, m.history...)}),
	})
	return ""
}

// free is name, or name with the first number that makes it nobody else's.
func (m *room) free(name string) string {
	taken := func(n string) bool {
		return slices.ContainsFunc(m.people, func(p person) bool { return strings.EqualFold(p.name, n) })
	}
	try := name
	for i := 2; taken(try); i++ {
		try = fmt.Sprintf("%s (%d)", name, i)
	}
	return try
}

func (m *room) say(s *handler.Session, text string) (problem string) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "There was nothing in that message."
	case length(text) > maxText:
		return fmt.Sprintf("A message has at most %d characters.", maxText)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(s)
	if i < 0 {
		return "Please join first."
	}
	now := m.now()
	if !m.people[i].may(now) {
		return "You are writing faster than the others can read. Please wait a moment."
	}
	line := said{"said", m.people[i].name, text, now.UnixMilli()}
	if len(m.history) == maxHistory {
		m.history = slices.Delete(m.history, 0, 1)
	}
	m.history = append(m.history, line)
	m.publish(line)
	return ""
}

func (m *room) leave(s *handler.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(s)
	if i < 0 {
		return
	}
	name := m.people[i].name
	m.people = slices.Delete(m.people, i, i+1)
	m.publish(moved{"left", name})
}

// publish queues v for everyone here; m.mu is held. It is encoded once. A page
// that has stopped reading is closed when its queue is full, and leaves then.
func (m *room) publish(v any) {
	p := handler.NewPublication(&subprotocol.Message{
		Kind: subprotocol.KindDeliver,
		Type: transport.MessageText,
		Body: encode(v),
	})
	for i := range m.people {
		_, _ = m.people[i].session.Publish(p, "", "")
	}
}

func (m *room) find(s *handler.Session) int {
	return slices.IndexFunc(m.people, func(p person) bool { return p.session == s })
}

// encode makes JSON of the types above, which have nothing that JSON lacks.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// clean makes one line of a name, without characters that can't be seen or that
// turn the direction of the text behind them.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r), unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector), r == brailleBlank:
			return -1
		}
		return r
	}, name)
	return strings.Join(strings.Fields(name), " ")
}

// brailleBlank is a symbol without a mark.
const brailleBlank = '\u2800'

func length(s string) int { return utf8.RuneCountInString(s) }
