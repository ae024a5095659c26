package middleware_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/middleware"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
)

// verifier knows tokens of the form user.lifetime, and the password "pw" of everybody.
func verifier(_ context.Context, c middleware.Credentials) (middleware.Identity, error) {
	switch c.Scheme {
	case middleware.SchemeBasic, middleware.SchemeLogin:
		if c.Password != "pw" {
			return middleware.Identity{}, errors.New("internal: wrong password of " + c.User)
		}
		return middleware.Identity{User: c.User, Roles: []string{"admin"}}, nil
	}
	user, life, _ := strings.Cut(c.Token, ".")
	switch life {
	case "old":
		return middleware.Identity{}, fmt.Errorf("internal: %w", middleware.ErrExpired)
	case "outage":
		return middleware.Identity{}, fmt.Errorf("internal: %w", middleware.ErrUnavailable)
	case "typed":
		return middleware.Identity{}, &subprotocol.Error{Code: "internal-code", Text: "internal text"}
	case "panic":
		panic("internal")
	case "nobody":
		return middleware.Identity{}, nil
	case "":
		return middleware.Identity{User: user}, nil
	}
	d, err := time.ParseDuration(life)
	if err != nil {
		return middleware.Identity{}, fmt.Errorf("internal: %w", err)
	}
	return middleware.Identity{User: user, Expires: time.Now().Add(d)}, nil
}

// authStack has an Authenticator, and records what it tells and what is handled.
type authStack struct {
	*stack
	mu      sync.Mutex
	reasons []string
	users   []string // of each message that was handled
	refuse  error    // of the handlers for a Connect
	session *handler.Session
}

func newAuthStack(t *testing.T, sp subprotocol.SubProtocol, handshake bool, opts *middleware.AuthOptions) *authStack {
	s := new(authStack)
	o := middleware.AuthOptions{}
	if opts != nil {
		o = *opts
	}
	o.Refused = func(_ *handler.Session, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reasons = append(s.reasons, err.Error())
	}
	auth := middleware.NewAuthenticator(verifier, &o)
	h := func(_ context.Context, r handler.Request) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.session = r.Session
		id, ok := middleware.IdentityOf(r.Session)
		require.Equal(t, id.User, r.Session.User())
		require.Equal(t, ok, id.User != "")
		s.users = append(s.users, fmt.Sprintf("%v %s", r.Message.Kind, id.User))
		if r.Message.Kind == subprotocol.KindConnect {
			return s.refuse
		}
		return nil
	}
	options := []handler.Option{handler.WithMiddleware(middleware.Recover, auth.Authenticate)}
	if handshake {
		options = append(options, handler.WithAccept(auth.Accept))
	}
	if sp != nil {
		s.stack = stackOf(t, sp, h, options...)
	} else {
		s.stack = newStack(t, h, options...)
	}
	return s
}

// handled is which messages of whom were handled since the last call.
func (s *authStack) handled() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users
	s.users = nil
	return u
}

