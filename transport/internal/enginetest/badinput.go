package enginetest

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // the protocol's hash
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// RawDial connects to a server of serve, with TLS where its URL asks for it.
func RawDial(t testing.TB, url string) net.Conn {
	t.Helper()
	var nc net.Conn
	var err error
	if strings.HasPrefix(url, "wss") {
		nc, err = tls.Dial("tcp", HostOf(url), ClientTLS)
	} else {
		nc, err = net.Dial("tcp", HostOf(url))
	}
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	return nc
}

// AnswerTo sends a request and reads the answer with its body.
func AnswerTo(t testing.TB, url, request string) (*http.Response, string) {
	t.Helper()
	nc := RawDial(t, url)
	go func() { _, _ = io.WriteString(nc, request) }()
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	require.NoError(t, err)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

// request is UpgradeRequest with one line replaced, or added if old is "".
func request(old, new string) string {
	if old == "" {
		return strings.TrimSuffix(UpgradeRequest, "\r\n") + new + "\r\n\r\n"
	}
	if !strings.Contains(UpgradeRequest, old) {
		panic("no such line: " + old)
	}
	return strings.Replace(UpgradeRequest, old, new, 1)
}

func (e *Engine) testBadRequests(t *testing.T) {
	t.Parallel()
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	cases := map[string]struct {
		request    string
		http, bare int // status
	}{
		"good":                    {UpgradeRequest, 101, 101},
		"absolute URI":            {request("GET /chat", "GET http://127.0.0.1/chat?x=1"), 101, 101},
		"more tokens":             {request("Connection: Upgrade", "Connection: keep-alive, upgrade"), 101, 101},
		"any case":                {request("Upgrade: websocket", "uPGRADE: WebSocket"), 101, 101},
		"extension offered":       {request("", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-y; z=1"), 101, 101},
		"long line":               {request("", "X-Long: "+strings.Repeat("x", 7000)), 101, 101},
		"POST":                    {request("GET", "POST"), 405, 405},
		"no upgrade":              {request("Upgrade: websocket\r\n", ""), 426, 400},
		"other upgrade":           {request("Upgrade: websocket", "Upgrade: h2c"), 426, 400},
		"no connection":           {request("Connection: Upgrade\r\n", ""), 426, 400},
		"other connection":        {request("Connection: Upgrade", "Connection: close"), 426, 400},
		"version 8":               {request("Version: 13", "Version: 8"), 426, 426},
		"no version":              {request("Sec-WebSocket-Version: 13\r\n", ""), 426, 400},
		"no key":                  {request(key, ""), 400, 400},
		"empty key":               {request(key, "Sec-WebSocket-Key:\r\n"), 400, 400},
		"short key":               {request(key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ\r\n"), 400, 400},
		"long key":                {request(key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==AAAA\r\n"), 400, 400},
		"key of 17 bytes":         {request(key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=\r\n"), 400, 400},
		"key not base64":          {request(key, "Sec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==\r\n"), 400, 400},
		"two keys":                {request(key, key+key), 400, 400},
		"two different keys":      {request(key, key+"sec-websocket-key: AAAAIHNhbXBsZSBub25jZQ==\r\n"), 400, 400},
		"no host":                 {request("Host: 127.0.0.1\r\n", ""), 400, 400},
		"two hosts":               {request("", "Host: other"), 400, 400},
		"HTTP/1.0":                {request("HTTP/1.1", "HTTP/1.0"), 505, 505},
		"HTTP/2.0":                {request("HTTP/1.1", "HTTP/2.0"), 505, 505},
		"no version of HTTP":      {request(" HTTP/1.1", ""), 400, 400},
		"not HTTP":                {request("HTTP/1.1", "FTP/1.1"), 400, 400},
		"two spaces":              {request("GET /chat", "GET  /chat"), 400, 400},
		"no path":                 {request("GET /chat", "GET chat"), 400, 400},
		"garbage":                 {"\x16\x03\x01\x02garbage\r\n\r\n", 400, 400},
		"field without colon":     {request("", "X-Broken"), 400, 400},
		"field without name":      {request("", ": x"), 400, 400},
		"space before colon":      {request("", "X-Broken : x"), 400, 400},
		"folded":                  {request("", "X-Folded: a\r\n b"), 101, 400},
		"NUL in value":            {request("", "X-Broken: a\x00b"), 400, 400},
		"10,000 fields":           {request("", strings.Repeat("X-Many: "+strings.Repeat("1", 110)+"\r\n", 10_000)+"X-Last: 1"), 431, 431}, // over net/http's 1 MiB
		"one field that is large": {request("", "X-Long: "+strings.Repeat("x", 200_000)), 101, 431},
	}
	for _, kind := range e.plain() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var accepted atomic.Int32
			a := &acceptor{open: func(c transport.Conn) transport.Receiver { return newPatientEcho(c) }}
			a.check = func(h *transport.Handshake) (string, error) {
				accepted.Add(1)
				if h.Path != "/chat" {
					return "", &transport.Refusal{Status: 404, Text: "path is " + h.Path}
				}
				return "", nil
			}
			url := e.serve(t, kind, nil, a)
			for name, c := range cases {
				status := c.bare
				if kind == "http" {
					status = c.http
				}
				before := accepted.Load()
				resp, body := AnswerTo(t, url, c.request)
				require.Equal(t, status, resp.StatusCode, "%s: %s", name, body)
				switch status {
				case 101:
					require.Equal(t, before+1, accepted.Load(), name)
					require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept"), name)
					require.Empty(t, resp.Header.Values("Sec-WebSocket-Extensions"), name)
					require.Empty(t, resp.Header.Values("Sec-WebSocket-Protocol"), name)
				default:
					require.Equal(t, before, accepted.Load(), name)
					require.NotEmpty(t, body, name)
				}
				if name == "version 8" {
					require.Equal(t, "13", resp.Header.Get("Sec-WebSocket-Version"))
				}
				if name == "POST" {
					require.Equal(t, "GET", resp.Header.Get("Allow"))
				}
			}
		})
	}
}

// testPipelined sends frames in one piece with the request.
func (e *Engine) testPipelined(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			opened := make(chan *patientEcho, 1)
			url := e.serve(t, kind, nil, &acceptor{open: func(c transport.Conn) transport.Receiver {
				e := newPatientEcho(c)
				opened <- e
				return e
			}})
			for _, size := range []int{1, 100, 3000, 20_000} {
				for _, cut := range []int{0, 3, 10} { // of the last frame, sent later
					nc := RawDial(t, url)
					p := newPeer(t, nc, bufio.NewReader(nc), true)
					data := pattern(size)
					frames := append(Frame(fin|opText, data, true), Frame(fin|opPing, []byte("p"), true)...)
					last := Frame(fin|opBin, pattern(200), true)
					b := append(append([]byte(UpgradeRequest), frames...), last[:len(last)-cut]...)
					go func() { _, _ = nc.Write(b) }()
					resp, err := http.ReadResponse(p.br, nil)
					require.NoError(t, err)
					require.Equal(t, 101, resp.StatusCode)
					p.expect(opText, data)
					p.expect(opPong, []byte("p"))
					p.write(last[len(last)-cut:])
					p.expect(opBin, pattern(200))
					p.echo = wait(t, opened)
					p.finish()
				}
			}
		})
	}
}

func (e *Engine) testRefusedAccept(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			tr := e.New(nil, nil)
			url := e.serve(t, kind, nil, &acceptor{check: func(h *transport.Handshake) (string, error) {
				switch h.SubProtocols[0] {
				case "forbidden":
					return "", &transport.Refusal{Status: 403, Text: "not for you", Header: http.Header{"X-Why": {"because"}}}
				case "wrapped":
					return "", fmt.Errorf("outer: %w", &transport.Refusal{Status: 503, Text: "full"})
				case "long":
					return "", &transport.Refusal{Status: 400, Text: strings.Repeat("x", 5000)}
				case "odd":
					return "", &transport.Refusal{Status: 200, Text: "odd"}
				}
				return "", errors.New("secret")
			}})
			for offer, want := range map[string]struct {
				status int
				text   string
			}{
				"forbidden": {403, "not for you"},
				"wrapped":   {503, "full"},
				"long":      {400, strings.Repeat("x", 1024)},
				"odd":       {500, "odd"},
				"other":     {500, "Internal Server Error"},
			} {
				c, err := tr.Dial(context.Background(), url, &transport.DialConfig{SubProtocols: []string{offer}, TLS: ClientTLS},
					func(transport.Conn) transport.Receiver { panic("opened") })
				require.Nil(t, c)
				var refusal *transport.Refusal
				require.ErrorAs(t, err, &refusal, offer)
				require.Equal(t, want.status, refusal.Status, offer)
				require.Equal(t, want.text, refusal.Text, offer)
				if offer == "forbidden" {
					require.Equal(t, "because", refusal.Header.Get("X-Why"))
				}
			}
		})
	}
}

