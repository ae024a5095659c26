package sockjs

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is an acceptor that admits everybody from everywhere.
type app struct {
	open    func(p *peer)
	receive func(p *peer, m transport.Message)
	accept  func(h *transport.Handshake) error
	origin  func(h *transport.Handshake) error
	peers   chan *peer // if not nil, each that was opened
}

func (a *app) Accept(h *transport.Handshake) (transport.Admission, error) {
	if a.accept != nil {
		if err := a.accept(h); err != nil {
			return nil, err
		}
	}
	return &peer{app: a, closed: make(chan error, 1)}, nil
}

func (a *app) CheckOrigin(h *transport.Handshake) error {
	if a.origin != nil {
		return a.origin(h)
	}
	return nil
}

// peer is the server's end of a session, with a queue.
type peer struct {
	app    *app
	conn   transport.Conn
	closed chan error

	mu       sync.Mutex
	queue    []transport.Message
	writing  bool
	again    bool
	received int
	written  int // messages that Write has taken
}

func (p *peer) SubProtocol() string { return "" }
func (p *peer) Abort(err error)     { p.closed <- err }

func (p *peer) Open(c transport.Conn) transport.Receiver {
	p.conn = c
	if p.app.open != nil {
		p.app.open(p)
	}
	if p.app.peers != nil {
		p.app.peers <- p
	}
	return p
}

func (p *peer) Receive(m transport.Message) {
	if p.app.receive != nil {
		p.app.receive(p, m)
		return
	}
	p.send(string(m.Data))
}

func (p *peer) Writable() { go p.flush() }

func (p *peer) Closed(err error) { p.closed <- err }

// send queues and writes what can be written.
func (p *peer) send(texts ...string) {
	p.mu.Lock()
	for _, s := range texts {
		p.queue = append(p.queue, transport.Message{Type: transport.MessageText, Data: []byte(s)})
	}
	p.mu.Unlock()
	p.flush()
}

func (p *peer) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writing {
		p.again = true
		return
	}
	p.writing = true
	for p.again = true; p.again && len(p.queue) > 0; {
		p.again = false
		batch := p.queue
		p.mu.Unlock()
		n, err := p.conn.Write(batch)
		p.mu.Lock()
		p.queue = p.queue[n:]
		p.written += n
		if err != nil {
			p.queue = nil
		}
		if n == len(batch) {
			p.again = true
		}
	}
	p.writing = false
}

// ended waits for Closed.
func (p *peer) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.closed:
		return err
	case <-time.After(10 * time.Second):
		require.Fail(t, "Closed has not come")
		return nil
	}
}

func endpoint(tr *Transport, a *app) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tr.ServeHTTP(w, r, a) })
}

// engines are what carries the WebSockets.
var engines = map[string]func() transport.Transport{
	"gobwas":  func() transport.Transport { return gobwas.New(nil) },
	"gorilla": func() transport.Transport { return gorilla.New(nil) },
}

// service is a server with the protocol's test services.
type service struct {
	*httptest.Server
	t *testing.T
}

const clientURL = "/lib/sockjs.js"

func newService(t *testing.T, ws transport.Transport) *service {
	echo := &app{}
	closing := &app{open: func(p *peer) { _ = p.conn.Close(3000, "Go away!") }}
	var h http.Handler
	for _, m := range []struct {
		prefix string
		app    *app
		opts   Options
	}{
		{"/echo", echo, Options{ResponseLimit: 4096}},
		{"/close", closing, Options{}},
		{"/disabled_websocket_echo", echo, Options{NoWebSocket: true}},
		{"/cookie_needed_echo", echo, Options{CookieNeeded: true}},
	} {
		m.opts.ClientURL = clientURL
		m.opts.DisconnectDelay = time.Second
		h = Mount(m.prefix, endpoint(New(ws, &m.opts), m.app), h)
	}
	s := &service{httptest.NewServer(h), t}
	t.Cleanup(s.Close)
	return s
}

// answer is a whole answer.
type answer struct {
	*http.Response
	body string
}

func (a *answer) header(name string) string { return a.Header.Get(name) }