func basic(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuthenticateHandshake(t *testing.T) {
	type kase struct {
		name, field, query, cookie string
		status                     int // 0 is accepted
		text, user, reason         string
	}
	const (
		missing   = "credentials are missing"
		malformed = "the credentials are malformed"
		wrong     = "the credentials were not accepted"
	)
	for _, tt := range []kase{
		{name: "bearer", field: "Bearer ann", user: "ann"},
		{name: "any case", field: "bEARER ann", user: "ann"},
		{name: "basic", field: basic("ann:pw"), user: "ann"},
		{name: "query", query: "token=ann", user: "ann"},
		{name: "cookie", cookie: "other=1; session=ann", user: "ann"},
		{name: "cookie beside others' bad ones", cookie: `flag; pref={"a":1}; session=ann;`, user: "ann"},
		{name: "header before query", field: "Bearer ann", query: "token=bob", user: "ann"},
		{name: "missing", status: 401, text: missing, reason: "no credentials"},
		{name: "other query", query: "tokens=ann", status: 401, text: missing},
		{name: "empty field", field: " ", status: 401, text: malformed, reason: "malformed"},
		{name: "empty token", field: "Bearer ", status: 401, text: malformed},
		{name: "two words", field: "Bearer a b", status: 401, text: malformed},
		{name: "unknown scheme", field: "Digest ann", status: 401, text: malformed},
		{name: "no base64", field: "Basic !!", status: 401, text: malformed},
		{name: "no colon", field: basic("ann"), status: 401, text: malformed},
		{name: "control", field: basic("ann\n:pw"), status: 401, text: malformed},
		{name: "too long", field: "Bearer " + strings.Repeat("x", 8193), status: 401, text: malformed},
		{name: "two in query", query: "token=ann&token=bob", status: 401, text: malformed},
		{name: "bad query", query: "token=%zz", status: 401, text: malformed},
		{name: "empty query", query: "token=", status: 401, text: malformed},
		{name: "two cookies", cookie: "session=ann; session=bob", status: 401, text: malformed},
		{name: "forged", field: basic("ann:guess"), status: 401, text: wrong, reason: "internal: wrong password of ann"},
		{name: "expired", field: "Bearer ann.old", status: 401, text: "the credentials have expired", reason: "internal: "},
		{name: "expired unseen", field: "Bearer ann.0s", status: 401, text: "the credentials have expired"},
		{name: "typed", field: "Bearer ann.typed", status: 401, text: wrong, reason: "internal text"},
		{name: "nobody", field: "Bearer ann.nobody", status: 401, text: wrong, reason: "no user"},
		{name: "outage", field: "Bearer ann.outage", status: 503, text: "the credentials can't be verified now; try again later"},
		{name: "panic", field: "Bearer ann.panic", status: 500, text: "internal error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newAuthStack(t, raw.New(nil), true, &middleware.AuthOptions{QueryParameter: "token", Cookie: "session", ConnectLater: true})
				header := make(http.Header)
				if tt.field != "" {
					header.Set("Authorization", tt.field)
				}
				if tt.cookie != "" {
					header.Set("Cookie", tt.cookie)
				}
				c, err := s.tryDial(tt.query, &transport.DialConfig{Header: header})
				if tt.status == 0 {
					require.NoError(t, err)
					c.send("x")
					c.leave()
					require.Equal(t, []string{"CONNECT " + tt.user, "SEND " + tt.user, "DISCONNECT " + tt.user}, s.handled())
					return
				}
				r, ok := errors.AsType[*transport.Refusal](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, tt.status, r.Status)
				require.Equal(t, tt.text, r.Text)
				switch tt.status {
				case 401:
					require.Equal(t, "Bearer", r.Header.Get("WWW-Authenticate"))
				case 503:
					require.Equal(t, "5", r.Header.Get("Retry-After"))
				}
				if tt.status != 500 {
					require.Len(t, s.reasons, 1)
					require.Contains(t, s.reasons[0], tt.reason)
				}
				require.Empty(t, s.handled())
				require.Zero(t, s.ep.Stats().Live)
			})
		})
	}
	t.Run("two fields", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s := newAuthStack(t, nil, true, nil)
			_, err := s.tryDial("", &transport.DialConfig{Header: http.Header{"Authorization": {"Bearer ann", "Bearer bob"}}})
			require.ErrorContains(t, err, malformed)
			_, err = s.tryDial("token=ann", &transport.DialConfig{Header: http.Header{"Cookie": {"session=ann"}}})
			require.ErrorContains(t, err, missing, "nothing is looked at that was not named")
		})
	})
}

