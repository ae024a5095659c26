package handler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/weftws/weft/subprotocol"
)

// Mux is a Handler that passes each message on by its kind and destination.
//
// A pattern is a kind, a destination or both, with one blank between them:
//
//	SEND /app/rooms/{room}/say    {room} is one segment that is not empty
//	SUBSCRIBE /topic/             all that begins with /topic/
//	SEND /files/{path...}         the same, and the rest has a name
//	SEND /topic/{$}               /topic/ alone
//	/app/status                   all kinds that have a destination
//	SEND                          no destination, as in raw
//	CONNECT                       and DISCONNECT, which have none
//
// The kinds that have a destination are SEND, SUBSCRIBE, UNSUBSCRIBE, ACK and NACK.
// A pattern that says SUBSCRIBE also gets what comes later of these subscriptions:
// their UNSUBSCRIBE, ACK and NACK.
//
// A destination is taken as it came: it is cut at its slashes and compared exactly.
// Nothing is cleaned or decoded, a slash at the beginning is part of it, and an empty
// segment is a segment, which a literal empty one and a {name...} match.
// Request.PathValue returns what the wildcards matched.
//
// The most specific destination wins, as in net/http: a literal comes before {name},
// and that before {name...}. Between patterns with the same destinations a kind that is
// said comes before what SUBSCRIBE gets besides, and that before a pattern without a
// kind. Two patterns of which neither is more specific conflict: a Mux that both are
// added to panics.
//
// # What has no route
//
// A message that no pattern matches is refused with a *subprotocol.Error that is not
// fatal: "not-allowed" if there is a pattern for its destination and another kind,
// "not-found" if there is none. NotFound changes that. CONNECT and DISCONNECT are
// accepted where they have no route.
//
// # Cost
//
// Finding a route takes time by the length of the destination, hardly by the number of
// patterns, and allocates nothing.
//
// Use, Route, Mount and NotFound are for setting up: they must not be called once
// messages are handled. Handle is safe for concurrent use.
type Mux struct {
	once       sync.Once
	chain      Handler // the middleware around route
	sealed     bool    // middleware may not be added any more
	middleware []func(Handler) Handler

	trees      [len(destined)]node
	patterns   []*pattern
	connect    Handler
	disconnect Handler
	notFound   Handler

	// parent is where this Mux is mounted, skip how many slashes of a destination come
	// before what it matches, the last of them being a part of that.
	parent *Mux
	skip   int
	mounts []mount
}

// mount is a Mux below another, and how many segments its prefix has.
type mount struct {
	mux   *Mux
	depth int
}

var _ Handler = (*Mux)(nil)

// NewMux makes a Mux without routes.
func NewMux() *Mux { return new(Mux) }

// Use wraps the Mux: a message passes through the middleware before its route is
// looked up, also CONNECT, DISCONNECT, and what has no route. The first one is
// outermost. Several calls add up. It panics after Route, Mount or
// NotFound, so that all the middleware of a Mux stands above what it guards.
func (m *Mux) Use(middleware ...func(Handler) Handler) {
	if m.sealed {
		panic("handler: Mux.Use comes before Route, Mount and NotFound")
	}
	m.middleware = append(m.middleware, middleware...)
}

// Route has h handle what pattern matches. It panics if pattern is malformed or
// conflicts with another, and if h is one of Func or Do for a kind that those don't
// handle.
func (m *Mux) Route(pattern string, h Handler) {
	m.sealed = true
	if h == nil {
		panic(fmt.Sprintf("handler: pattern %q without a handler", pattern))
	}
	p, err := parsePattern(pattern)
	if err != nil {
		panic(fmt.Sprintf("handler: pattern %q: %v", pattern, err))
	}
	if _, ok := h.(interface{ typed() }); ok && p.kind > 0 && p.kind != subprotocol.KindSend && p.kind != subprotocol.KindSubscribe {
		panic(fmt.Sprintf("handler: pattern %q: typed handlers are for SEND and SUBSCRIBE", pattern))
	}
	if m.parent != nil {
		p.checkMounted()
	}
	m.add(p, h)
}

func (m *Mux) add(p *pattern, h Handler) {
	switch p.kind {
	case subprotocol.KindConnect:
		m.addOnly(&m.connect, p, h)
		return
	case subprotocol.KindDisconnect:
		m.addOnly(&m.disconnect, p, h)
		return
	}
	routes := make([]*route, len(destined))
	for i, kind := range destined {
		r := &route{pattern: p, handler: h}
		switch {
		case p.kind == kind:
		case p.kind == 0:
			r.rank = rankAny
		case p.kind == subprotocol.KindSubscribe && kind != subprotocol.KindSend:
			r.rank = rankImplied
		default:
			continue
		}
		if other := m.trees[i].conflict(r); other != nil {
			panic(fmt.Sprintf("handler: patterns %q and %q conflict: both match %v %q and neither is more specific",
				p.text, other.pattern.text, kind, common(p.segments, other.pattern.segments)))
		}
		routes[i] = r
	}
	for i, r := range routes {
		if r != nil {
			m.trees[i].insert(r)
		}
	}
	m.patterns = append(m.patterns, p)
}

func (m *Mux) addOnly(place *Handler, p *pattern, h Handler) {
	if *place != nil {
		panic(fmt.Sprintf("handler: pattern %q stands twice", p.text))
	}
	*place = h
	m.patterns = append(m.patterns, p)
}