// counting counts what becomes of an admission.
type counting struct {
	open    func(transport.Conn) transport.Receiver
	hold    func(h *transport.Handshake)
	opens   atomic.Int32
	aborted chan error
}

func (a *counting) Accept(h *transport.Handshake) (transport.Admission, error) {
	if a.hold != nil {
		a.hold(h)
	}
	return a, nil
}
func (a *counting) SubProtocol() string { return "" }
func (a *counting) Open(c transport.Conn) transport.Receiver {
	a.opens.Add(1)
	return a.open(c)
}
func (a *counting) Abort(err error) { a.aborted <- err }

// testHandshakeContext: the context of a handshake ends with the client, on every way
// to serve.
func (e *Engine) testHandshakeContext(t *testing.T) {
	t.Parallel()
	for _, kind := range e.Kinds {
		if kind == "https-own" {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			entered, ended := make(chan struct{}), make(chan struct{})
			a := &acceptor{check: func(h *transport.Handshake) (string, error) {
				close(entered)
				<-h.Context.Done()
				close(ended)
				return "", h.Context.Err()
			}}
			// Long, so that it is not the timeout that ends the context.
			nc := RawDial(t, e.serve(t, kind, &duplex.Limits{HandshakeTimeout: time.Hour}, a))
			_, err := nc.Write([]byte(UpgradeRequest))
			require.NoError(t, err)
			wait(t, entered)
			nc.Close()
			wait(t, ended)
		})
	}
}

