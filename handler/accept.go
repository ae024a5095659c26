package handler

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// refusal is why a handshake was refused, for the statistics.
type refusal uint8

const (
	refusedShutdown refusal = iota
	refusedOrigin
	refusedSubProtocol
	refusedLimit
	refusedHook
	refusals
)

// Accept decides about a handshake: origin, sub-protocol, shutdown, the number
// of sessions, the hooks of WithAccept, then the sessions of one key. Transports
// call it; it makes the Endpoint a transport.Acceptor.
func (e *Endpoint) Accept(h *transport.Handshake) (transport.Admission, error) {
	s, why, err := e.admit(h)
	if err == nil {
		why, err = e.ask(s, h)
	}
	if err != nil {
		e.refused(h, why, err)
		return nil, err
	}
	e.counts.accepted.Add(1)
	return (*admission)(s), nil
}

// CheckOrigin implements transport.OriginChecker, by the rules of WithOrigins. A
// refusal is counted and told to Hooks.Refuse as that of a handshake is.
func (e *Endpoint) CheckOrigin(h *transport.Handshake) error {
	err := e.cfg.checkOrigin(h)
	if err != nil {
		e.refused(h, refusedOrigin, err)
	}
	return err
}

// refused counts a refusal and tells the hook.
func (e *Endpoint) refused(h *transport.Handshake, why refusal, err error) {
	e.counts.refused[why].Add(1)
	e.tell(func(hooks *Hooks) {
		if hooks.Refuse != nil {
			hooks.Refuse(h, err)
		}
	})
}

// admit makes a session that is counted, unless the endpoint itself refuses.
func (e *Endpoint) admit(h *transport.Handshake) (*Session, refusal, error) {
	if err := e.cfg.checkOrigin(h); err != nil {
		return nil, refusedOrigin, err
	}
	name, sp, err := e.negotiate(h.SubProtocols)
	if err != nil {
		return nil, refusedSubProtocol, err
	}
	s := e.newSession(h, name, sp)
	if why, err := e.sessions.admit(s); err != nil {
		s.cancel(err)
		return nil, why, err
	}
	return s, 0, nil
}

// ask has the application decide: the hooks of WithAccept, then the key of
// WithSessionsPerKey. It abandons a session that is refused, also when the
// application panics or ends the goroutine.
func (e *Endpoint) ask(s *Session, h *transport.Handshake) (why refusal, err error) {
	done := false
	defer func() {
		if !done {
			v := recover()
			why, err = refusedHook, &transport.Refusal{Status: http.StatusInternalServerError, Text: "internal error"}
			if v == nil {
				// A Goexit: Accept does not return.
				e.refused(h, why, err)
			}
			e.panicked(s, v)
		}
		if err != nil {
			e.abandon(s, err)
		}
	}()
	why, err = e.decide(s, h)
	done = true
	return why, err
}

// unavailable is a refusal that invites to come again.
func unavailable(text string) *transport.Refusal {
	return &transport.Refusal{
		Status: http.StatusServiceUnavailable, Text: text, Header: http.Header{"Retry-After": {"5"}},
	}
}

