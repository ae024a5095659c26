package inspect

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// However many sessions there are, an answer has few and comes soon.
func TestListOfMany(t *testing.T) {
	t.Parallel()
	n := 100_000
	if raceEnabled {
		n = 10_000
	}
	e, closeAll := crowd(t, n, func(i int) string { return fmt.Sprintf("user-%06d", i) })
	defer closeAll()
	ins := New(nil)
	ins.Add("e", e)
	for _, path := range []string{"sessions", "sessions?sort=user&desc=1", "sessions?q=" + strings.Repeat("x", 200), "sessions?sort=subscriptions"} {
		var l listed
		began := time.Now()
		w := get(ins, path, &l)
		// The bound is looked at between sessions; what comes before and after is short.
		require.Less(t, time.Since(began), 20*maxTime, path)
		require.Equal(t, 200, w.Code)
		require.LessOrEqual(t, len(l.Rows), maxRows)
		require.Less(t, w.Body.Len(), 64<<10)
		require.Equal(t, n, l.Total)
		if !l.Partial && !strings.Contains(path, "q=") {
			require.Len(t, l.Rows, maxRows)
			require.Equal(t, n, l.Matches)
		}
	}
	var one listed
	get(ins, "sessions?q=USER-009999", &one)
	if !one.Partial {
		require.Len(t, one.Rows, 1)
		require.Equal(t, "user-009999", one.Rows[0].User)
	}
}

func TestListOrder(t *testing.T) {
	t.Parallel()
	e, closeAll := crowd(t, 150, func(i int) string { return fmt.Sprintf("%03d", i*7%150) })
	defer closeAll()
	// Some have something queued, which nobody takes.
	for s := range e.Sessions().All() {
		if s.User() >= "140" {
			for range int(s.User()[2]-'0') + 1 {
				_, _ = s.Send(&subprotocol.Message{Kind: subprotocol.KindDeliver, Body: []byte("hello")})
			}
		}
	}
	ins := New(nil)
	ins.Add("e", e)
	users := func(path string) (all []string) {
		var l listed
		require.Equal(t, 200, get(ins, path, &l).Code)
		for _, r := range l.Rows {
			all = append(all, r.User)
		}
		return all
	}
	up := users("sessions?sort=user")
	require.Len(t, up, maxRows)
	for i, u := range up {
		require.Equal(t, fmt.Sprintf("%03d", i), u)
	}
	down := users("sessions?sort=user&desc=1")
	for i, u := range down {
		require.Equal(t, fmt.Sprintf("%03d", 149-i), u)
	}
	require.Equal(t, []string{"149", "148", "147", "146", "145", "144", "143", "142", "141", "140"}, users("sessions?desc=1")[:10])
	require.Equal(t, []string{"077"}, users("sessions?q=077"))
	require.Empty(t, users("sessions?endpoint=f"))
	require.Len(t, users("sessions?endpoint=e&q=/WS"), maxRows)
	require.Equal(t, 400, get(ins, "sessions?sort=x", nil).Code)
	for order := range orders {
		require.Len(t, users("sessions?sort="+order), maxRows)
	}
}

// What is not shown can't be found either, or it could be guessed letter by letter.
func TestListDoesNotFindSecrets(t *testing.T) {
	t.Parallel()
	e, closeAll := crowd(t, 1, func(int) string { return "ann token=abc" })
	defer closeAll()
	ins := New(nil)
	ins.Add("e", e)
	for query, n := range map[string]int{"ANN": 1, "token": 1, "/ws": 1, "abc": 0, "token=": 0} {
		var l listed
		get(ins, "sessions?q="+url.QueryEscape(query), &l)
		require.Len(t, l.Rows, n, query)
	}
}

// strange is an address that somebody else has written.
type strange struct{ net.Addr }

func (strange) String() string { return strings.Repeat("\u202e", 1000) + "token=abc" }

func TestListOfStrangeAddresses(t *testing.T) {
	t.Parallel()
	e := handler.NewEndpoint(pipe.New(nil), handler.HandlerFunc(echo), handler.WithSubProtocols(raw.New(nil)))
	a, err := e.Accept(&transport.Handshake{RemoteAddr: strange{}, Header: http.Header{}, Context: t.Context()})
	require.NoError(t, err)
	r := a.Open(deaf{})
	ins := New(nil)
	ins.Add("e", e)
	var l listed
	get(ins, "sessions", &l)
	require.True(t, strings.HasPrefix(l.Rows[0].Remote, `\u{202e}`))
	require.Less(t, len(l.Rows[0].Remote), 1000)
	r.Closed(&transport.EndError{Code: 1000, Err: transport.ErrLocalClose})
	require.NoError(t, e.Shutdown(context.Background()))
}
