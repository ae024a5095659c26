package handlertest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Run checks what every row must carry, however it is served, each in a subtest of its
// own: messages of all sizes in their order, what the handshake says and how it is refused,
// clients that do not read, and each way in which a connection ends. It is for
// rows that are Served by another project's server.
func Run(t *testing.T, st Stack) {
	for _, b := range []struct {
		name  string
		run   func(t *testing.T, st Stack)
		lacks bool // the row has not what it takes
	}{
		{"echo", runEcho, false},
		{"order", runOrder, false},
		{"handshake", runHandshake, st.Stream},
		{"refused", runRefused, st.Stream},
		{"no upgrade", runNoUpgrade, !st.HTTP},
		{"early bytes", runEarly, !st.HTTP || st.Format != "raw/none"},
		{"stalled", runStalled, false},
		{"ends", runEnds, false},
		{"vanishes", runVanishes, false},
		{"vanishes while it is admitted", runGone, !st.HTTP},
	} {
		if b.lacks {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.run(t, st)
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answered sends body and waits for it.
func answered(t *testing.T, c *Client, body []byte) {
	t.Helper()
	check(t, c.Send(&subprotocol.Message{Type: transport.MessageText, Body: body}))
	m, err := c.Receive()
	check(t, err)
	if !bytes.Equal(m.Body, body) {
		t.Fatalf("%d bytes came back as %d", len(body), len(m.Body))
	}
}

func runEcho(t *testing.T, st Stack) {
	s := st.Start(t, handler.HandlerFunc(Echo))
	c := s.Dial(t)
	before, sent := s.Endpoint.Stats().MessagesIn, uint64(0)
	for _, m := range []subprotocol.Message{
		{Type: transport.MessageText, Body: []byte("grüß dich")},
		{Type: transport.MessageBinary, Body: []byte{0, 255, 128}},
		{Type: transport.MessageText},
		{Type: transport.MessageBinary},
		{Type: transport.MessageText, Body: bytes.Repeat([]byte("a"), 125)},
		{Type: transport.MessageText, Body: bytes.Repeat([]byte("b"), 126)},
		{Type: transport.MessageText, Body: bytes.Repeat([]byte("c"), min(65535, st.MaxBody))},
		{Type: transport.MessageText, Body: bytes.Repeat([]byte("d"), st.MaxBody)},
		{Type: transport.MessageBinary, Body: bytes.Repeat([]byte{0xff}, st.MaxBody)},
	} {
		if st.Text && m.Type != transport.MessageText {
			continue
		}
		sent++
		check(t, c.Send(&m))
		got, err := c.Receive()
		check(t, err)
		if len(st.SubProtocol.Names()) == 0 && got.Type != m.Type {
			t.Fatalf("%v came back as %v: raw has no types of its own", m.Type, got.Type)
		}
		if !bytes.Equal(m.Body, got.Body) {
			t.Fatalf("%d bytes came back as %d", len(m.Body), len(got.Body))
		}
	}
	if n := s.Endpoint.Stats().MessagesIn - before; n != sent && !st.Stream { // there they are chunks
		t.Fatalf("%d messages came in, want %d", n, sent)
	}
}

func runOrder(t *testing.T, st Stack) {
	const n = 2000
	// Back-pressure in place of the overflow policy: this is about order, and the client
	// may be slow.
	s := st.Start(t, handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		if r.Message.Kind != subprotocol.KindSend {
			return nil
		}
		r.Message.Kind = subprotocol.KindDeliver
		return r.Session.SendContext(ctx, r.Message)
	}))
	c := s.Dial(t)
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := c.Send(&subprotocol.Message{Body: strconv.AppendInt(nil, int64(i), 10)}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range n {
		m, err := c.Receive()
		check(t, err)
		if string(m.Body) != strconv.Itoa(i) {
			t.Fatalf("message %d is %q", i, m.Body)
		}
	}
	check(t, <-sent)
}

func runHandshake(t *testing.T, st Stack) {
	var host string
	s := st.Start(t, handler.HandlerFunc(Echo), handler.WithAccept(
		func(ctx context.Context, s *handler.Session, h *transport.Handshake) error {
			switch {
			case h.Context == nil || ctx.Err() != nil:
				return refusal("the context has ended")
			case h.Path != "/test" || st.HTTP && h.Host != host:
				return refusal("host " + h.Host + ", path " + h.Path)
			case h.RemoteAddr == nil || h.LocalAddr == nil:
				return refusal("an end has no address")
			case st.HTTP && (st.TLS != h.Secure || st.TLS != (h.TLS != nil)):
				return refusal("TLS is not as it was dialled")
			case strings.Join(h.Header.Values("X-Two"), "+") != "one+two" || h.Header.Get("x-absent") != "":
				return refusal("a field is lost, or was made up")
			}
			s.SetUser(h.Header.Get("Authorization"))
			return nil
		}))
	host = s.Addr
	for _, user := range []string{"ann", "bob"} { // what is kept of one request is not that of the next one
		c, err := s.DialWith(&DialOptions{Header: http.Header{"Authorization": {user}, "X-Two": {"one", "two"}}})
		check(t, err)
		answered(t, c, []byte("hello"))
	}
	users := make(map[string]int)
	for ses := range s.Endpoint.Sessions().All() {
		users[ses.User()]++
	}
	if users["ann"] != 1 || users["bob"] != 1 {
		t.Fatalf("the users are %v", users)
	}
}

func refusal(text string) error { return &transport.Refusal{Status: http.StatusTeapot, Text: text} }

// runRefused: a refusal reaches the client with status, text and header, and what is
// refused holds nothing.
func runRefused(t *testing.T, st Stack) {
	s := st.Start(t, handler.HandlerFunc(Echo), handler.WithMaxSessions(1), handler.WithAccept(
		func(_ context.Context, _ *handler.Session, h *transport.Handshake) error {
			switch h.Header.Get("Authorization") {
			case "ann":
				return nil
			case "panic":
				panic("in the hook")
			}
			return &transport.Refusal{Status: http.StatusUnauthorized, Text: "who are you? ü", Header: http.Header{"X-Why": {"nobody"}}}
		}))
	for _, tt := range []struct {
		o      DialOptions
		status int
		text   string
		header [2]string
	}{
		{DialOptions{}, http.StatusUnauthorized, "who are you? ü", [2]string{"X-Why", "nobody"}},
		{DialOptions{Header: http.Header{"Authorization": {"panic"}}}, http.StatusInternalServerError, "internal error", [2]string{}},
		{DialOptions{Header: http.Header{"Origin": {"https://evil.test"}}}, http.StatusForbidden, "WithOrigins", [2]string{}},
		{DialOptions{SubProtocols: []string{"x.test"}}, http.StatusBadRequest, "sub-protocol", [2]string{}},
	} {
		if st.Requests && tt.o.SubProtocols != nil {
			continue // what is offered is not heard
		}
		_, err := s.DialWith(&tt.o)
		r, ok := errors.AsType[*transport.Refusal](err)
		if !ok || r.Status != tt.status || !strings.Contains(r.Text, tt.text) || r.Header.Get(tt.header[0]) != tt.header[1] {
			t.Fatalf("got %v (%+v), want %d with %q and %q", err, r, tt.status, tt.text, tt.header)
		}
	}
	ann := &DialOptions{Header: http.Header{"Authorization": {"ann"}}}
	c, err := s.DialWith(ann)
	check(t, err)
	answered(t, c, []byte("the refused ones hold no slot"))
	_, err = s.DialWith(ann)
	if r, ok := errors.AsType[*transport.Refusal](err); !ok || r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Fatalf("got %v, want 503 with Retry-After", err)
	}
}

// dialRaw connects a client that is none of a transport's.
func (s *Server) dialRaw() (nc net.Conn, err error) {
	s.labelled(func(context.Context) {
		if s.Stack.TLS {
			nc, err = tls.Dial("tcp", s.Addr, clientTLS())
		} else {
			nc, err = net.Dial("tcp", s.Addr)
		}
	})
	return nc, err
}

// runNoUpgrade: a request that is no handshake gets an answer, and the connection serves
// the next one.
func runNoUpgrade(t *testing.T, st Stack) {
	s := st.Start(t, handler.HandlerFunc(Echo))
	nc, err := s.dialRaw()
	check(t, err)
	defer nc.Close()
	br := bufio.NewReader(nc)
	for range 2 {
		_, err := io.WriteString(nc, "GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n")
		check(t, err)
		resp, err := http.ReadResponse(br, nil)
		check(t, err)
		text, err := io.ReadAll(resp.Body)
		check(t, err)
		check(t, resp.Body.Close())
		if resp.StatusCode != http.StatusUpgradeRequired || resp.Header.Get("Upgrade") != "websocket" || !strings.Contains(string(text), "WebSocket") {
			t.Fatalf("got %d %q", resp.StatusCode, text)
		}
	}
}

// opening is a WebSocket's handshake.
const opening = "GET /test HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"

// runEarly: what comes in one piece with the request is read first.
func runEarly(t *testing.T, st Stack) {
	s := st.Start(t, handler.HandlerFunc(Echo))
	nc, err := s.dialRaw()
	check(t, err)
	defer nc.Close()
	const n = 20
	request := opening
	var want []byte
	for i := range n { // text frames, masked with zeros, and without a mask
		request += "\x81\x87\x00\x00\x00\x00early" + string(rune('a'+i)) + "!"
		want = append(want, "\x81\x07early"+string(rune('a'+i))+"!"...)
	}
	_, err = io.WriteString(nc, request)
	check(t, err)
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	check(t, err)
	check(t, resp.Body.Close())
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %d", resp.StatusCode)
	}
	got := make([]byte, len(want))
	_, err = io.ReadFull(br, got)
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
}

