package handlertest_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// trouble is a handler that does what the body says, and echoes all else.
func trouble(ctx context.Context, r handler.Request) error {
	switch string(r.Message.Body) {
	case "panic":
		panic("in a handler")
	case "goexit":
		runtime.Goexit()
	case "fatal":
		return &subprotocol.Error{Code: "tired", Text: "go away", Fatal: true, Status: 4003}
	case "error":
		return errors.New("secret")
	}
	return handlertest.Echo(ctx, r)
}

// ends are the ways in which a session ends. act makes it end; cause and client
// check what the two sides learn.
var ends = []struct {
	name   string
	act    func(t *testing.T, s *handlertest.Server, c *handlertest.Client, ses *handler.Session)
	cause  func(t *testing.T, st handlertest.Stack, err error)
	client func(t *testing.T, c *handlertest.Client)
}{
	{
		"client closes",
		func(t *testing.T, _ *handlertest.Server, c *handlertest.Client, _ *handler.Session) {
			require.NoError(t, c.Close(4001, "bye"))
		},
		func(t *testing.T, st handlertest.Stack, err error) {
			if st.Requests { // they have no word for it
				requireEnd(t, err, transport.StatusAbnormalClosure)
				return
			}
			requireSaid(t, st, err, 4001, "bye")
		},
		func(t *testing.T, c *handlertest.Client) {
			requireEnd(t, c.Closed(), 4001)
			require.ErrorIs(t, c.Closed(), transport.ErrLocalClose)
		},
	},
	{
		"server closes",
		func(t *testing.T, _ *handlertest.Server, _ *handlertest.Client, ses *handler.Session) {
			require.NoError(t, ses.Close(4002, "done"))
			require.ErrorIs(t, ses.Close(4003, "again"), net.ErrClosed)
		},
		func(t *testing.T, _ handlertest.Stack, err error) {
			requireEnd(t, err, 4002)
			require.ErrorIs(t, err, transport.ErrLocalClose)
		},
		func(t *testing.T, c *handlertest.Client) { requireClosed(t, c, 4002, "done") },
	},
	{
		"shutdown",
		func(t *testing.T, s *handlertest.Server, _ *handlertest.Client, _ *handler.Session) {
			ctx, cancel := context.WithTimeout(t.Context(), handlertest.Timeout)
			defer cancel()
			require.NoError(t, s.Endpoint.Shutdown(ctx))
		},
		func(t *testing.T, _ handlertest.Stack, err error) {
			requireEnd(t, err, transport.StatusGoingAway)
			require.ErrorIs(t, err, handler.ErrShutdown)
		},
		func(t *testing.T, c *handlertest.Client) {
			requireClosed(t, c, transport.StatusGoingAway, "shutting down")
		},
	},
	{
		"client vanishes",
		func(_ *testing.T, _ *handlertest.Server, c *handlertest.Client, _ *handler.Session) { c.Cut() },
		func(t *testing.T, _ handlertest.Stack, err error) {
			requireEnd(t, err, transport.StatusAbnormalClosure)
		},
		func(t *testing.T, c *handlertest.Client) { requireEnd(t, c.Closed(), transport.StatusAbnormalClosure) },
	},
	{
		"handler panics",
		func(t *testing.T, _ *handlertest.Server, c *handlertest.Client, _ *handler.Session) {
			send(t, c, "panic")
		},
		func(t *testing.T, _ handlertest.Stack, err error) { requireEnd(t, err, transport.StatusInternalError) },
		func(t *testing.T, c *handlertest.Client) {
			requireClosed(t, c, transport.StatusInternalError, "internal error")
		},
	},
	{
		"handler ends its goroutine",
		func(t *testing.T, _ *handlertest.Server, c *handlertest.Client, _ *handler.Session) {
			send(t, c, "goexit")
		},
		func(t *testing.T, _ handlertest.Stack, err error) { requireEnd(t, err, transport.StatusInternalError) },
		func(t *testing.T, c *handlertest.Client) {
			requireClosed(t, c, transport.StatusInternalError, "internal error")
		},
	},
	{
		"handler returns a fatal error",
		func(t *testing.T, _ *handlertest.Server, c *handlertest.Client, _ *handler.Session) {
			send(t, c, "fatal")
		},
		func(t *testing.T, _ handlertest.Stack, err error) {
			requireEnd(t, err, 4003)
			var typed *subprotocol.Error
			require.ErrorAs(t, err, &typed)
		},
		func(t *testing.T, c *handlertest.Client) { requireClosed(t, c, 4003, "go away") },
	},
	{
		"message over the limit",
		func(t *testing.T, _ *handlertest.Server, c *handlertest.Client, _ *handler.Session) {
			body := bytes.Repeat([]byte{1}, handlertest.MaxMessageSize+1)
			require.NoError(t, c.Send(&subprotocol.Message{Type: bodyType(c.Stack()), Body: body}))
		},
		func(t *testing.T, st handlertest.Stack, err error) {
			requireEnd(t, err, transport.StatusMessageTooBig)
			if st.Stream { // the frame is too large
				var typed *subprotocol.Error
				require.ErrorAs(t, err, &typed)
				return
			}
			require.ErrorIs(t, err, transport.ErrMessageTooBig)
		},
		func(t *testing.T, c *handlertest.Client) {
			requireStatus(t, c, transport.StatusMessageTooBig)
		},
	},
}