// brokenConn can't write.
type brokenConn struct{ net.Conn }

func (brokenConn) Write([]byte) (int, error) { return 0, errors.New("broken") }

// hijackable is a ResponseWriter whose connection can't write.
type hijackable struct{ http.ResponseWriter }

func (w hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	return brokenConn{nc}, rw, err
}

// plain hides everything but the methods of a ResponseWriter; wrapper shows it again.
type plain struct{ w http.ResponseWriter }

func (p plain) Header() http.Header         { return p.w.Header() }
func (p plain) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p plain) WriteHeader(status int)      { p.w.WriteHeader(status) }

type wrapper struct{ plain }

func (w wrapper) Unwrap() http.ResponseWriter { return w.w }

func (e *Engine) testResponseWriters(t *testing.T) {
	t.Parallel()
	tr := e.New(nil, nil)
	require.True(t, tr.Features().Upgrade)
	opened := make(chan struct{}, 8)
	a := &counting{aborted: make(chan error, 8), open: func(c transport.Conn) transport.Receiver {
		opened <- struct{}{}
		return newPatientEcho(c)
	}}
	var wrap atomic.Value
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr.ServeHTTP(wrap.Load().(func(http.ResponseWriter) http.ResponseWriter)(w), r, a)
	})}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close(); <-served })
	url := "ws://" + ln.Addr().String()

	wrap.Store(func(w http.ResponseWriter) http.ResponseWriter { return wrapper{plain{wrapper{plain{w}}}} })
	resp, _ := AnswerTo(t, url, UpgradeRequest)
	require.Equal(t, 101, resp.StatusCode)
	wait(t, opened)
	require.Empty(t, a.aborted)

	wrap.Store(func(w http.ResponseWriter) http.ResponseWriter { return plain{w} })
	resp, body := AnswerTo(t, url, UpgradeRequest)
	require.Equal(t, 500, resp.StatusCode)
	require.Contains(t, body, "Unwrap")
	require.Error(t, wait(t, a.aborted))

	wrap.Store(func(w http.ResponseWriter) http.ResponseWriter { return asserting{plain{w}} })
	resp, body = AnswerTo(t, url, UpgradeRequest)
	require.Equal(t, 500, resp.StatusCode)
	require.Contains(t, body, "can't hand over")
	require.ErrorContains(t, wait(t, a.aborted), "panicked")

	bare := &recorded{header: make(http.Header)}
	tr.ServeHTTP(bare, httptest.NewRequest(http.MethodGet, "/", nil), a)
	require.Equal(t, http.StatusUpgradeRequired, bare.status, "a refusal needs three methods")
	require.Contains(t, string(bare.body), "WebSocket")

	wrap.Store(func(w http.ResponseWriter) http.ResponseWriter { return hijackable{w} })
	nc := RawDial(t, url)
	_, err = nc.Write([]byte(UpgradeRequest))
	require.NoError(t, err)
	got, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Empty(t, got)
	require.Error(t, wait(t, a.aborted))
	require.Empty(t, a.aborted)
	require.EqualValues(t, 1, a.opens.Load())
}

