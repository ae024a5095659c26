package sockjs

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A kind is one of the protocol's ways to receive.
type kind struct {
	id          legID
	contentType string
	poll        bool // one frame, then the response ends
	callback    bool // the request names a function
	prelude     func(callback string) string
	end         string // of a frame of a stream, and nowhere in it
	wrap        func(dst, frame []byte, callback string) []byte
}

const javascript = "application/javascript;charset=UTF-8"

func wrapLine(dst, frame []byte, _ string) []byte { return append(append(dst, frame...), '\n') }

var (
	xhr          = &kind{id: legXHR, contentType: javascript, poll: true, wrap: wrapLine}
	xhrStreaming = &kind{id: legXHRStreaming, contentType: javascript, wrap: wrapLine, end: "\n",
		prelude: func(string) string { return strings.Repeat("h", 2048) + "\n" }}
	eventSource = &kind{id: legEventSource, contentType: "text/event-stream", end: "\r\n\r\n",
		prelude: func(string) string { return "\r\n" },
		wrap: func(dst, frame []byte, _ string) []byte {
			return append(appendPercent(append(dst, "data: "...), frame), "\r\n\r\n"...)
		}}
	htmlFile = &kind{id: legHTMLFile, contentType: "text/html;charset=UTF-8", callback: true, prelude: htmlPage, end: "</script>\r\n",
		wrap: func(dst, frame []byte, _ string) []byte {
			dst = appendScript(append(dst, "<script>\np("...), frame)
			return append(dst, ");\n</script>\r\n"...)
		}}
	jsonp = &kind{id: legJSONP, contentType: javascript, poll: true, callback: true,
		wrap: func(dst, frame []byte, callback string) []byte {
			dst = append(append(append(dst, "/**/"...), callback...), '(')
			return append(appendScript(dst, frame), ");\r\n"...)
		}}
)

// A leg is a receive request. Its goroutine is the request's.
type leg struct {
	kind     *kind
	opts     *options
	buffers  *buffers
	w        http.ResponseWriter
	rc       *http.ResponseController
	ctx      context.Context
	callback string
	wake     chan struct{} // has room for one

	// The request's goroutine alone.
	sent  int  // bytes of frames
	begun bool // the response
}

// newLeg returns the leg of a receive request, unless it had to answer it.
func (t *Transport) newLeg(k *kind, w http.ResponseWriter, q *request) (*leg, bool) {
	callback := ""
	if k.callback {
		var bad string
		if callback, bad = q.callback(); bad != "" {
			fail(w, http.StatusInternalServerError, bad)
			return nil, false
		}
	}
	if !t.drain(w, q.Request) {
		return nil, false
	}
	l := &leg{
		kind: k, opts: &t.opts, buffers: &t.buffers, w: w, rc: http.NewResponseController(w), ctx: q.Context(),
		callback: callback, wake: make(chan struct{}, 1),
	}
	// The timeouts of a server would end a request that waits. Not every writer has
	// deadlines.
	_ = l.rc.SetReadDeadline(time.Time{})
	_ = l.rc.SetWriteDeadline(time.Time{})
	return l, true
}

// maxEnd is at least as long as the end of any frame.
const maxEnd = 16

// awake makes the request's goroutine look again.
func (l *leg) awake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// kill fails a write that is under way.
func (l *leg) kill() { _ = l.rc.SetWriteDeadline(time.Unix(1, 0)) }

// last reports whether a frame of n bytes is the last one of this response.
func (l *leg) last(n int) bool {
	if l.kind.poll {
		return true
	}
	const overhead = 8 // of the shortest wrapping, near enough
	return l.sent+n+overhead >= l.opts.ResponseLimit
}

// start begins the response of a stream; a poll begins with its frame.
func (l *leg) start() error {
	h := l.w.Header()
	h.Set("Content-Type", l.kind.contentType)
	if l.kind.poll {
		return nil
	}
	h.Set("X-Accel-Buffering", "no") // nginx passes each frame on as it comes
	l.begun = true
	return l.out([]byte(l.kind.prelude(l.callback)), false)
}

// write sends a frame.
func (l *leg) write(frame []byte, last bool) error {
	buf := l.buffers.get()
	defer l.buffers.put(buf)
	p := l.kind.wrap((*buf)[:0], frame, l.callback)
	*buf = p
	if l.kind.poll {
		l.begun = true
		l.w.Header().Set("Content-Length", strconv.Itoa(len(p)))
	}
	l.sent += len(p)
	return l.out(p, last)
}

// out writes p and sees to it that it leaves.
func (l *leg) out(p []byte, last bool) error {
	if l.opts.WriteTimeout > 0 {
		_ = l.rc.SetWriteDeadline(time.Now().Add(l.opts.WriteTimeout))
		if !last { // HTTP/2 ends a stream whose deadline passes, whether it writes or not
			defer l.rc.SetWriteDeadline(time.Time{}) //nolint:errcheck // as above
		}
	}
	if _, err := l.w.Write(p); err != nil {
		return err
	}
	err := l.rc.Flush()
	if l.kind.poll && errors.Is(err, http.ErrNotSupported) {
		return nil // the end of the request does it
	}
	return err
}

// receive answers a receive request of a session that there is, or opens one.
func (t *Transport) receive(k *kind, w http.ResponseWriter, q *request) {
	l, ok := t.newLeg(k, w, q)
	if !ok {
		return
	}
	s, fresh := t.session(q.key, k.id)
	if s == nil {
		unavailable(w)
		return
	}
	t.stats.enter(k.id)
	defer t.stats.leave(k.id)
	if fresh {
		s.begin(l, w, q.handshake(), q.acceptor)
		return
	}
	if err := l.start(); err != nil {
		return
	}
	if goodbye := s.attach(l); goodbye != nil {
		_ = l.write(goodbye, true)
		return
	}
	s.serve(l)
}
