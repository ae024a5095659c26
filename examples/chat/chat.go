package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
)

// What one person, and all together, can make the chat hold. Texts are counted in
// characters as a page's maxlength counts them (UTF-16 units), or fewer.
const (
	maxName    = 24
	maxText    = 500
	maxRooms   = 64
	maxPeople  = 200 // in one room
	maxHistory = 50  // of one room

	maxSessions = 1000 // of one endpoint

	// One session may send maxBurst messages at once, and perSecond in the long run.
	maxBurst  = 20
	perSecond = 5

	// maxMessage bounds what a page sends, in bytes: the longest text, in the
	// longest JSON that it can become, and some room.
	maxMessage = 4 << 10
)

// chat is the application: people with names, in rooms. It serves sessions of many
// endpoints, and knows no transport and no sub-protocol.
type chat struct {
	now       func() time.Time
	audiences []audience

	// mu is held while an event goes into every queue, so that all pages see the same
	// order. That waits for nobody: publishing only queues.
	mu     sync.Mutex
	people map[*handler.Session]*person
	names  map[string]bool // in lower case
	rooms  map[string]*room
}

// audience is everybody whose endpoint has the same first codec. An event is encoded
// once for each audience.
type audience struct {
	codec codec.Codec
	*broadcast.Broadcaster
}

type person struct {
	session *handler.Session
	name    string
	via     string // the stack, "gobwas/json"
	rooms   []*room
}

// room outlives its people until the place is needed.
type room struct {
	name    string
	seq     uint64 // of the last event
	emptied time.Time
	people  []*person // in the order in which they came
	history []event
}

func (m *room) topic() string { return "/topic/rooms/" + m.name }

// newChat makes a chat for endpoints with these codecs as their first ones.
func newChat(codecs ...codec.Codec) *chat {
	c := &chat{
		now:    time.Now,
		people: make(map[*handler.Session]*person),
		names:  make(map[string]bool),
		rooms:  make(map[string]*room),
	}
	for _, cc := range codecs {
		c.audiences = append(c.audiences, audience{cc, broadcast.New(nil)})
	}
	return c
}

// mux is all that a client can ask for.
func (c *chat) mux(l *slog.Logger) *handler.Mux {
	mux := handler.NewMux()
	mux.Use(middleware.RequestID, middleware.Log(l), middleware.Recover, middleware.RateLimit(perSecond, maxBurst))
	mux.Route("SEND /app/name", handler.Func(c.call))
	mux.Route("SEND /app/ping", handler.Func(c.ping))
	mux.Route("SEND /app/rooms/{room}/say", handler.Do(c.say))
	mux.Route("SUBSCRIBE /app/rooms/{room}/members", handler.Func(c.members)) // one answer
	mux.Route("SUBSCRIBE /topic/rooms/{room}", handler.HandlerFunc(c.attend)) // events, until the end
	mux.Route("DISCONNECT", handler.HandlerFunc(c.leave))
	return mux
}