// recorded is no more than a ResponseWriter must be.
type recorded struct {
	header http.Header
	status int
	body   []byte
}

func (w *recorded) Header() http.Header    { return w.header }
func (w *recorded) WriteHeader(status int) { w.status = status }

func (w *recorded) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}

// asserting is a Hijacker that relies on what it wraps.
type asserting struct{ http.ResponseWriter }

func (w asserting) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.ResponseWriter.(http.Hijacker).Hijack()
}

// testHalfAMessage: who begins a message must end it.
func (e *Engine) testHalfAMessage(t *testing.T) {
	t.Parallel()
	e.onBothSides(t, &duplex.Limits{MessageTimeout: 30 * time.Millisecond}, func(t *testing.T, open func(testing.TB) *peer) {
		for name, half := range map[string]func(masked bool) []byte{
			"one byte":       func(bool) []byte { return []byte{fin | opText} },
			"header":         func(m bool) []byte { return Announce(fin|opText, 100, m, 1) },
			"half a payload": func(m bool) []byte { return Frame(fin|opText, pattern(100), m)[:50] },
			"half a ping":    func(m bool) []byte { return Frame(fin|opPing, pattern(100), m)[:50] },
			"a fragment":     func(m bool) []byte { return Frame(opText, pattern(100), m) },
			"behind a message": func(m bool) []byte {
				return append(Frame(fin|opPong, nil, m), Frame(fin|opPing, pattern(100), m)[:50]...)
			},
		} {
			p := open(t)
			p.name = name
			p.write(half(p.client))
			p.expectClose(1008)
			p.expectEnd()
			p.nc.Close()
			require.ErrorIs(t, wait(t, p.echo.closed), transport.ErrTimeout, name)
		}
	})
}