func TestAuthenticateConnect(t *testing.T) {
	field := func(k, v string) [2]string { return [2]string{k, v} }
	for _, tt := range []struct {
		name       string
		handshake  string
		header     [][2]string
		opts       middleware.AuthOptions
		user, code string
	}{
		{name: "bearer", header: [][2]string{field("authorization", "Bearer ann")}, user: "ann"},
		{name: "any case", header: [][2]string{field("Authorization", "Bearer ann")}, user: "ann"},
		{name: "login", header: [][2]string{field("login", "ann"), field("passcode", "pw")}, user: "ann"},
		{name: "first of two", header: [][2]string{field("login", "ann"), field("login", "bob"), field("passcode", "pw")}, user: "ann"},
		{name: "handshake", handshake: "Bearer ann", user: "ann"},
		{name: "both", handshake: "Bearer ann", header: [][2]string{field("authorization", "Bearer ann")}, user: "ann"},
		{name: "anonymous", opts: middleware.AuthOptions{Anonymous: true}},
		{name: "change", handshake: "Bearer ann", header: [][2]string{field("authorization", "Bearer bob")},
			opts: middleware.AuthOptions{ChangeUser: true}, user: "bob"},
		{name: "missing", code: "unauthorized"},
		{name: "passcode alone", header: [][2]string{field("passcode", "pw")}, code: "unauthorized"},
		{name: "malformed", header: [][2]string{field("authorization", "Bearer")}, code: "unauthorized"},
		{name: "forged", header: [][2]string{field("login", "ann"), field("passcode", "guess")}, code: "unauthorized"},
		{name: "forged for anonymous", header: [][2]string{field("login", "ann"), field("passcode", "guess")},
			opts: middleware.AuthOptions{Anonymous: true}, code: "unauthorized"},
		{name: "expired", header: [][2]string{field("authorization", "Bearer ann.old")}, code: "credentials-expired"},
		{name: "outage", header: [][2]string{field("authorization", "Bearer ann.outage")}, code: "unavailable"},
		{name: "typed", header: [][2]string{field("authorization", "Bearer ann.typed")}, code: "unauthorized"},
		{name: "panic", header: [][2]string{field("authorization", "Bearer ann.panic")}, code: "refused"},
		{name: "other user", handshake: "Bearer ann", header: [][2]string{field("authorization", "Bearer bob")}, code: "user-changed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				tt.opts.ConnectLater = true
				s := newAuthStack(t, nil, true, &tt.opts)
				cfg := &transport.DialConfig{Header: make(http.Header)}
				if tt.handshake != "" {
					cfg.Header.Set("Authorization", tt.handshake)
				}
				c, err := s.tryDial("", cfg)
				require.NoError(t, err)
				c.connect(tt.header...)
				if tt.code == "" {
					require.Equal(t, []string{"connected"}, c.codes())
					c.leave()
					require.Equal(t, []string{"CONNECT " + tt.user, "DISCONNECT " + tt.user}, s.handled())
					return
				}
				got := c.all()
				require.Len(t, got, 1)
				require.Equal(t, tt.code, got[0].Code)
				require.NotContains(t, got[0].Message, "internal")
				<-c.gone
				require.EqualValues(t, 1008, transport.CloseStatus(c.closed))
				require.Empty(t, s.handled())
				if tt.name != "panic" {
					require.Len(t, s.reasons, 1)
				}
			})
		})
	}
}

// TestExpiryCloses: a session that says nothing is closed on time, a message
// does not help, and a raw client is told by the status alone.
func TestExpiryCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newAuthStack(t, nil, false, nil)
		c := s.dial([2]string{"authorization", "Bearer ann.1h"})
		require.Equal(t, []string{"connected"}, c.codes())
		time.Sleep(time.Hour - time.Nanosecond)
		require.True(t, c.alive())
		c.send(send)
		require.Equal(t, []string{"receipt"}, c.codes())
		time.Sleep(time.Nanosecond)
		<-c.gone
		got := c.all()
		require.Equal(t, []frame{{Type: "error", Code: "credentials-expired", Message: "the credentials have expired", Fatal: true}}, got)
		require.EqualValues(t, 1008, transport.CloseStatus(c.closed))
		require.Equal(t, []string{"CONNECT ann", "SEND ann", "DISCONNECT ann"}, s.handled())
		require.Equal(t, []string{middleware.ErrExpired.Error()}, s.reasons)

		s = newAuthStack(t, raw.New(nil), true, &middleware.AuthOptions{Grace: time.Minute})
		c, err := s.tryDial("", &transport.DialConfig{Header: http.Header{"Authorization": {"Bearer ann.1s"}}})
		require.NoError(t, err)
		begin := time.Now()
		<-c.gone
		require.Equal(t, time.Second, time.Since(begin), "raw can't renew, so there is no grace")
		require.EqualValues(t, 1008, transport.CloseStatus(c.closed))
		require.Empty(t, c.codes())
	})
}

// once is a sub-protocol that takes no second Connect.
type once struct{ subprotocol.SubProtocol }

type onceFramer struct{ subprotocol.Framer }

func (o once) NewFramer(name string, cfg subprotocol.FramerConfig) subprotocol.Framer {
	return onceFramer{o.SubProtocol.NewFramer(name, cfg)}
}

func (f onceFramer) Features() subprotocol.Features {
	features := f.Framer.Features()
	features.Reconnect = false
	return features
}

// TestNoGraceWithoutReconnect: who can't show fresh credentials gets no time for it.
func TestNoGraceWithoutReconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newAuthStack(t, once{envelope.NewJSON(nil)}, false, &middleware.AuthOptions{Grace: time.Hour})
		c := s.dial([2]string{"authorization", "Bearer ann.1m"})
		begin := time.Now()
		<-c.gone
		require.Equal(t, time.Minute, time.Since(begin))
		require.Equal(t, []string{"connected", "credentials-expired"}, c.codes())
	})
}