// do makes a request on a connection of its own. Headers are pairs; an empty value sends
// the name alone.
func (s *service) do(method, path, body string, headers ...string) *answer {
	s.t.Helper()
	nc, br := s.request("1.1", method, path, body, append(headers, "Connection", "close")...)
	defer nc.Close()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	require.NoError(s.t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return &answer{resp, string(got)}
}

// request writes a request.
func (s *service) request(version, method, path, body string, headers ...string) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(s.t, err)
	require.NoError(s.t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	writeRequest(s.t, nc, version, method, path, s.Listener.Addr().String(), body, headers...)
	return nc, bufio.NewReader(nc)
}

func writeRequest(t *testing.T, w io.Writer, version, method, path, host, body string, headers ...string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/%s\r\nHost: %s\r\n", method, path, version, host)
	for i := 0; i < len(headers); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", headers[i], headers[i+1])
	}
	if method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	_, err := io.WriteString(w, b.String())
	require.NoError(t, err)
}

func (s *service) get(path string, headers ...string) *answer {
	s.t.Helper()
	return s.do(http.MethodGet, path, "", headers...)
}

func (s *service) post(path, body string, headers ...string) *answer {
	s.t.Helper()
	return s.do(http.MethodPost, path, body, headers...)
}

func (s *service) options(path string, headers ...string) *answer {
	s.t.Helper()
	return s.do(http.MethodOptions, path, "", headers...)
}

// form posts d to jsonp_send.
func (s *service) form(path, body string) *answer {
	s.t.Helper()
	return s.post(path, body, "Content-Type", "application/x-www-form-urlencoded")
}

// gives expects a status and a body.
func (s *service) gives(a *answer, status int, body string) {
	s.t.Helper()
	require.Equal(s.t, status, a.StatusCode)
	require.Equal(s.t, body, a.body)
}

// stream is an answer that is read chunk by chunk.
type stream struct {
	net.Conn
	t      *testing.T
	br     *bufio.Reader
	status string
	header textproto.MIMEHeader
}

func (s *service) stream(version, method, path string, headers ...string) *stream {
	s.t.Helper()
	nc, br := s.request(version, method, path, "", headers...)
	s.t.Cleanup(func() { nc.Close() })
	tp := textproto.NewReader(br)
	line, err := tp.ReadLine()
	require.NoError(s.t, err)
	_, status, _ := strings.Cut(line, " ")
	header, err := tp.ReadMIMEHeader()
	require.NoError(s.t, err)
	return &stream{nc, s.t, br, status[:3], header}
}

// chunk reads one, "" at the end.
func (s *stream) chunk() string {
	s.t.Helper()
	line, err := s.br.ReadString('\n')
	require.NoError(s.t, err)
	n, err := strconv.ParseUint(strings.TrimSpace(line), 16, 32)
	require.NoError(s.t, err)
	p := make([]byte, n+2)
	_, err = io.ReadFull(s.br, p)
	require.NoError(s.t, err)
	require.Equal(s.t, "\r\n", string(p[n:]))
	return string(p[:n])
}

// bytes reads n bytes of an answer without chunks.
func (s *stream) bytes(n int) string {
	s.t.Helper()
	p := make([]byte, n)
	_, err := io.ReadFull(s.br, p)
	require.NoError(s.t, err)
	return string(p)
}

// over expects the end of the connection.
func (s *stream) over() {
	s.t.Helper()
	_, err := s.br.ReadByte()
	require.ErrorIs(s.t, err, io.EOF)
}

// socket is a WebSocket to the server.
type socket struct {
	*websocket.Conn
	t *testing.T
}

func (s *service) socket(path string) *socket {
	s.t.Helper()
	c, resp, err := websocket.DefaultDialer.Dial("ws://"+s.Listener.Addr().String()+path, nil)
	require.NoError(s.t, err)
	resp.Body.Close()
	require.NoError(s.t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	s.t.Cleanup(func() { c.Close() })
	return &socket{c, s.t}
}

func (s *socket) recv() string {
	s.t.Helper()
	_, p, err := s.ReadMessage()
	require.NoError(s.t, err)
	return string(p)
}

func (s *socket) send(text string) {
	s.t.Helper()
	require.NoError(s.t, s.WriteMessage(websocket.TextMessage, []byte(text)))
}

var ids struct {
	sync.Mutex
	n int
}

// fresh returns the path of a new session.
func fresh(base string) string {
	ids.Lock()
	defer ids.Unlock()
	ids.n++
	return fmt.Sprintf("%s/000/s%d", base, ids.n)
}

func unquoteForm(s string) string { return "d=" + url.QueryEscape(s) }
