package handlertest_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/sockjs"
)

func TestTableNamesAreUnique(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, st := range handlertest.Stacks() {
		require.False(t, seen[st.Name], st.Name)
		seen[st.Name] = true
		require.Equal(t, st.Carrier+"/"+st.Format, st.Name)
		require.NotNil(t, st.SubProtocol)
	}
	require.Len(t, seen, 5*8+6*3+2+3*3, "a row that is lost is not tested any more")
}

func TestRun(t *testing.T) {
	t.Parallel()
	each(t, handlertest.Run)
}

// On another server, a row is the same row.
func TestServed(t *testing.T) {
	t.Parallel()
	for _, st := range handlertest.Stacks() {
		if !st.HTTP {
			require.Panics(t, func() { st.Served("mux", nil) }, st.Name)
			continue
		}
		if st.Format != "raw/none" || st.Carrier != "gobwas" && st.Carrier != "gorilla-https" {
			continue
		}
		served := st.Served("mux", func(ep *handler.Endpoint, ln net.Listener) (func() error, error) {
			mux := http.NewServeMux()
			mux.Handle("GET /test", ep)
			hs := &http.Server{Handler: mux, ReadHeaderTimeout: handlertest.Timeout, ErrorLog: log.New(io.Discard, "", 0)}
			done := make(chan error, 1)
			go func() { done <- hs.Serve(ln) }()
			return func() error {
				hs.Close()
				if err := <-done; !errors.Is(err, http.ErrServerClosed) {
					return err
				}
				return nil
			}, nil
		})
		require.Equal(t, "mux-"+st.Name, served.Name)
		require.Equal(t, "mux-"+st.Carrier, served.Carrier)
		t.Run(served.Name, func(t *testing.T) {
			t.Parallel()
			handlertest.Run(t, served)
		})
	}
}

func TestNegotiation(t *testing.T) {
	t.Parallel()
	handshakes(t, func(t *testing.T, st handlertest.Stack) {
		named := handler.WithSubProtocols(
			raw.New(&raw.Options{Names: []string{"a.test", "b.test"}}), raw.New(&raw.Options{Names: []string{"c.test"}}))
		for _, tt := range []struct {
			offered []string
			opts    []handler.Option
			want    string
			refused bool
		}{
			{offered: nil, want: append(st.SubProtocol.Names(), "")[0]},
			{offered: []string{"a.test"}, want: "a.test"},
			{offered: []string{"b.test", "a.test"}, want: "b.test"},
			{offered: []string{"c.test", "a.test"}, want: "c.test"},
			{offered: []string{"x.test", "c.test"}, want: "c.test"},
			{offered: []string{"x.test"}, refused: true},
			{offered: []string{"A.test"}, refused: true},
			{offered: []string{"x.test"}, opts: []handler.Option{handler.WithoutSubProtocol()}, want: ""},
		} {
			t.Run(strings.Join(tt.offered, "+"), func(t *testing.T) {
				rec := record(nil)
				s := st.Start(t, rec, append(tt.opts, named)...)
				dial := handlertest.DialOptions{SubProtocols: tt.offered}
				if st.Requests { // what is offered is not heard
					tt.want, tt.offered, tt.refused = "", nil, false
				}
				if tt.want != "" && tt.offered != nil {
					dial.SubProtocol = raw.New(nil)
				}
				c, err := s.DialWith(&dial)
				if tt.refused {
					var refusal *transport.Refusal
					require.ErrorAs(t, err, &refusal)
					require.Equal(t, http.StatusBadRequest, refusal.Status)
					for _, name := range []string{"a.test", "b.test", "c.test"} {
						require.Contains(t, refusal.Text, name, "the text names what there is")
					}
					require.EqualValues(t, 1, s.Endpoint.Stats().Refused.SubProtocol)
					return
				}
				require.NoError(t, err)
				require.Equal(t, tt.want, c.Conn().SubProtocol())
				require.Equal(t, tt.want, take(t, rec.sessions).SubProtocol())
				roundTrip(t, c, "hello")
			})
		}
	})
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	handshakes(t, func(t *testing.T, st handlertest.Stack) {
		s := st.Start(t, record(nil), handler.WithOrigins("*.friend.test"))
		host := s.Addr
		if host == "" {
			host = "localhost"
		}
		secure := map[bool]string{true: "https://", false: "http://"}[st.TLS]
		for origin, allowed := range map[string]bool{
			secure + host:           true,
			"https://a.friend.test": true,
			"https://friend.test":   false,
			"https://evil.test":     false,
			"null":                  false,
		} {
			c, err := s.DialWith(&handlertest.DialOptions{Header: http.Header{"Origin": {origin}}})
			if allowed {
				require.NoError(t, err, origin)
				roundTrip(t, c, "hello")
				continue
			}
			var refusal *transport.Refusal
			require.ErrorAs(t, err, &refusal, origin)
			require.Equal(t, http.StatusForbidden, refusal.Status)
			require.Contains(t, refusal.Text, origin)
			require.Contains(t, refusal.Text, "handler.WithOrigins")
		}
		require.EqualValues(t, 3, s.Endpoint.Stats().Refused.Origin)
	})
}