// TestExpiryDuringHandshake: what has expired before the Connect came does not count.
func TestExpiryDuringHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newAuthStack(t, nil, true, nil)
		c, err := s.tryDial("", &transport.DialConfig{Header: http.Header{"Authorization": {"Bearer ann.2s"}}})
		require.NoError(t, err)
		time.Sleep(3 * time.Second)
		c.connect()
		require.Equal(t, []string{"credentials-expired"}, c.codes())
		<-c.gone
		require.Empty(t, s.handled())
	})
}

func TestChallenge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newAuthStack(t, nil, false, &middleware.AuthOptions{Grace: 10 * time.Second})
		c := s.dial([2]string{"authorization", "Bearer ann.1m"})
		require.Equal(t, []string{"connected"}, c.codes())
		time.Sleep(time.Minute)
		require.Equal(t, []frame{{Type: "error", Code: "credentials-expired", Message: "the credentials have expired"}}, c.all())
		require.True(t, c.alive())
		c.send(send, `{"type":"subscribe","subscription":"s","destination":"/t","receipt":"2"}`)
		require.Equal(t, []string{"credentials-expired", "credentials-expired"}, c.codes())
		require.Equal(t, []string{"CONNECT ann"}, s.handled())

		// Fresh ones in time: the old timer is gone, the new one runs.
		time.Sleep(9 * time.Second)
		c.connect([2]string{"authorization", "Bearer ann.5m"})
		require.Equal(t, []string{"connected"}, c.codes())
		c.send(send)
		require.Equal(t, []string{"receipt"}, c.codes())
		require.Equal(t, []string{"CONNECT ann", "SEND ann"}, s.handled())
		time.Sleep(5*time.Minute - time.Nanosecond)
		require.Empty(t, c.codes())
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{"credentials-expired"}, c.codes())

		// No fresh ones: the grace ends.
		time.Sleep(10*time.Second - time.Nanosecond)
		require.True(t, c.alive())
		c.connect()
		require.Equal(t, []string{"credentials-expired"}, c.codes(), "a Connect without any does not renew")
		time.Sleep(time.Nanosecond)
		<-c.gone
		require.Equal(t, []frame{{Type: "error", Code: "credentials-expired", Message: "the credentials have expired", Fatal: true}}, c.all())
		require.EqualValues(t, 1008, transport.CloseStatus(c.closed))
		require.Equal(t, []string{"DISCONNECT ann"}, s.handled())
	})
}

func TestRenewal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newAuthStack(t, nil, false, nil)
		c := s.dial([2]string{"authorization", "Bearer ann.1m"})
		require.Equal(t, []string{"connected"}, c.codes())
		renew := func(token, answer string) {
			t.Helper()
			c.connect([2]string{"authorization", "Bearer " + token})
			require.Equal(t, []string{answer}, c.codes())
		}
		// What is refused changes nothing and ends nothing.
		renew("bob.5m", "user-changed")
		renew("ann.old", "credentials-expired")
		renew("ann.outage", "unavailable")
		require.Equal(t, "ann", s.session.User())
		s.refuse = errors.New("the handlers don't want that")
		renew("ann.5m", "refused")
		s.refuse = nil
		id, _ := middleware.IdentityOf(s.session)
		require.Equal(t, time.Minute, time.Until(id.Expires), "the old identity is back")
		c.send(send)
		require.Equal(t, []string{"receipt"}, c.codes())

		// What is accepted forgets the failures; never expiring stops the timer.
		renew("ann.2m", "connected")
		renew("bob", "user-changed")
		renew("bob", "user-changed")
		renew("ann", "connected")
		time.Sleep(time.Hour)
		require.True(t, c.alive())

		// The third wrong one in a row ends the session.
		renew("bob", "user-changed")
		renew("ann.forged", "unauthorized")
		c.connect([2]string{"authorization", "Bearer ann.forged"})
		<-c.gone
		require.Equal(t, []string{"unauthorized"}, c.codes())
		require.EqualValues(t, 1008, transport.CloseStatus(c.closed))
	})
}

// TestGuessing: a Connect that shows nothing does not make room for more guesses.
func TestGuessing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newAuthStack(t, nil, false, &middleware.AuthOptions{Anonymous: true})
		c := s.dial()
		guess := [][2]string{{"login", "ann"}, {"passcode", "guess"}}
		for range 2 {
			c.connect(guess...)
			c.connect()
		}
		require.True(t, c.alive())
		c.connect(guess...)
		<-c.gone
		require.Len(t, s.reasons, 3)
	})
}

