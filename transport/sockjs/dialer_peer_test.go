package sockjs

import (
	"context"
	"io"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

// script is a server inside the process: what it answers to requests by the last part of their
// paths. nil means no answer at all.
type script map[string]func(r *http.Request) *reply

func (w script) RoundTrip(r *http.Request) (*http.Response, error) {
	f := w[path.Base(r.URL.Path)]
	if f == nil {
		f = says(http.StatusNotFound, "")
	}
	if r.Body != nil {
		defer r.Body.Close()
	}
	a := f(r)
	if a == nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: a.status, Header: a.header, Body: a.body, Request: r}, nil
}

type reply struct {
	status int
	header http.Header
	body   io.ReadCloser
}

const plainInfo = `{"websocket":true,"origins":["*:*"],"cookie_needed":false,"entropy":1}`

// with returns w with an answer to info, after that time.
func (w script) with(info string, after time.Duration) script {
	w["info"] = func(r *http.Request) *reply {
		time.Sleep(after) // in a bubble
		return says(http.StatusOK, info)(r)
	}
	return w
}

// says answers with a status and a body. Headers are pairs.
func says(status int, body string, headers ...string) func(*http.Request) *reply {
	return func(*http.Request) *reply {
		a := &reply{status, make(http.Header), io.NopCloser(strings.NewReader(body))}
		for i := 0; i < len(headers); i += 2 {
			a.header.Set(headers[i], headers[i+1])
		}
		return a
	}
}

// inTurn answers one after the other, and then no more.
func inTurn(answers ...func(*http.Request) *reply) func(*http.Request) *reply {
	return func(r *http.Request) *reply {
		if len(answers) == 0 {
			return nil
		}
		f := answers[0]
		answers = answers[1:]
		return f(r)
	}
}

// flows answers with what is written to the pipe, until the client goes away.
func flows(pr *io.PipeReader) func(*http.Request) *reply {
	return func(r *http.Request) *reply {
		a := says(http.StatusOK, "", "Content-Type", "text/event-stream")(r)
		context.AfterFunc(r.Context(), func() { pr.CloseWithError(r.Context().Err()) })
		a.body = pr
		return a
	}
}

// listener is a client's receiver.
type listener struct {
	t        *testing.T
	conn     transport.Conn
	got      chan string
	writable chan struct{}
	closed   chan error
	receive  func(m transport.Message) // may be nil
}

func newListener(t *testing.T) *listener {
	return &listener{t: t, got: make(chan string, 10_000), writable: make(chan struct{}, 10_000), closed: make(chan error, 1)}
}

func (l *listener) open(c transport.Conn) transport.Receiver {
	l.conn = c
	return l
}

func (l *listener) Receive(m transport.Message) {
	l.got <- string(m.Data)
	if l.receive != nil {
		l.receive(m)
	}
}

func (l *listener) Writable()        { l.writable <- struct{}{} }
func (l *listener) Closed(err error) { l.closed <- err }

// dial connects, or fails the test.
func dial(t *testing.T, d transport.Dialer, url string, cfg *transport.DialConfig) *listener {
	t.Helper()
	l := newListener(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := d.Dial(ctx, url, cfg, l.open)
	require.NoError(t, err)
	require.Same(t, l.conn, c)
	return l
}

// refuses expects that there is no connection.
func refuses(t *testing.T, d transport.Dialer, url string) error {
	t.Helper()
	c, err := d.Dial(t.Context(), url, nil, func(transport.Conn) transport.Receiver {
		t.Error("a connection was opened")
		return newListener(t)
	})
	require.Error(t, err)
	require.Nil(t, c)
	return err
}

// send waits for room.
func (l *listener) send(texts ...string) {
	l.t.Helper()
	var batch []transport.Message
	for _, s := range texts {
		batch = append(batch, transport.Message{Type: transport.MessageText, Data: []byte(s)})
	}
	for {
		n, err := l.conn.Write(batch)
		require.NoError(l.t, err)
		if batch = batch[n:]; len(batch) == 0 {
			return
		}
		<-l.writable
	}
}

// takes waits for messages.
func (l *listener) takes(want ...string) {
	l.t.Helper()
	for _, s := range want {
		select {
		case got := <-l.got:
			require.Equal(l.t, s, got)
		case <-time.After(10 * time.Second):
			require.Fail(l.t, "no message", "want %q", s)
		}
	}
}

// ended waits for Closed.
func (l *listener) ended() error {
	l.t.Helper()
	select {
	case err := <-l.closed:
		return err
	case <-time.After(10 * time.Minute): // of a bubble, mostly
		require.Fail(l.t, "Closed has not come")
		return nil
	}
}

func (l *listener) close() {
	l.t.Helper()
	require.NoError(l.t, l.conn.Close(transport.StatusNormalClosure, ""))
	require.ErrorIs(l.t, l.ended(), transport.ErrLocalClose)
}

func nameOf(t *testing.T, c transport.Conn) string {
	t.Helper()
	n, ok := transport.As[TransportNamer](c)
	require.True(t, ok)
	return n.TransportName()
}
