package sockjs

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// errOver is what methods return once the connection is over.
var errOver = fmt.Errorf("sockjs: %w", net.ErrClosed)

// A framing is what a WebSocket carries in one direction and the other.
type framing struct {
	head   string                              // how an array begins that this side sends
	size   int                                 // what fits into it, in bytes
	byes   bool                                // this side sends close frames
	decode func(p []byte) (f frame, err error) // what the other side sends
}

var (
	serverFraming = framing{head: "a[", size: maxFrame, byes: true, decode: func(p []byte) (frame, error) {
		messages, err := decodeMessages(p)
		return frame{kind: 'a', messages: messages}, err
	}}
	clientFraming = framing{head: "[", size: maxSend, decode: parseFrame}
)

// framed is a session on a WebSocket: the Conn that the application has, and the Receiver
// of the WebSocket.
type framed struct {
	inner    transport.Conn
	framing  *framing
	limit    int // of a message that comes, in bytes
	buffers  *buffers
	patience time.Duration           // how long a close frame waits for room
	leaving  atomic.Pointer[leaving] // once it does
	in       inbox
	ended    func()     // called once, at the end; may be nil
	opened   chan error // the client's: has what became of the open frame; it has room for one

	mu      sync.Mutex // held to write, so that a close frame comes last
	greeted bool       // opened was filled
	closing bool
	cause   *transport.EndError   // why this side ends the connection, if Close was not called
	said    *transport.CloseError // the peer's close frame
	local   *transport.EndError   // how Close has ended the connection
	one     [1]transport.Message  // what inner.Write is given
}

var (
	_ transport.Conn     = (*framed)(nil)
	_ transport.Yielder  = (*framed)(nil)
	_ transport.Pauser   = (*framed)(nil)
	_ transport.Receiver = (*framed)(nil)
)

// TransportName is that of TransportNamer.
func (f *framed) TransportName() string { return nameWebSocket }

// Unwrap returns the WebSocket, whose Ping and RoundTrip are this connection's too.
func (f *framed) Unwrap() transport.Conn { return f.inner }

// SubProtocol is the WebSocket's.
func (f *framed) SubProtocol() string { return f.inner.SubProtocol() }

// send writes one WebSocket message.
func (f *framed) send(m transport.Message) (bool, error) {
	f.one[0] = m
	n, err := f.inner.Write(f.one[:])
	f.one[0] = transport.Message{}
	return n == 1, err
}

// Write sends the batch in as few arrays as their size allows.
func (f *framed) Write(batch []transport.Message) (accepted int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return 0, errOver
	}
	for accepted < len(batch) {
		n, err := f.writeArray(batch[accepted:])
		accepted += n
		if err != nil || n == 0 {
			return accepted, err
		}
	}
	return accepted, nil
}

func (f *framed) writeArray(batch []transport.Message) (int, error) {
	buf := f.buffers.get()
	defer f.buffers.put(buf)
	if m := &batch[0]; len(batch) == 1 && m.Shared != nil && m.Type == transport.MessageText {
		*buf = append(append((*buf)[:0], f.framing.head...), '"')
		*buf = appendEscaped(*buf, m.Head)
		ok, err := f.send(quotedForm(m).Message(*buf))
		if !ok {
			return 0, err
		}
		return 1, err
	}
	p, n, bad := appendArray((*buf)[:0], f.framing.head, f.framing.size, batch)
	*buf = p
	if n == 0 {
		return 0, bad
	}
	ok, err := f.send(transport.Message{Type: transport.MessageText, Data: p})
	if !ok {
		return 0, err
	}
	return n, errors.Join(bad, err)
}

// Close sends a close frame, as soon as there is room for it, and closes the WebSocket with
// the same code, after the patience for that at the latest.
func (f *framed) Close(code transport.StatusCode, reason string) error {
	if err := transport.CheckClose(code, reason); err != nil {
		return err
	}
	return f.end(code, reason, nil)
}