// newSession makes a session that waits for its connection.
func (e *Endpoint) newSession(h *transport.Handshake, name string, sp *protocol) *Session {
	s := &Session{
		endpoint: e,
		spoken:   sp,
		framer:   sp.NewFramer(name, e.framerConfig()),
		tally:    e.tallies[name].next(),
		id:       rand.Text(),
		path:     h.Path,
		remote:   h.RemoteAddr,
		protocol: name,
		waiting:  true,
	}
	features := s.framer.Features()
	s.dialogue = newDialogue(features)
	if !features.Connect {
		s.in.Store(inReady | inBegun)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// decide calls what the application has set. Its error can be shown to the client.
func (e *Endpoint) decide(s *Session, h *transport.Handshake) (refusal, error) {
	ctx := h.Context
	if ctx == nil {
		ctx = context.Background()
	}
	for _, hook := range e.cfg.accept {
		if err := hook(ctx, s, h); err != nil {
			if r, ok := errors.AsType[*transport.Refusal](err); ok {
				return refusedHook, r
			}
			return refusedHook, &transport.Refusal{Status: http.StatusForbidden, Text: "the connection was refused"}
		}
	}
	if key := e.cfg.sessionKey; key != nil && !e.sessions.admitKey(s, key(s, h), e.cfg.perKey) {
		return refusedLimit, &transport.Refusal{Status: http.StatusTooManyRequests, Text: "too many connections"}
	}
	return 0, nil
}

// abandon lets go of a session that never opened.
func (e *Endpoint) abandon(s *Session, err error) {
	s.over(err)
	s.in.Or(inStopped)
	e.sessions.release(s)
}

// negotiate chooses the sub-protocol: the client's order decides among those that
// the endpoint has (RFC 6455 section 4.2.2). name is what is announced.
func (e *Endpoint) negotiate(offered []string) (name string, sp *protocol, err error) {
	for _, name := range offered {
		if sp, ok := e.byName[name]; ok {
			return name, sp, nil
		}
	}
	if len(offered) == 0 || e.cfg.withoutSubProtocol {
		return "", e.protocols[0], nil
	}
	return "", nil, &transport.Refusal{Status: http.StatusBadRequest, Text: e.unknownSubProtocol}
}

// checkOrigin refuses requests that come from a page of another origin. A request
// without Origin comes from no browser and passes.
func (c *config) checkOrigin(h *transport.Handshake) error {
	origins := h.Header.Values("Origin")
	if len(origins) == 0 {
		return nil
	}
	origin := origins[0]
	if len(origins) == 1 && c.originAllowed(origin, h) {
		return nil
	}
	const limit = 200
	shown := origin
	if len(shown) > limit {
		shown = shown[:limit] + "..."
	}
	return &transport.Refusal{
		Status: http.StatusForbidden,
		Text:   fmt.Sprintf("origin %q is not allowed here; the option handler.WithOrigins allows origins besides the server's own", shown),
	}
}

func (c *config) originAllowed(origin string, h *transport.Handshake) bool {
	if slices.Contains(c.origins, "*") {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	from := bareHost(u.Scheme, u.Host)
	if from == bareHost(u.Scheme, h.Host) && !(h.Secure && strings.EqualFold(u.Scheme, "http")) {
		return true // an http page of the same host may be anybody's on the way
	}
	return slices.ContainsFunc(c.origins, func(pattern string) bool {
		// A pattern with an IPv6 address is no valid glob for that address.
		ok, _ := path.Match(pattern, from)
		return ok || pattern == from
	})
}

// bareHost is host in lower case and without the port that its scheme implies.
func bareHost(scheme, host string) string {
	host = strings.ToLower(host)
	switch strings.ToLower(scheme) {
	case "http", "ws":
		return strings.TrimSuffix(host, ":80")
	case "https", "wss":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

// admission is a session that was admitted and is not open yet.
type admission Session

var _ transport.Admission = (*admission)(nil)

// SubProtocol is what is announced.
func (a *admission) SubProtocol() string { return a.protocol }

// Open makes the session's connection known, and handles Connect for sub-protocols
// that have none of their own.
func (a *admission) Open(c transport.Conn) transport.Receiver {
	s := (*Session)(a)
	e := s.endpoint
	s.mu.Lock()
	s.conn = c
	s.waiting = false
	ended := s.phase == phaseClosed
	if ended {
		// It was closed while it was not open; nothing was sent.
		code, reason := s.extra.code, s.extra.reason
		s.mu.Unlock()
		_ = c.Close(code, reason)
	} else {
		s.startTimer()
		s.schedule()
		s.mu.Unlock()
	}
	s.in.Or(inBusy)
	e.sessions.open(s)
	ok := false
	defer func() {
		if !ok {
			// A Goexit: Open does not return, and nobody will call Closed.
			s.stop(transport.StatusInternalError, "internal error", errPanic)
			s.finish()
			(*receiver)(s).Closed(errGoexit)
		}
	}()
	e.tell(func(h *Hooks) {
		if h.Open != nil {
			h.Open(s)
		}
	})
	s.connectItself()
	ok = true
	s.finish()
	return (*receiver)(s)
}

// connectItself handles a Connect that the client did not have to send.
func (s *Session) connectItself() {
	if s.endpoint.sessions.isClosing() {
		s.stop(transport.StatusGoingAway, "shutting down", ErrShutdown)
	}
	if s.in.Load()&inStopped != 0 || s.framer.Features().Connect {
		return
	}
	ok := false
	defer func() {
		if !ok {
			s.crashed(recover())
		}
	}()
	_ = s.connect(&subprotocol.Message{Kind: subprotocol.KindConnect})
	ok = true
}

// Abort lets go of the session.
func (a *admission) Abort(err error) {
	s := (*Session)(a)
	s.endpoint.counts.aborted.Add(1)
	s.endpoint.abandon(s, &transport.EndError{Code: transport.StatusAbnormalClosure, Err: orUnknown(err)})
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("the handshake was not finished")
	}
	return err
}