// Mount has sub handle everything below prefix, which is a destination that ends in a
// slash and may have wildcards. The patterns of sub are about what comes
// behind prefix, from its last slash on: with the prefix "/app/admin/" its "SEND /kick"
// gets a SEND to /app/admin/kick. The message itself is not changed. A wildcard of
// sub hides one of the same name in prefix.
//
// What sub has no route for goes to its own NotFound, or to that of the Mux
// around it. CONNECT and DISCONNECT don't reach sub: a guard of a part of the
// destinations can't refuse a session, and middleware of sub that keeps something for a
// session lets go of it when Session.Context ends.
//
// From here on sub is a part of m. Mount panics if it is a part of another Mux already,
// and if a pattern of sub can't match.
func (m *Mux) Mount(prefix string, sub *Mux) {
	m.sealed = true
	p, err := parsePattern(prefix)
	if err != nil {
		panic(fmt.Sprintf("handler: prefix %q: %v", prefix, err))
	}
	if p.kind != 0 || !strings.HasSuffix(prefix, "/") {
		panic(fmt.Sprintf("handler: prefix %q is not a destination with a slash at its end", prefix))
	}
	if sub == nil || sub.parent != nil {
		panic(fmt.Sprintf("handler: prefix %q: a Mux is mounted once", prefix))
	}
	for x := m; x != nil; x = x.parent {
		if x == sub {
			panic(fmt.Sprintf("handler: prefix %q: a Mux is mounted below itself", prefix))
		}
	}
	for _, own := range sub.patterns {
		own.checkMounted()
	}
	if m.parent != nil {
		p.checkMounted()
	}
	m.add(p, sub)
	depth := len(p.segments) - 1
	m.mounts = append(m.mounts, mount{sub, depth})
	sub.parent = m
	sub.setSkip(m.skip, depth)
}

// setSkip follows from what the Mux around m skips and the depth of m below it.
func (m *Mux) setSkip(outer, depth int) {
	m.skip = max(0, outer-1) + depth
	for _, c := range m.mounts {
		c.mux.setSkip(m.skip, c.depth)
	}
}

// checkMounted panics if p can't match in a Mux that is mounted.
func (p *pattern) checkMounted() {
	switch p.kind {
	case subprotocol.KindConnect, subprotocol.KindDisconnect:
		panic(fmt.Sprintf("handler: pattern %q: a Mux that is mounted gets no %v", p.text, p.kind))
	}
	first := p.segments[0]
	if first.how != rest && (first != segment{} || len(p.segments) == 1) {
		panic(fmt.Sprintf("handler: pattern %q: in a Mux that is mounted a destination begins with a slash", p.text))
	}
}

// NotFound has h handle what no pattern matches, also where a pattern for another
// kind does. Muxes mounted below m that have none of their own use it too.
func (m *Mux) NotFound(h Handler) {
	m.sealed = true
	if h == nil {
		panic("handler: NotFound without a handler")
	}
	m.notFound = h
}

// Handle passes r on through the middleware to the handler of its route.
func (m *Mux) Handle(ctx context.Context, r Request) error {
	m.once.Do(m.build)
	return m.chain.Handle(ctx, r)
}

// build puts the middleware together.
func (m *Mux) build() {
	m.sealed = true
	m.chain = HandlerFunc(m.route)
	for _, w := range slices.Backward(m.middleware) {
		if m.chain = w(m.chain); m.chain == nil {
			panic("handler: a middleware returned no handler")
		}
	}
}

// route is behind the middleware.
func (m *Mux) route(ctx context.Context, r Request) error {
	var only Handler
	switch r.Message.Kind {
	case subprotocol.KindConnect:
		only = m.connect
	case subprotocol.KindDisconnect:
		only = m.disconnect
	default:
		return m.routeDestination(ctx, r)
	}
	if only == nil {
		return nil
	}
	return only.Handle(ctx, r)
}

func (m *Mux) routeDestination(ctx context.Context, r Request) error {
	destination, ok := m.own(r.Message.Destination)
	if i := slices.Index(destined[:], r.Message.Kind); ok && i >= 0 {
		if found := m.trees[i].find(destination); found != nil {
			found.pattern.bind(r.Message, destination)
			return found.handler.Handle(ctx, r)
		}
	}
	for x := m; x != nil; x = x.parent {
		if x.notFound != nil {
			return x.notFound.Handle(ctx, r)
		}
	}
	if ok && m.knows(destination) {
		return &subprotocol.Error{
			Code: "not-allowed", Text: fmt.Sprintf("%.64q does not take %v", r.Message.Destination, r.Message.Kind),
		}
	}
	text := fmt.Sprintf("nothing here handles %v to %.64q", r.Message.Kind, r.Message.Destination)
	if r.Message.Destination == "" {
		text = fmt.Sprintf("nothing here handles %v without a destination", r.Message.Kind)
	}
	return &subprotocol.Error{Code: "not-found", Text: text}
}

// own returns the part of a destination that the patterns of m are about.
func (m *Mux) own(destination string) (string, bool) {
	from := 0
	for n := range m.skip {
		i := strings.IndexByte(destination[from:], '/')
		if i < 0 {
			// Middleware has changed the destination.
			return "", false
		}
		from += i
		if n < m.skip-1 {
			from++
		}
	}
	return destination[from:], true
}

// knows reports whether a message of some kind has a route to that destination.
func (m *Mux) knows(destination string) bool {
	for i := range m.trees {
		if m.trees[i].find(destination) != nil {
			return true
		}
	}
	return false
}
