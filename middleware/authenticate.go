package middleware

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Identity is who somebody is, as verify found out.
type Identity struct {
	// User becomes the session's; required.
	User string

	// Expires is when that ends; the zero time is never. It is compared with the
	// wall clock.
	Expires time.Time

	// Roles are what Role asks for.
	Roles []string

	// Claims are whatever else the application wants to know.
	Claims any
}

// AuthOptions say how an Authenticator behaves. The zero value is the default.
type AuthOptions struct {
	// Anonymous admits clients that show no credentials, as nobody: Session.User
	// is "" and IdentityOf finds nothing. Wrong credentials are refused all the same.
	Anonymous bool

	// ConnectLater has Accept admit a handshake without credentials if the
	// sub-protocol has a Connect, which then must show some. By default such a
	// handshake is refused. An unknown client then costs a session until it
	// connects.
	ConnectLater bool

	// QueryParameter names the parameter of the request's query that has a token, ""
	// for none. Browsers can't set a field for a WebSocket; but URLs end up in the
	// logs of proxies, so such a token should live only seconds.
	QueryParameter string

	// Cookie names the cookie that has a token, "" for none. A page of another
	// origin sends it too: the endpoint's check of origins is what protects it.
	Cookie string

	// Grace is how long a session whose credentials have expired may live to show
	// fresh ones, where the sub-protocol can show them on a live session and has
	// errors. It is then sent an Error of code "credentials-expired", and every message
	// but Connect and Disconnect is refused with that code until it has; what it has
	// subscribed to still comes. 0, the default, closes with status 1008 when they
	// expire.
	Grace time.Duration

	// ChangeUser lets fresh credentials be those of another user. By default they are
	// refused, because what the session has subscribed to was allowed to the
	// first one.
	ChangeUser bool

	// Challenge is the WWW-Authenticate field of a refused handshake. The default is
	// "Bearer".
	Challenge string

	// Refused is told why somebody was not let in: one of this package's errors, or
	// verify's own. The client learns less. It is also told of each expiry. s has no
	// user where nobody was let in before. The default is nobody.
	Refused func(s *handler.Session, err error)
}

// Authenticator finds out who a client is, from its handshake, from its Connect, or
// both, and takes care that this does not outlive its time.
//
//	auth := middleware.NewAuthenticator(verify, nil)
//	ep := handler.NewEndpoint(t, h, handler.WithAccept(auth.Accept), handler.WithMiddleware(auth.Authenticate))
//
// Authenticate is needed in either case: it handles Connect and expiry. Accept in
// addition refuses before the connection costs anything, and is the only way for
// sub-protocols without Connect.
//
// A handshake shows a field "Authorization: Bearer" or "Basic", or a named query
// parameter or cookie. A Connect shows a header authorization of the same form, or
// login and passcode; where it shows nothing the handshake's count. A Connect on a
// live session renews them. If it is refused the old ones count until they expire;
// the third refusal without right credentials in between ends the session.
//
// A refused handshake is answered with 401 (503 for ErrUnavailable), a refused
// Connect with an Error of code "unauthorized", "credentials-expired",
// "user-changed" or "unavailable"; the texts are constant. Credentials have at
// most 8192 bytes.
//
// One session belongs to one Authenticator. An authenticated session that expires
// costs one timer. It is safe for concurrent use.
type Authenticator struct {
	verify func(context.Context, Credentials) (Identity, error)
	opts   AuthOptions
}

// NewAuthenticator makes one that has verify check credentials. verify is called
// on many goroutines at once and should compare secrets in constant time; Timeout,
// or the transport's time for handshakes, bounds it by ctx. An error refuses: see
// ErrExpired and ErrUnavailable for two with a meaning.
//
// A nil opts is the zero AuthOptions. It panics without verify or if Grace is
// negative.
func NewAuthenticator(verify func(ctx context.Context, c Credentials) (Identity, error), opts *AuthOptions) *Authenticator {
	a := &Authenticator{verify: verify}
	if opts != nil {
		a.opts = *opts
	}
	if verify == nil || a.opts.Grace < 0 {
		panic("middleware: NewAuthenticator without a verify function, or with a negative Grace")
	}
	if a.opts.Challenge == "" {
		a.opts.Challenge = "Bearer"
	}
	return a
}