// problem is an error that the page shows.
func problem(code, format string, args ...any) error {
	return &subprotocol.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

func (c *chat) ping(context.Context, handler.Request, handler.None) (pong, error) {
	return pong{Type: "pong", At: c.now().UnixMilli()}, nil
}

// call gives a session its name, or one like it that nobody else has.
func (c *chat) call(_ context.Context, r handler.Request, in hello) (named, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.people[r.Session] != nil {
		return named{}, problem("named", "You have a name already.")
	}
	name := in.Name
	for i := 2; c.names[strings.ToLower(name)]; i++ {
		name = fmt.Sprintf("%s (%d)", in.Name, i)
	}
	c.names[strings.ToLower(name)] = true
	c.people[r.Session] = &person{session: r.Session, name: name, via: strings.TrimPrefix(strings.TrimPrefix(r.Session.Path(), "/ws"), "/")}
	r.Session.SetUser(name)
	return named{Type: "named", Name: name}, nil
}

// attend is for those who come into a room and those who leave it.
func (c *chat) attend(ctx context.Context, r handler.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.people[r.Session]
	if p == nil {
		return problem("no-name", "Please say who you are first.")
	}
	name := r.PathValue("room")
	m := c.rooms[name]
	if r.Message.Kind == subprotocol.KindUnsubscribe {
		err := c.audience(r.Session).Handle(ctx, r)
		if err == nil && m != nil {
			c.part(p, m)
		}
		return err
	}
	if m == nil {
		if !isRoom(name) {
			return problem("bad-room", "A room has a name of at most %d small letters, digits and hyphens.", maxName)
		}
		if m = c.build(name); m == nil {
			return problem("no-room", "All %d rooms are in use.", maxRooms)
		}
	}
	switch {
	case slices.Contains(m.people, p):
		return problem("present", "You are in this room already.")
	case len(m.people) >= maxPeople:
		return problem("full", "The room is full. Please try again later.")
	}
	if err := c.audience(r.Session).Handle(ctx, r); err != nil {
		return err
	}
	m.people = append(m.people, p)
	p.rooms = append(p.rooms, m)
	c.publish(m, event{Type: "joined", Name: p.name, Via: p.via})
	return nil
}

// build makes a room, in the place of the one that has been empty for longest if
// there are too many. It returns nil if there is none.
func (c *chat) build(name string) *room {
	if len(c.rooms) >= maxRooms {
		var oldest *room
		for _, m := range c.rooms {
			if len(m.people) == 0 && (oldest == nil || m.emptied.Before(oldest.emptied)) {
				oldest = m
			}
		}
		if oldest == nil {
			return nil
		}
		delete(c.rooms, oldest.name)
	}
	m := &room{name: strings.Clone(name), emptied: c.now()}
	c.rooms[m.name] = m
	return m
}

// members is who is in a room and what was said there, to the person who asks. The
// number of its last event says which of those that arrive meanwhile it contains.
func (c *chat) members(_ context.Context, r handler.Request, _ handler.None) (present, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, m, err := c.find(r)
	if err != nil {
		return present{}, err
	}
	all := present{Type: "present", Seq: m.seq, Lines: slices.Clone(m.history)}
	for _, p := range m.people {
		all.People = append(all.People, member{p.name, p.via})
	}
	return all, nil
}

// say tells everybody in a room, where it is part of a transaction at its end.
func (c *chat) say(_ context.Context, r handler.Request, in saying) error {
	c.mu.Lock()
	p, m, err := c.find(r)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return r.OnCommit(func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.publish(m, event{Type: "said", Name: p.name, Via: p.via, Text: in.Text, At: c.now().UnixMilli()})
		return nil
	})
}

// find returns who r is from and the room that it is about.
func (c *chat) find(r handler.Request) (*person, *room, error) {
	p, m := c.people[r.Session], c.rooms[r.PathValue("room")]
	if p == nil || m == nil || !slices.Contains(m.people, p) {
		return nil, nil, problem("not-present", "You are not in that room.")
	}
	return p, m, nil
}

// leave is the end of a session.
func (c *chat) leave(_ context.Context, r handler.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.people[r.Session]
	if p == nil {
		return nil
	}
	for _, m := range slices.Clone(p.rooms) {
		c.part(p, m)
	}
	delete(c.people, r.Session)
	delete(c.names, strings.ToLower(p.name))
	return nil
}

// part takes p out of m; the audience has forgotten it already.
func (c *chat) part(p *person, m *room) {
	i := slices.Index(m.people, p)
	if i < 0 {
		return
	}
	m.people = slices.Delete(m.people, i, i+1)
	p.rooms = slices.DeleteFunc(p.rooms, func(other *room) bool { return other == m })
	m.emptied = c.now()
	c.publish(m, event{Type: "left", Name: p.name, Via: p.via})
}

// publish queues e for everyone in m. A page that has stopped reading is closed
// when its queue is full, and leaves then.
func (c *chat) publish(m *room, e event) {
	m.seq++
	e.Seq = m.seq
	if e.Type == "said" {
		if len(m.history) == maxHistory {
			m.history = slices.Delete(m.history, 0, 1)
		}
		m.history = append(m.history, e)
	}
	for _, a := range c.audiences {
		body, err := a.codec.Append(nil, e)
		if err != nil {
			panic(err) // an event has nothing that a codec lacks
		}
		// A topic that rooms can have is never refused.
		_ = a.Publish(context.Background(), m.topic(), &subprotocol.Message{ContentType: a.codec.ContentType(), Body: body})
	}
}

// audience is the one that s belongs to.
func (c *chat) audience(s *handler.Session) audience {
	first := s.Codec("")
	i := slices.IndexFunc(c.audiences, func(a audience) bool { return a.codec.Name() == first.Name() })
	return c.audiences[i] // newChat was given the codecs of all endpoints
}