func (f *framed) end(code transport.StatusCode, reason string, cause *transport.EndError) error {
	f.mu.Lock()
	if f.closing {
		f.mu.Unlock()
		return errOver
	}
	f.closing = true
	f.cause = cause
	f.local = &transport.EndError{Code: code, Err: transport.ErrLocalClose}
	f.in.discard()
	said, late := false, false
	if f.framing.byes && (cause == nil || !errors.Is(cause, errBroken)) {
		bye := transport.Message{Type: transport.MessageText, Data: appendClose(nil, code, reason)}
		var err error
		said, err = f.send(bye)
		if late = !said && err == nil; late {
			l := &leaving{room: make(chan struct{}, 1), over: make(chan struct{})}
			l.room <- struct{}{} // it may have come already
			f.leaving.Store(l)
			go f.leave(l, bye, code, reason)
		}
	}
	f.mu.Unlock()
	if late {
		return nil
	}
	if err := f.inner.Close(code, reason); err != nil && !said { // the peer may answer that frame at once
		return err
	}
	return nil
}

// leaving is what the goroutine of a close frame that did not fit waits for.
type leaving struct {
	room chan struct{} // has room for one
	over chan struct{}
}

func (f *framed) leave(l *leaving, bye transport.Message, code transport.StatusCode, reason string) {
	enough := time.NewTimer(f.patience)
	defer enough.Stop()
	for waits := true; waits; {
		select {
		case <-l.room:
			f.mu.Lock()
			ok, err := f.send(bye)
			f.mu.Unlock()
			waits = !ok && err == nil
		case <-enough.C:
			waits = false
		case <-l.over:
			return
		}
	}
	_ = f.inner.Close(code, reason)
}

// Yield is that of the contract.
func (f *framed) Yield() bool {
	ok, inline := f.in.yield()
	if inline {
		if y, has := transport.As[transport.Yielder](f.inner); has {
			y.Yield()
		}
	}
	return ok
}

// Pause is that of the contract.
func (f *framed) Pause() {
	f.in.pause()
	if p, ok := transport.As[transport.Pauser](f.inner); ok {
		p.Pause()
	}
}

// Resume is that of the contract.
func (f *framed) Resume() {
	f.in.resume()
	if p, ok := transport.As[transport.Pauser](f.inner); ok {
		p.Resume()
	}
}

// Receive takes a frame apart.
func (f *framed) Receive(m transport.Message) {
	if f.in.over() {
		return
	}
	got, err := frame{}, errBroken
	if m.Type == transport.MessageText {
		got, err = f.framing.decode(m.Data)
	}
	if err == nil && f.opened != nil {
		err = f.note(got)
	}
	if err != nil {
		_ = f.end(transport.StatusProtocolError, "broken framing", &transport.EndError{Code: transport.StatusProtocolError, Err: err})
		return
	}
	if got.kind == 'c' {
		_ = f.inner.Close(transport.StatusNormalClosure, "")
		return
	}
	list, big := cut(got.messages, f.limit)
	switch {
	case len(list) == 1 && f.in.pass(transport.Message{Type: transport.MessageText, Data: list[0]}):
	case len(list) > 0:
		// A Receive among these may yield, and m.Data end before the others begin.
		for i := range list {
			list[i] = bytes.Clone(list[i])
		}
		<-f.in.push(list)
	}
	if big {
		_ = f.end(transport.StatusMessageTooBig, "message too big",
			&transport.EndError{Code: transport.StatusMessageTooBig, Err: transport.ErrMessageTooBig})
	}
}

// note is what a client does with a frame besides receiving its messages.
func (f *framed) note(got frame) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case got.kind == 'c' && !f.closing:
		f.closing = true
		f.said = new(transport.CloseError)
		*f.said = got.close
	case got.kind == 'o' && f.greeted:
		return errLost
	case got.kind == 'o':
		f.greeted = true
		f.opened <- nil
	case !f.greeted && got.kind == 'a':
		return errNotOpen
	}
	return nil
}