func TestEnds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, st handlertest.Stack) {
		for _, end := range ends {
			t.Run(end.name, func(t *testing.T) {
				t.Parallel()
				rec := record(trouble)
				s := st.Start(t, rec)
				c, err := s.DialWith(&handlertest.DialOptions{Cuttable: true})
				require.NoError(t, err)
				ses := take(t, rec.sessions)
				roundTrip(t, c, "hello")
				end.act(t, s, c, ses)
				cause := take(t, rec.causes)
				require.ErrorIs(t, cause, net.ErrClosed)
				end.cause(t, st, cause)
				require.ErrorIs(t, c.Closed(), net.ErrClosed)
				end.client(t, c)

				ctx, cancel := context.WithTimeout(t.Context(), handlertest.Timeout)
				defer cancel()
				require.NoError(t, s.Endpoint.Shutdown(ctx))
				require.EqualValues(t, 1, rec.connects.Load())
				require.EqualValues(t, 1, rec.disconnects.Load())
				status, err := ses.Send(text("too late"))
				require.Equal(t, handler.Closed, status)
				require.ErrorIs(t, err, net.ErrClosed)
			})
		}
	})
}

// A handler that does not accept Connect sees no Disconnect.
func TestConnectRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, st handlertest.Stack) {
		for name, tt := range map[string]struct {
			connect func() error
			code    transport.StatusCode
			reason  string
		}{
			"error": {func() error { return errors.New("secret") }, transport.StatusPolicyViolation, "the connection was refused"},
			"typed error": {
				func() error { return &subprotocol.Error{Code: "full", Text: "no room", Status: 4100} }, 4100, "no room",
			},
			"panic": {func() error { panic("in Connect") }, transport.StatusInternalError, "internal error"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				kinds := make(chan subprotocol.Kind, 8)
				s := st.Start(t, handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
					kinds <- r.Message.Kind
					return tt.connect()
				}))
				requireClosed(t, s.Dial(t), tt.code, tt.reason)
				ctx, cancel := context.WithTimeout(t.Context(), handlertest.Timeout)
				defer cancel()
				require.NoError(t, s.Endpoint.Shutdown(ctx))
				require.Equal(t, subprotocol.KindConnect, take(t, kinds))
				require.Empty(t, kinds, "no Disconnect follows")
			})
		}
	})
}

func TestTroubleStaysAtHome(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, st handlertest.Stack) {
		rec := record(trouble)
		s := st.Start(t, rec)
		healthy := s.Dial(t)
		for i := range 5 {
			for _, what := range []string{"panic", "goexit", "fatal"} {
				bad := s.Dial(t)
				send(t, bad, what)
				roundTrip(t, healthy, what+strconv.Itoa(i))
				require.ErrorIs(t, bad.Closed(), net.ErrClosed)
			}
		}
		// An error that is not fatal ends nothing, where it can, and its text goes nowhere.
		send(t, healthy, "error")
		if healthy.Features().Errors {
			m, err := healthy.Receive()
			require.NoError(t, err)
			require.Equal(t, subprotocol.KindError, m.Kind)
			require.Equal(t, "internal", m.Error.Code)
			require.NotContains(t, m.Error.Text, "secret")
		}
		if healthy.Features().FatalErrors {
			requireClosed(t, healthy, transport.StatusInternalError, "the message could not be handled")
			healthy = s.Dial(t)
		}
		roundTrip(t, healthy, "after an error")
		require.EqualValues(t, 10, s.Endpoint.Stats().Panics)
		require.EqualValues(t, 6, s.Endpoint.Stats().HandlerErrors)
	})
}

func TestShutdownOfThousandSessions(t *testing.T) {
	const n = 1000
	for _, st := range handlertest.Stacks() {
		if st.TLS || st.Carrier == "gobwas-bare" || st.Format != "raw/none" && st.Format != "json/json" {
			continue // a thousand TLS handshakes, or a codec that nobody calls, prove nothing more
		}
		if st.Requests && st.Format != "raw/none" {
			continue // nor do thousands of requests more
		}
		t.Run(st.Name, func(t *testing.T) {
			rec := record(nil)
			s := st.Start(t, rec)
			clients := make([]*handlertest.Client, n)
			for i := range clients {
				clients[i] = s.Dial(t)
			}
			for range n {
				take(t, rec.sessions)
			}
			ctx, cancel := context.WithTimeout(t.Context(), handlertest.Timeout)
			defer cancel()
			require.NoError(t, s.Endpoint.Shutdown(ctx))
			require.EqualValues(t, n, rec.disconnects.Load(), "all have ended when Shutdown returns")
			for _, c := range clients {
				requireClosed(t, c, transport.StatusGoingAway, "shutting down")
			}
			_, err := s.DialWith(nil)
			require.Error(t, err, "nothing is admitted any more")
		})
	}
}