func TestMaxSessions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, st handlertest.Stack) {
		s := st.Start(t, record(nil), handler.WithMaxSessions(2))
		first, second := s.Dial(t), s.Dial(t)
		third, err := s.DialWith(nil)
		if st.Stream {
			require.NoError(t, err)
			require.ErrorIs(t, third.Closed(), net.ErrClosed)
		} else {
			var refusal *transport.Refusal
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, http.StatusServiceUnavailable, refusal.Status)
			require.NotEmpty(t, refusal.Header.Get("Retry-After"))
		}
		require.EqualValues(t, 1, s.Endpoint.Stats().Refused.Limit)

		require.NoError(t, first.Close(transport.StatusNormalClosure, ""))
		eventually(t, func() bool { return s.Endpoint.Stats().Live == 1 }, "the slot is free again")
		roundTrip(t, s.Dial(t), "third")
		roundTrip(t, second, "second")
	})
}

func TestAcceptHookRefuses(t *testing.T) {
	t.Parallel()
	handshakes(t, func(t *testing.T, st handlertest.Stack) {
		s := st.Start(t, record(nil), handler.WithMaxSessions(1), handler.WithAccept(
			func(_ context.Context, s *handler.Session, h *transport.Handshake) error {
				switch h.Header.Get("Authorization") {
				case "ann":
					s.SetUser("ann")
					return nil
				case "":
					return &transport.Refusal{Status: http.StatusUnauthorized, Text: "who are you?"}
				case "panic":
					panic("in the hook")
				}
				return errors.New("the text of this error is secret")
			}))
		dial := func(user string) (*handlertest.Client, error) {
			return s.DialWith(&handlertest.DialOptions{Header: http.Header{"Authorization": {user}}})
		}
		for user, status := range map[string]int{
			"": http.StatusUnauthorized, "bob": http.StatusForbidden, "panic": http.StatusInternalServerError,
		} {
			_, err := dial(user)
			var refusal *transport.Refusal
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, status, refusal.Status)
			require.NotContains(t, refusal.Text, "secret")
		}
		c, err := dial("ann")
		require.NoError(t, err, "the refused ones hold no slot")
		roundTrip(t, c, "hello")
	})
}

func TestSessionsAreFound(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, st handlertest.Stack) {
		rec := record(nil)
		s := st.Start(t, rec)
		var clients []*handlertest.Client
		var sessions []*handler.Session
		for i := range 3 {
			c, ses := pair(t, s, rec)
			roundTrip(t, c, "connected") // what is handled comes after Connect
			ses.SetUser(map[bool]string{true: "ann", false: "bob"}[i < 2])
			clients, sessions = append(clients, c), append(sessions, ses)
		}
		all := s.Endpoint.Sessions()
		require.Equal(t, 3, all.Len())
		for _, ses := range sessions {
			require.Same(t, ses, all.Get(ses.ID()))
			require.Equal(t, st.SubProtocol.Names() != nil && !st.Stream && !st.Requests, ses.SubProtocol() != "")
		}
		require.Nil(t, all.Get("unknown"))
		// The latest comes first. Sessions are compared by identity: they change all the time.
		ann := slices.Collect(all.User("ann"))
		require.True(t, slices.Equal([]*handler.Session{sessions[1], sessions[0]}, ann))
		require.True(t, slices.Equal(sessions[2:], slices.Collect(all.User("bob"))))
		require.Empty(t, slices.Collect(all.User("")))
		require.Equal(t, map[bool]string{true: "", false: "/test"}[st.Stream], sessions[0].Path())

		n, err := all.CloseUser("ann", 4004, "signed out")
		require.NoError(t, err)
		require.Equal(t, 2, n)
		requireClosed(t, clients[0], 4004, "signed out")
		requireClosed(t, clients[1], 4004, "signed out")
		roundTrip(t, clients[2], "still here")

		require.NoError(t, all.Get(sessions[2].ID()).Close(4005, "you too"))
		requireClosed(t, clients[2], 4005, "you too")
		eventually(t, func() bool { return all.Len() == 0 }, "all have ended")
		require.Nil(t, all.Get(sessions[2].ID()))
		require.Empty(t, slices.Collect(all.User("bob")))
	})
}

func TestPublication(t *testing.T) {
	t.Parallel()
	const receivers, publications = 50, 40
	each(t, func(t *testing.T, st handlertest.Stack) {
		rec := record(nil)
		s := st.Start(t, rec)
		var clients []*handlertest.Client
		for range receivers {
			c, _ := pair(t, s, rec)
			roundTrip(t, c, "connected")
			clients = append(clients, c)
		}
		for i := range publications {
			p := handler.NewPublication(text("news %d", i))
			n := 0
			for ses := range s.Endpoint.Sessions().All() {
				status, err := ses.Publish(p, "", "")
				require.NoError(t, err)
				require.Equal(t, handler.Queued, status)
				n++
			}
			require.Equal(t, receivers, n)
		}
		for _, c := range clients {
			for i := range publications {
				require.Equal(t, "news "+strconv.Itoa(i), receive(t, c))
			}
		}
	})
}

// BenchmarkServed is what adapters are compared with.
func BenchmarkServed(b *testing.B) {
	for _, st := range handlertest.Stacks() {
		if st.Name == "gobwas/raw/none" || st.Name == "gorilla/raw/none" {
			b.Run(st.Carrier, func(b *testing.B) { handlertest.Benchmark(b, st) })
		}
	}
}

func TestRunSockJS(t *testing.T) {
	t.Parallel()
	handlertest.RunSockJS(t, func(ep *handler.Endpoint) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tenant, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/of/"), "/")
			//nolint:staticcheck // the key is that of routers whose keys are strings
			r = r.WithContext(context.WithValue(r.Context(), "user", tenant))
			sockjs.Mount("/of/"+tenant+"/sockjs", ep, nil).ServeHTTP(w, r)
		})
	})
}