func (e *Engine) testBadAnswers(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n"
	endless := strings.Repeat("X-Many: 1\r\n", 10_000)
	cases := map[string]struct{ answer, text string }{
		"garbage":                {"\x16\x03\x01\x02garbage\r\n\r\n", "malformed"},
		"nothing":                {"", "EOF"},
		"half":                   {head[:30], "EOF"},
		"half a header":          {head, "EOF"},
		"endless header":         {head + endless, "limit"},
		"endless line":           {head + "X-Long: " + strings.Repeat("x", 200_000), "limit"},
		"endless status line":    {strings.Repeat("HTTP/1.1 ", 30_000), "limit"},
		"wrong accept":           {strings.Replace(head, "ACCEPT", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 1) + "\r\n", "Accept"},
		"no accept":              {strings.Replace(head, "Sec-WebSocket-Accept: ACCEPT\r\n", "", 1) + "\r\n", "Accept"},
		"no upgrade":             {strings.Replace(head, "Upgrade: websocket\r\n", "", 1) + "\r\n", "Upgrade"},
		"no connection":          {strings.Replace(head, "Connection: Upgrade\r\n", "", 1) + "\r\n", "Connection"},
		"HTTP/1.0":               {strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n", "HTTP"},
		"unoffered sub-protocol": {head + "Sec-WebSocket-Protocol: other\r\n\r\n", "protocol"},
		"unoffered extension":    {head + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "handshake"},
		"other extension":        {head + "Sec-WebSocket-Extensions: x\r\n\r\n", "extension"},
		"redirect":               {"HTTP/1.1 302 Found\r\nLocation: ws://x/\r\nContent-Length: 0\r\n\r\n", "302"},
		"page":                   {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200"},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	for name, c := range cases {
		served := make(chan struct{})
		go func() {
			defer close(served)
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			r, err := http.ReadRequest(bufio.NewReader(nc))
			if err != nil {
				return
			}
			_, _ = io.WriteString(nc, strings.Replace(c.answer, "ACCEPT", AcceptOf(r), 1))
		}()
		conn, err := e.New(nil, nil).Dial(context.Background(), "ws://"+ln.Addr().String()+"/", &transport.DialConfig{SubProtocols: []string{"a", "b"}},
			func(transport.Conn) transport.Receiver { panic("opened") })
		require.Error(t, err, name)
		require.Nil(t, conn, name)
		require.Contains(t, err.Error(), c.text, name)
		wait(t, served)
	}
}

// AcceptOf is the Sec-WebSocket-Accept that r asks for.
func AcceptOf(r *http.Request) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // the protocol's hash
	return base64.StdEncoding.EncodeToString(sum[:])
}

// testDialNeverAnswered: neither ctx nor HandshakeTimeout lets a dial hang.
func (e *Engine) testDialNeverAnswered(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	open := func(transport.Conn) transport.Receiver { panic("opened") }
	for _, scheme := range []string{"ws://", "wss://"} {
		_, err = e.New(&duplex.Limits{HandshakeTimeout: 20 * time.Millisecond}, nil).Dial(context.Background(), scheme+ln.Addr().String(), nil, open)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			if nc, err := ln.Accept(); err == nil {
				defer nc.Close()
				_, _ = nc.Read(make([]byte, 1))
				cancel()
				_, _ = io.Copy(io.Discard, nc)
			}
		}()
		for { // the backlog still holds the connection of the first dial
			_, err = e.New(nil, nil).Dial(ctx, scheme+ln.Addr().String(), nil, open)
			if ctx.Err() != nil {
				break
			}
		}
		require.Error(t, err)
		cancel()
	}
}

func (e *Engine) testDialConfig(t *testing.T) {
	t.Parallel()
	tr := e.New(nil, nil)
	open := func(transport.Conn) transport.Receiver { panic("opened") }
	for _, url := range []string{"", "http://x/", "x", "ws://", "ws:///x", "ws://x/#frag", "ws://x/#", "ws://u:p@x/", "ws://x:port/", "ws://%zz/", "ws://x/\r\nY: z"} {
		_, err := tr.Dial(context.Background(), url, nil, open)
		require.ErrorContains(t, err, e.Name+": dial", url)
		require.NotContains(t, err.Error(), "u:p", "credentials")
	}
	for _, name := range []string{"Upgrade", "connection", "HOST", "Sec-WebSocket-Key", "sec-websocket-extensions", "Sec-Websocket-Protocol",
		"Content-Length", "Transfer-Encoding", "bad name", "bad:name", ""} {
		_, err := tr.Dial(context.Background(), "ws://127.0.0.1:1/", &transport.DialConfig{Header: http.Header{name: {"x"}}}, open)
		require.ErrorContains(t, err, "header", name)
	}
	_, err := tr.Dial(context.Background(), "ws://127.0.0.1:1/", &transport.DialConfig{Header: http.Header{"X-A": {"a\r\nX-B: b"}}}, open)
	require.ErrorContains(t, err, "header")
	for _, name := range []string{"", "a b", "a,b", "a\r\nb", "ä", "a/b"} {
		_, err := tr.Dial(context.Background(), "ws://127.0.0.1:1/", &transport.DialConfig{SubProtocols: []string{"ok", name}}, open)
		require.ErrorContains(t, err, "token", name)
	}
}

func (e *Engine) testKeyIsFresh(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	seen := map[string]bool{}
	for range 3 {
		keys := make(chan string, 1)
		go func() {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
			r, err := http.ReadRequest(bufio.NewReader(nc))
			if err == nil {
				keys <- r.Header.Get("Sec-WebSocket-Key")
			}
		}()
		_, err := e.New(nil, nil).Dial(context.Background(), "ws://"+ln.Addr().String(), nil, nil)
		require.Error(t, err)
		key := wait(t, keys)
		raw, err := base64.StdEncoding.DecodeString(key)
		require.NoError(t, err)
		require.Len(t, raw, 16)
		seen[key] = true
	}
	require.Len(t, seen, 3)
}
