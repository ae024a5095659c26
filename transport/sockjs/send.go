package sockjs

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"time"
	"unicode/utf8"

	"github.com/weftws/weft/transport"
)

// maxSends bounds the send requests of one session that run at once. A client has one.
const maxSends = 4

// errNotUTF8 is the cause of sessions whose client sent text that is none.
var errNotUTF8 = errors.New("sockjs: text message is not UTF-8")

// xhrSend takes messages: the body is an array.
func (t *Transport) xhrSend(w http.ResponseWriter, q *request) {
	s, done := t.sender(w, q)
	if s == nil {
		return
	}
	defer done()
	body, ok := t.body(w, q.Request)
	if ok && t.deliver(w, s, body) {
		w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
		w.WriteHeader(http.StatusNoContent)
	}
}

// jsonpSend takes messages out of a form or a text.
func (t *Transport) jsonpSend(w http.ResponseWriter, q *request) {
	s, done := t.sender(w, q)
	if s == nil {
		return
	}
	defer done()
	body, ok := t.body(w, q.Request)
	if !ok {
		return
	}
	if media, _, _ := mime.ParseMediaType(q.Header.Get("Content-Type")); media == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			fail(w, http.StatusInternalServerError, "Broken JSON encoding.")
			return
		}
		body = []byte(form.Get("d"))
	}
	if t.deliver(w, s, body) {
		fail(w, http.StatusOK, "ok")
	}
}

// sender finds the session that a send request is for, or answers it.
func (t *Transport) sender(w http.ResponseWriter, q *request) (s *session, done func()) {
	s = t.lookup(q.key)
	if s == nil {
		fail(w, http.StatusNotFound, "no such session")
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state > stateOpen:
		fail(w, http.StatusNotFound, "no such session")
		return nil, nil
	case s.sends == maxSends:
		unavailable(w)
		return nil, nil
	}
	s.sends++
	return s, s.sent
}

// sent notes that a send request is done, without the lock.
func (s *session) sent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sends--
}

// deliver hands the messages of a body to s, and waits until they are received.
func (t *Transport) deliver(w http.ResponseWriter, s *session, body []byte) bool {
	if len(body) == 0 {
		fail(w, http.StatusInternalServerError, "Payload expected.")
		return false
	}
	valid := utf8.Valid(body) // before it is decoded in place
	list, err := decodeArray(body)
	if err == nil && !valid {
		err = errNotUTF8
		_ = s.end(transport.StatusInvalidPayloadData, "invalid UTF-8", err)
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, "Broken JSON encoding.")
		return false
	}
	list, big := cut(list, t.opts.MaxMessageSize)
	// Also if the client has gone away: it shall not be able to queue more and more.
	<-s.in.push(list)
	if big {
		_ = s.end(transport.StatusMessageTooBig, "message too big", transport.ErrMessageTooBig)
		fail(w, http.StatusRequestEntityTooLarge, "message too big")
		return false
	}
	return true
}

// body reads a body, bounded in size and in time.
func (t *Transport) body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(t.opts.BodyTimeout)) // not every writer has deadlines
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(t.opts.MaxBodyBytes)))
	if err == nil {
		_ = rc.SetReadDeadline(time.Time{})
		return body, true
	}
	_, big := errors.AsType[*http.MaxBytesError](err)
	switch {
	case big:
		fail(w, http.StatusRequestEntityTooLarge, "request body too large")
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		fail(w, http.StatusRequestTimeout, "request body too slow")
	default:
		fail(w, http.StatusBadRequest, "request body broken")
	}
	return nil, false
}

// drain reads the body of a receive request, which should have none: net/http notices that
// a client has gone away only once the body is read.
func (t *Transport) drain(w http.ResponseWriter, r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody {
		return true
	}
	_, ok := t.body(w, r)
	return ok
}

func unavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	fail(w, http.StatusServiceUnavailable, "too many requests")
}