// Writable passes on that there is room.
func (f *framed) Writable() {
	if l := f.leaving.Load(); l != nil {
		select {
		case l.room <- struct{}{}:
		default:
		}
		return
	}
	f.in.notify(1)
}

// Closed ends the session, with what this protocol knows of the reason.
func (f *framed) Closed(err error) {
	f.mu.Lock()
	f.closing = true
	if l := f.leaving.Load(); l != nil {
		close(l.over)
	}
	switch {
	case f.cause != nil:
		err = f.cause
	case f.said != nil:
		err = f.said
	case f.local != nil && transport.CloseStatus(err) != 0:
		err = f.local // the peer has answered the close frame of this protocol first
	}
	if f.opened != nil && !f.greeted {
		f.greeted = true
		f.opened <- err
	}
	f.mu.Unlock()
	if f.ended != nil {
		f.ended()
	}
	f.in.settle(err)
}

// webSocket opens a session on a WebSocket of the transport below. Each is a session of
// its own, whatever id the path has.
func (t *Transport) webSocket(w http.ResponseWriter, q *request) {
	t.upgrade(w, q, legWebSocket, func(c transport.Conn, a transport.Admission, ended func()) transport.Receiver {
		f := &framed{inner: c, framing: &serverFraming, limit: t.opts.MaxMessageSize, patience: t.opts.CloseTimeout, buffers: &t.buffers, ended: ended}
		_, _ = f.send(transport.Message{Type: transport.MessageText, Data: []byte(frameOpen)})
		f.in.open(a.Open(f))
		return f
	})
}

// rawWebSocket opens a session on a WebSocket without frames of this protocol.
func (t *Transport) rawWebSocket(w http.ResponseWriter, q *request) {
	t.upgrade(w, q, legRawWebSocket, func(c transport.Conn, a transport.Admission, ended func()) transport.Receiver {
		return &raw{a.Open(c), ended}
	})
}

// upgrade gives a request to the transport below. What is no opening handshake gets the
// status that the protocol asks for.
func (t *Transport) upgrade(w http.ResponseWriter, q *request, id legID, open opener) {
	switch {
	case !upgrade.HasToken(q.Header, "Upgrade", "websocket"):
		fail(w, http.StatusBadRequest, `Can "Upgrade" only to "WebSocket".`)
		return
	case !upgrade.HasToken(q.Header, "Connection", "upgrade"):
		fail(w, http.StatusBadRequest, `"Connection" must be "Upgrade".`)
		return
	}
	t.stats.legs[id].requests.Add(1)
	t.ws.ServeHTTP(w, q.Request, &gate{t, q, id, open})
}

type opener func(c transport.Conn, a transport.Admission, ended func()) transport.Receiver

// gate stands between the transport below and the acceptor.
type gate struct {
	t    *Transport
	q    *request
	id   legID
	open opener
}

// Accept shows the acceptor what it sees of other requests too.
func (g *gate) Accept(h *transport.Handshake) (transport.Admission, error) {
	own := *h
	own.Transport, own.Path = name, g.q.base
	a, err := g.q.acceptor.Accept(&own)
	if err != nil {
		return nil, err
	}
	return &admission{a, g.t, g.id, g.open}, nil
}

type admission struct {
	transport.Admission
	t    *Transport
	id   legID
	open opener
}

func (a *admission) Open(c transport.Conn) transport.Receiver {
	a.t.stats.opened(a.id)
	return a.open(c, a.Admission, func() { a.t.stats.ended(a.id) })
}

// raw counts the end of a session.
type raw struct {
	transport.Receiver
	ended func()
}

func (r *raw) Closed(err error) {
	r.ended()
	r.Receiver.Closed(err)
}
