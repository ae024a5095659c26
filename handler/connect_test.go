package handler

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// TestNothingBeforeConnected: whoever sends before the answer to Connect is refused,
// and nothing overtakes that answer.
func TestNothingBeforeConnected(t *testing.T) {
	sends := map[string]func(s *Session) (Status, error){
		"send":    func(s *Session) (Status, error) { return s.Send(deliver("early")) },
		"reply":   func(s *Session) (Status, error) { return Request{Session: s}.Reply(deliver("early")) },
		"publish": func(s *Session) (Status, error) { return s.Publish(NewPublication(deliver("early")), "s", "1") },
		"send context": func(s *Session) (Status, error) {
			return Dropped, s.SendContext(context.Background(), deliver("early"))
		},
	}
	for name, send := range sends {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := &testProtocol{formed: true, features: subprotocol.Features{Connect: true, Errors: true}}
				tries := 0
				early := func(s *Session) {
					status, err := send(s)
					require.Equal(t, Dropped, status)
					require.ErrorIs(t, err, ErrNotConnected)
					tries++
				}
				h := HandlerFunc(func(_ context.Context, r Request) error {
					if r.Message.Kind == subprotocol.KindConnect {
						early(r.Session)
					}
					return nil
				})
				e := NewEndpoint(fakeTransport{}, h, WithSubProtocols(p),
					WithAccept(func(_ context.Context, s *Session, _ *transport.Handshake) error { early(s); return nil }),
					WithHooks(Hooks{Open: early}))
				c := &fakeConn{room: -1}
				s, r := open(t, e, c)
				r.Receive(textMessage("CONNECT"))
				synctest.Wait()
				require.Equal(t, []string{"CONNECTED 1.2"}, c.messages())
				require.Equal(t, 3, tries)
				require.EqualValues(t, 3, e.Stats().Dropped.Unsendable)
				require.Equal(t, 1, p.appends, "something else was encoded")
				_, err := send(s)
				require.NoError(t, err)
				synctest.Wait()
				require.Len(t, c.messages(), 2)
				r.Closed(nil)
				status, err := s.Send(deliver("late"))
				require.Equal(t, Closed, status)
				require.ErrorIs(t, err, net.ErrClosed)
			})
		})
	}
	t.Run("the answer waits", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			e := NewEndpoint(fakeTransport{}, HandlerFunc(nothing),
				WithSubProtocols(&testProtocol{features: subprotocol.Features{Connect: true}}))
			c := &fakeConn{}
			s, r := open(t, e, c)
			r.Receive(textMessage("CONNECT"))
			status, err := s.Send(deliver("x"))
			require.NoError(t, err)
			require.Equal(t, Queued, status)
			c.setRoom(-1)
			r.Writable()
			synctest.Wait()
			require.Equal(t, []string{"CONNECTED 1.2", "[,]x"}, c.messages())
			r.Closed(nil)
		})
	})
	t.Run("closed", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			e := NewEndpoint(fakeTransport{}, HandlerFunc(nothing),
				WithSubProtocols(&testProtocol{features: subprotocol.Features{Connect: true, Errors: true}}))
			c := &fakeConn{room: -1}
			s, r := open(t, e, c)
			r.Receive(textMessage("bad"))
			require.Equal(t, []string{"ERROR malformed  a bad line"}, c.messages(), "an error may come before")
			status, err := s.Send(deliver("x"))
			require.Equal(t, Closed, status)
			require.ErrorIs(t, err, net.ErrClosed)
			r.Closed(nil)
		})
	})
}

// TestAcceptedSeesDisconnect: also where a Sender can't bear the answer to Connect.
func TestAcceptedSeesDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var seen []subprotocol.Kind
		h := HandlerFunc(func(_ context.Context, r Request) error {
			seen = append(seen, r.Message.Kind)
			return nil
		})
		e := NewEndpoint(fakeTransport{}, h, WithSubProtocols(&testProtocol{features: subprotocol.Features{Connect: true}}),
			WithOutbound(func(Sender) Sender { return SenderFunc(func(Outgoing) (Status, error) { panic("oops") }) }))
		_, r := open(t, e, &fakeConn{room: -1})
		r.Receive(textMessage("CONNECT"))
		r.Closed(nil)
		require.Equal(t, []subprotocol.Kind{subprotocol.KindConnect, subprotocol.KindDisconnect}, seen)
		require.Zero(t, e.Sessions().Len())
	})
}

// TestDisconnectHasACause: the context has ended when the handler sees Disconnect,
// whoever sent it, and tells the client's from the others.
func TestDisconnectHasACause(t *testing.T) {
	for _, by := range []string{"client", "end"} {
		t.Run(by, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				seen := 0
				h := HandlerFunc(func(ctx context.Context, r Request) error {
					if r.Message.Kind != subprotocol.KindDisconnect {
						return nil
					}
					seen++
					require.ErrorIs(t, ctx.Err(), context.Canceled)
					cause := context.Cause(ctx)
					require.ErrorIs(t, cause, net.ErrClosed)
					require.Equal(t, by == "client", errors.Is(cause, ErrDisconnected))
					if by == "client" {
						_, err := r.Reply(deliver("bye"))
						require.NoError(t, err)
					}
					return cause // the end of its own session is no error of the handler's
				})
				var told error
				e := NewEndpoint(fakeTransport{}, h, WithHooks(Hooks{Close: func(_ *Session, err error) { told = err }}),
					WithSubProtocols(&testProtocol{features: subprotocol.Features{Errors: true, Disconnect: true}}))
				c := &fakeConn{room: -1}
				s, r := open(t, e, c)
				if by == "client" {
					r.Receive(textMessage("DISCONNECT\nSEND x"))
					require.Equal(t, []string{"[,]bye"}, c.messages())
					require.Equal(t, transport.StatusNormalClosure, c.code)
				}
				r.Closed(&transport.EndError{Code: transport.StatusNormalClosure, Err: transport.ErrLocalClose})
				require.Equal(t, 1, seen)
				require.Zero(t, e.Stats().HandlerErrors)
				require.Equal(t, context.Cause(s.Context()), told)
			})
		})
	}
}