// IdentityOf returns who an Authenticator found a session to be, false for nobody. It
// is the latest identity, also when that has expired. Roles must not be changed.
func IdentityOf(s *handler.Session) (Identity, bool) {
	g := grantOf(s)
	if g == nil {
		return Identity{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.identity, g.known
}

// Accept decides about a handshake, for handler.WithAccept.
func (a *Authenticator) Accept(ctx context.Context, s *handler.Session, h *transport.Handshake) error {
	c, err := a.opts.fromHandshake(h)
	if errors.Is(err, ErrNoCredentials) && (a.opts.Anonymous || a.opts.ConnectLater && s.Features().Connect) {
		return nil
	}
	var id Identity
	if err == nil {
		id, err = a.check(ctx, c)
	}
	if err != nil {
		a.tell(s, err)
		return a.refusal(err)
	}
	a.grant(s).set(id, true)
	s.SetUser(id.User)
	return nil
}

// refusal is what a refused handshake is answered with.
func (a *Authenticator) refusal(err error) error {
	e := shown(err)
	r := &transport.Refusal{Status: http.StatusUnauthorized, Text: e.Text}
	if e.Code == codeUnavailable {
		r.Status = http.StatusServiceUnavailable
		r.Header = http.Header{"Retry-After": {"5"}}
	} else {
		r.Header = http.Header{"Www-Authenticate": {a.opts.Challenge}}
	}
	return r
}

// Authenticate is the middleware: it belongs outside of everything that asks who the
// user is, and inside of Log, Recover, RateLimit and Timeout. It must stand where
// Connect passes: without that it refuses everything.
func (a *Authenticator) Authenticate(next handler.Handler) handler.Handler {
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		g := grantOf(r.Session)
		switch r.Message.Kind {
		case subprotocol.KindConnect:
			return a.connect(ctx, r, next)
		case subprotocol.KindDisconnect:
			if g != nil {
				g.stop()
			}
		default:
			if err := g.check(); err != nil {
				return err
			}
		}
		return next.Handle(ctx, r)
	})
}

// connect handles a first Connect, or one that shows fresh credentials.
func (a *Authenticator) connect(ctx context.Context, r handler.Request, next handler.Handler) error {
	s := r.Session
	g := a.grant(s)
	id, known, err := a.identify(ctx, r.Message, g)
	if err != nil {
		a.tell(s, err)
		e := shown(err)
		if s.Connected() && e.Code != codeUnavailable && g.failed() {
			e.Fatal, e.Status = true, transport.StatusPolicyViolation
		}
		return &refusal{shown: &e, cause: err}
	}
	before, user := g.set(id, known), s.User()
	if known {
		s.SetUser(id.User)
	}
	accepted := false
	defer func() {
		if !accepted {
			g.set(before.identity, before.known)
			s.SetUser(user)
		}
	}()
	if err := next.Handle(ctx, r); err != nil {
		return err
	}
	accepted = true
	g.arm()
	return nil
}

// identify returns whom a Connect makes the session, or keeps it. known is false
// for nobody.
func (a *Authenticator) identify(ctx context.Context, m *subprotocol.Message, g *grant) (id Identity, known bool, err error) {
	g.mu.Lock()
	id, known = g.identity, g.known
	g.mu.Unlock()
	c, err := fromMessage(m)
	switch {
	case errors.Is(err, ErrNoCredentials) && known:
		if expired(id, time.Now()) {
			return id, known, ErrExpired
		}
		return id, known, nil
	case errors.Is(err, ErrNoCredentials) && a.opts.Anonymous:
		return Identity{}, false, nil
	case err != nil:
		return id, known, err
	}
	fresh, err := a.check(ctx, c)
	switch {
	case err != nil:
	case known && fresh.User != id.User && !a.opts.ChangeUser:
		err = ErrUserChanged
	default:
		g.succeeded()
	}
	return fresh, true, err
}

// check asks verify.
func (a *Authenticator) check(ctx context.Context, c Credentials) (Identity, error) {
	id, err := a.verify(ctx, c)
	switch {
	case err != nil:
		return Identity{}, err
	case id.User == "":
		return Identity{}, errNoUser
	case expired(id, time.Now()):
		return Identity{}, ErrExpired
	}
	return id, nil
}

func expired(id Identity, now time.Time) bool { return !id.Expires.IsZero() && !now.Before(id.Expires) }

func (a *Authenticator) tell(s *handler.Session, err error) {
	if f := a.opts.Refused; f != nil {
		f(s, err)
	}
}

const (
	codeUnavailable = "unavailable"
	codeExpired     = "credentials-expired"
	textExpired     = "the credentials have expired"
)

// shown is what a client learns of why it was refused.
func shown(err error) subprotocol.Error {
	switch {
	case errors.Is(err, ErrNoCredentials):
		return subprotocol.Error{Code: "unauthorized", Text: "credentials are missing"}
	case errors.Is(err, ErrMalformedCredentials):
		return subprotocol.Error{Code: "unauthorized", Text: "the credentials are malformed"}
	case errors.Is(err, ErrExpired):
		return subprotocol.Error{Code: codeExpired, Text: textExpired}
	case errors.Is(err, ErrUnavailable):
		return subprotocol.Error{Code: codeUnavailable, Text: "the credentials can't be verified now; try again later"}
	case errors.Is(err, ErrUserChanged):
		return subprotocol.Error{Code: "user-changed", Text: "the credentials are those of another user"}
	default:
		return subprotocol.Error{Code: "unauthorized", Text: "the credentials were not accepted"}
	}
}