// runStalled: peers that never read delay nobody, hold little, and lose nothing that was
// taken for them.
func runStalled(t *testing.T, st Stack) {
	s := st.Start(t, handler.HandlerFunc(Echo), handler.WithFlushWorkers(1), handler.WithOverflow(handler.DropNewest()))
	healthy := s.Dial(t)
	answered(t, healthy, []byte("connected"))
	var stalled []*Client
	var resume []func()
	accepted := make([]int, 2)
	for i := range accepted {
		known := make(map[string]bool)
		for ses := range s.Endpoint.Sessions().All() {
			known[ses.ID()] = true
		}
		c := s.Dial(t)
		answered(t, c, []byte("connected"))
		p, ok := transport.As[transport.Pauser](c.Conn())
		if !ok {
			t.Fatal("the dialer's Conn can't pause")
		}
		p.Pause()
		stalled, resume = append(stalled, c), append(resume, p.Resume)
		for ses := range s.Endpoint.Sessions().All() {
			for dropped := 0; !known[ses.ID()] && dropped < 3; {
				m := numbered(accepted[i])
				if status, _ := ses.Send(m); status == handler.Dropped {
					dropped++
					continue
				}
				if accepted[i]++; accepted[i] > 1024 {
					t.Fatal("16 MiB went to a peer that never reads")
				}
			}
		}
		answered(t, healthy, []byte("replies go on"))
	}
	for i, c := range stalled {
		resume[i]()
		for want := range accepted[i] {
			m, err := c.Receive()
			check(t, err)
			if !bytes.Equal(m.Body, numbered(want).Body) {
				t.Fatalf("message %d is %.10q", want, m.Body)
			}
		}
	}
}

