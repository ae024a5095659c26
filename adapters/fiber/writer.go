package fiber

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gofiber/fiber/v3/log"
	"github.com/valyala/fasthttp"
)

// writer is the http.ResponseWriter of one request. The endpoint runs on a goroutine of its
// own, because fasthttp hands the connection over only when the handler has
// returned; whichever comes first decides, the endpoint's answer or its Hijack.
type writer struct {
	timeout time.Duration
	decided chan struct{}  // closed when the endpoint has hijacked or returned
	conns   chan takenOver // what Hijack waits for
	over    chan struct{}  // closed when nobody waits for the connection any more
	giveUp  func()         // closes over

	// The endpoint's goroutine's, and the handler's from decided on unless hijacked is set.
	header   http.Header
	status   int // 0 until there is an answer
	body     []byte
	hijacked bool
	panicked any
}

// takenOver is a connection and what came behind the request.
type takenOver struct {
	nc    net.Conn
	early []byte
}

var _ http.Hijacker = (*writer)(nil)

func newWriter(timeout time.Duration) *writer {
	over := make(chan struct{})
	return &writer{
		timeout: timeout, decided: make(chan struct{}), conns: make(chan takenOver),
		over: over, giveUp: sync.OnceFunc(func() { close(over) }), header: make(http.Header),
	}
}

// serve has h answer.
func (w *writer) serve(h http.Handler, r *http.Request) {
	defer func() {
		v := recover()
		if !w.hijacked {
			w.panicked = v
			close(w.decided)
		} else if v != nil { // as net/http does: the handler has returned
			log.Errorf("fiber: panic serving %s: %v", r.RemoteAddr, v)
		}
	}()
	h.ServeHTTP(w, r)
}

// Header is the response's.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader sets the status, once.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write adds to the body.
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, p...)
	return len(p), nil
}

// answer copies the response. There is none if the endpoint's goroutine was ended.
func (w *writer) answer(resp *fasthttp.Response) {
	if w.status == 0 {
		w.status = http.StatusInternalServerError
	}
	resp.SetStatusCode(w.status)
	for name, values := range w.header {
		for _, v := range values {
			resp.Header.Add(name, v)
		}
	}
	resp.SetBody(w.body)
}

// Hijack waits for the connection.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked {
		return nil, nil, http.ErrHijacked
	}
	w.hijacked = true
	close(w.decided)
	timer := time.NewTimer(w.timeout)
	defer timer.Stop()
	select {
	case t := <-w.conns:
		early := bufio.NewReaderSize(bytes.NewReader(t.early), len(t.early))
		_, _ = early.Peek(len(t.early)) // a hijacker looks at what is Buffered
		return t.nc, bufio.NewReadWriter(early, bufio.NewWriter(t.nc)), nil
	case <-w.over:
	case <-timer.C:
		w.giveUp()
	}
	return nil, nil, errKept
}

// handOver is given the connection by fasthttp, on a goroutine that is not the handler's.
// keeps says that fasthttp does not close it when handOver returns.
func (w *writer) handOver(hijacked net.Conn, keeps bool) {
	nc := hijacked
	if u, ok := nc.(interface{ UnsafeConn() net.Conn }); ok {
		nc = u.UnsafeConn()
	}
	t := takenOver{nc: nc, early: readAhead(hijacked, nc)}
	var h *held
	if !keeps {
		h = &held{Conn: nc, closed: make(chan struct{})}
		h.close = sync.OnceFunc(func() { close(h.closed) })
		t.nc = h
		if half, ok := nc.(closeWriter); ok {
			t.nc = &heldHalf{h, half}
		}
	}
	select {
	case w.conns <- t:
		if h != nil {
			<-h.closed
		}
	case <-w.over:
		nc.Close()
	}
}

// readAhead returns what fasthttp had read of the connection besides the request, which is
// what there is to read when nothing can be waited for.
func readAhead(hijacked, nc net.Conn) []byte {
	if nc.SetReadDeadline(time.Unix(1, 0)) != nil {
		return nil // it is over, and the transport will see
	}
	defer nc.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	early, _ := io.ReadAll(hijacked)
	return early
}

// held is a connection that fasthttp closes once Close was called. Closing it here too would
// be once too often: wrappers of fasthttp's own, for limits per address, are used again.
type held struct {
	net.Conn
	closed chan struct{}
	close  func()
}

// Close has the connection closed.
func (h *held) Close() error {
	_ = h.SetDeadline(time.Unix(1, 0)) // ends what waits
	h.close()
	return nil
}

type closeWriter interface{ CloseWrite() error }

// heldHalf is a connection that can end its write half alone.
type heldHalf struct {
	*held
	closeWriter
}