type grantKey struct{}

func grantOf(s *handler.Session) *grant {
	g, _ := s.Value(grantKey{}).(*grant)
	return g
}

// grant returns the session's, and makes one if there is none.
func (a *Authenticator) grant(s *handler.Session) *grant {
	g := grantOf(s)
	if g == nil {
		g = &grant{auth: a, session: s}
		s.SetValue(grantKey{}, g)
	}
	return g
}

// grant is what an Authenticator knows of a session.
type grant struct {
	auth    *Authenticator
	session *handler.Session

	mu       sync.Mutex
	identity Identity
	known    bool // identity is somebody

	// What follows belongs to an identity that the handlers have accepted.
	accepted   bool
	expires    time.Time // the zero time is never
	due        time.Time // when the timer has something to do
	timer      *time.Timer
	challenged bool
	over       bool
	failures   int // since fresh credentials were right
}

// who is an identity, or nobody.
type who struct {
	identity Identity
	known    bool
}

// set changes the identity and returns the one before.
func (g *grant) set(id Identity, known bool) who {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := who{g.identity, g.known}
	g.identity, g.known = id, known
	return before
}

// maxFailures is how many refusals end a session.
const maxFailures = 3

// failed counts wrong credentials and reports whether they were too many.
func (g *grant) failed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures++
	return g.failures >= maxFailures
}

// succeeded forgets what failed counted. A Connect without credentials does not, or
// one now and then would allow any number of guesses.
func (g *grant) succeeded() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures = 0
}

// arm makes the identity count that the handlers have accepted.
func (g *grant) arm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return
	}
	g.accepted = true
	g.expires, g.due = g.identity.Expires, g.identity.Expires
	g.challenged = false
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if !g.expires.IsZero() {
		g.timer = time.AfterFunc(time.Until(g.due), g.fire)
	}
}

// stop ends the timer for good.
func (g *grant) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
}

// check refuses what comes after the end, and what comes from a session whose Connect
// was never judged. g may be nil.
func (g *grant) check() error {
	if g == nil {
		return errNotJudged
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.accepted {
		return errNotJudged
	}
	if g.expires.IsZero() || time.Now().Before(g.expires) {
		return nil
	}
	e := &subprotocol.Error{Code: codeExpired, Text: textExpired}
	if !g.mayRenew() {
		e.Fatal, e.Status = true, transport.StatusPolicyViolation
	}
	return &refusal{shown: e, cause: ErrExpired}
}

var errNotJudged = &refusal{
	shown: &subprotocol.Error{Code: "unauthorized", Text: "credentials are missing"},
	cause: errors.New("middleware: Authenticate has not seen a Connect: it must stand where that passes"),
}

// mayRenew reports whether the client is challenged before it is closed.
func (g *grant) mayRenew() bool {
	f := g.session.Features()
	return g.auth.opts.Grace > 0 && f.Reconnect && f.Errors
}

// fire is the timer's.
func (g *grant) fire() {
	g.mu.Lock()
	if g.timer == nil || g.session.Context().Err() != nil {
		g.mu.Unlock()
		return
	}
	if wait := time.Until(g.due); wait > 0 {
		// A timer that was replaced just now, or the clock was set back.
		g.timer.Reset(wait)
		g.mu.Unlock()
		return
	}
	last := g.challenged || !g.mayRenew()
	if last {
		g.over = true
		g.timer = nil
	} else {
		g.challenged = true
		g.due = time.Now().Add(g.auth.opts.Grace)
		g.timer.Reset(g.auth.opts.Grace)
	}
	g.mu.Unlock()
	g.expire(last)
}

// expire tells the client, and closes if this is the last word.
func (g *grant) expire(last bool) {
	s := g.session
	defer func() {
		// This goroutine is nobody's: a panic of the application's Senders or of its hook
		// must end no more than the session.
		if v := recover(); v != nil || last {
			_ = s.Close(transport.StatusPolicyViolation, textExpired)
		}
	}()
	if s.Features().Errors {
		e := &subprotocol.Error{Code: codeExpired, Text: textExpired}
		if last {
			e.Fatal, e.Status = true, transport.StatusPolicyViolation
		}
		// What can't be sent was counted, and the session ends all the same.
		_, _ = s.Send(&subprotocol.Message{Kind: subprotocol.KindError, Error: e})
	}
	g.auth.tell(s, ErrExpired)
}