// numbered is a message that fills buffers quickly, also where they are compressed.
func numbered(i int) *subprotocol.Message {
	body := make([]byte, 16<<10)
	random := rand.New(rand.NewPCG(1, uint64(i)))
	for i := range body {
		body[i] = ' ' + byte(random.IntN(64))
	}
	return &subprotocol.Message{Kind: subprotocol.KindDeliver, Type: transport.MessageText, Body: body}
}

// disconnects is Echo, and tells why sessions have ended.
func disconnects(causes chan<- error) handler.Handler {
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindDisconnect {
			causes <- context.Cause(ctx)
		}
		return Echo(ctx, r)
	})
}

// runEnds: either side may close, with a code that the other one learns.
func runEnds(t *testing.T, st Stack) {
	causes := make(chan error, 8)
	s := st.Start(t, disconnects(causes))
	c := s.Dial(t)
	answered(t, c, []byte("hello"))
	check(t, c.Close(4001, "bye"))
	if err := <-causes; !st.Stream && !st.Requests && transport.CloseStatus(err) != 4001 {
		t.Fatalf("the server learned %v", err)
	}
	if err := c.Closed(); !errors.Is(err, transport.ErrLocalClose) {
		t.Fatalf("the client's end is %v", err)
	}

	c = s.Dial(t)
	answered(t, c, []byte("hello"))
	for ses := range s.Endpoint.Sessions().All() {
		_ = ses.Close(4002, "done") // one may be on its way out
	}
	if err := <-causes; !errors.Is(err, transport.ErrLocalClose) {
		t.Fatalf("the server's end is %v", err)
	}
	said := c.Closed()
	if ce, ok := errors.AsType[*transport.CloseError](said); !st.Stream && (!ok || ce.Code != 4002 || ce.Reason != "done") {
		t.Fatalf("the client learned %v", said)
	}

	c = s.Dial(t)
	answered(t, c, []byte("hello"))
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	check(t, s.Endpoint.Shutdown(ctx))
	if err := <-causes; !errors.Is(err, handler.ErrShutdown) {
		t.Fatalf("the cause is %v", err)
	}
	if err := c.Closed(); !st.Stream && transport.CloseStatus(err) != transport.StatusGoingAway {
		t.Fatalf("the client learned %v", err)
	}
}