// TestRenewalOfNobody: an anonymous client may log in later.
func TestRenewalOfNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newAuthStack(t, nil, false, &middleware.AuthOptions{Anonymous: true})
		c := s.dial()
		c.send(send)
		require.Equal(t, []string{"connected", "receipt"}, c.codes())
		s.refuse = errors.New("no")
		c.connect([2]string{"authorization", "Bearer ann.1m"})
		require.Equal(t, []string{"refused"}, c.codes())
		require.Empty(t, s.session.User())
		_, ok := middleware.IdentityOf(s.session)
		require.False(t, ok)
		s.refuse = nil
		time.Sleep(2 * time.Minute)
		require.True(t, c.alive(), "a refused identity has no timer")
		c.connect([2]string{"authorization", "Bearer ann.1m"})
		c.send(send)
		require.Equal(t, []string{"connected", "receipt"}, c.codes())
		c.leave()
		require.Equal(t, []string{"CONNECT ", "SEND ", "CONNECT ann", "CONNECT ann", "SEND ann", "DISCONNECT ann"}, s.handled())
	})
}

// TestNothingIsLeftRunning: with the session its timer ends. A bubble whose timer
// still ran would fire it while it sleeps.
func TestNothingIsLeftRunning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newAuthStack(t, nil, false, nil)
		for _, end := range []func(c *client){
			func(c *client) { c.leave() },
			func(c *client) { c.send(`{"type":"disconnect"}`); <-c.gone },
			func(*client) { _ = s.session.Close(1000, "") },
		} {
			c := s.dial([2]string{"authorization", "Bearer ann.1h"})
			require.Equal(t, []string{"connected"}, c.codes())
			end(c)
			<-c.gone
			synctest.Wait()
		}
		s.refuse = errors.New("no")
		c := s.dial([2]string{"authorization", "Bearer ann.1h"})
		<-c.gone
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Empty(t, s.reasons, "a timer has fired")
	})
}

// TestExpiryPanics: the application's own code on the timer's goroutine ends the
// session, not the process.
func TestExpiryPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		auth := middleware.NewAuthenticator(verifier, &middleware.AuthOptions{
			Grace: time.Hour, Refused: func(*handler.Session, error) { panic("oops") },
		})
		s := newStack(t, nothing, handler.WithMiddleware(auth.Authenticate))
		c := s.dial([2]string{"authorization", "Bearer ann.1m"})
		begin := time.Now()
		<-c.gone
		require.Equal(t, time.Minute, time.Since(begin))
		require.EqualValues(t, 1008, transport.CloseStatus(c.closed))
	})
}

// TestNothingWithoutConnect: an Authenticate that stands where Connect does not pass
// lets nobody in, whatever the handshake has shown.
func TestNothingWithoutConnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		auth := middleware.NewAuthenticator(verifier, &middleware.AuthOptions{Anonymous: true})
		guarded := auth.Authenticate(handler.HandlerFunc(nothing))
		s := newStack(t, func(ctx context.Context, r handler.Request) error {
			if r.Message.Kind == subprotocol.KindConnect {
				return nil
			}
			return guarded.Handle(ctx, r)
		}, handler.WithAccept(auth.Accept))
		for _, cfg := range []*transport.DialConfig{nil, {Header: http.Header{"Authorization": {"Bearer ann"}}}} {
			c, err := s.tryDial("", cfg)
			require.NoError(t, err)
			c.connect()
			c.send(send)
			require.Equal(t, []string{"connected", "unauthorized"}, c.codes())
			c.leave()
		}
	})
}

func TestCredentialsPrintNothing(t *testing.T) {
	t.Parallel()
	c := middleware.Credentials{Scheme: middleware.SchemeBasic, Token: "secret", User: "secret", Password: "secret"}
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, v := range []any{c, &c, struct{ C middleware.Credentials }{c}} {
			out := fmt.Sprintf(f, v)
			require.NotContains(t, out, "secret", f)
			require.NotContains(t, out, "736563726574", f)
		}
	}
	b, err := json.Marshal(c)
	require.NoError(t, err)
	require.NotContains(t, strings.Replace(string(b), `"User":"secret"`, "", 1), "secret")
}

func TestNewAuthenticatorPanics(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { middleware.NewAuthenticator(nil, nil) })
	require.Panics(t, func() { middleware.NewAuthenticator(verifier, &middleware.AuthOptions{Grace: -1}) })
	_, ok := middleware.IdentityOf(new(handler.Session))
	require.False(t, ok)
}