// runVanishes: a connection that breaks ends its session, and nothing else.
func runVanishes(t *testing.T, st Stack) {
	causes := make(chan error, 1)
	s := st.Start(t, disconnects(causes))
	other := s.Dial(t)
	c, err := s.DialWith(&DialOptions{Cuttable: true})
	check(t, err)
	answered(t, c, []byte("hello"))
	c.Cut()
	if end, ok := errors.AsType[*transport.EndError](<-causes); !ok || end.Code != transport.StatusAbnormalClosure {
		t.Fatalf("the server learned %v", end)
	}
	answered(t, other, []byte("still here"))
}

// runGone: a client that goes away before it has its answer leaves nothing behind.
func runGone(t *testing.T, st Stack) {
	asked, gone := make(chan struct{}), make(chan struct{})
	s := st.Start(t, handler.HandlerFunc(Echo), handler.WithMaxSessions(1), handler.WithAccept(
		func(_ context.Context, _ *handler.Session, h *transport.Handshake) error {
			if h.Host == "localhost" {
				close(asked)
				<-gone
			}
			return nil
		}))
	nc, err := s.dialRaw()
	check(t, err)
	_, err = io.WriteString(nc, opening)
	check(t, err)
	<-asked
	socket := nc
	if tc, ok := nc.(*tls.Conn); ok {
		socket = tc.NetConn()
	}
	check(t, socket.(*net.TCPConn).SetLinger(0)) // the end is a reset
	check(t, socket.Close())
	close(gone)
	if !within(Timeout, func() bool {
		is := s.Endpoint.Stats()
		return is.Accepted == 1 && is.Aborted+is.Ended == 1 && is.Live == 0
	}) {
		t.Fatalf("the session is not let go of: %+v", s.Endpoint.Stats())
	}
	answered(t, s.Dial(t), []byte("the slot is free"))
}
