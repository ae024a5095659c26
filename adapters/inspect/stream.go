package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/transport"
)

const (
	writeTime  = 10 * time.Second // that a viewer has to take a line
	sampleTime = time.Second
	idleTime   = 15 * time.Second // without a line, after which an empty one finds out who is gone
	maxHistory = 120              // samples
)

// sample is what the endpoints have counted by a time.
type sample struct {
	Time      int64     `json:"time"` // milliseconds since 1970
	Endpoints []figures `json:"endpoints"`
}

type figures struct {
	Name        string `json:"name"`
	Sessions    int    `json:"sessions"`
	QueuedBytes int64  `json:"queuedBytes"`
	MessagesIn  uint64 `json:"messagesIn"`
	MessagesOut uint64 `json:"messagesOut"`
	BytesIn     uint64 `json:"bytesIn"`
	BytesOut    uint64 `json:"bytesOut"`
	Dropped     uint64 `json:"dropped"`
	Refused     uint64 `json:"refused"`
	Errors      uint64 `json:"errors"`
}

func figuresOf(n named) figures {
	st := n.Stats()
	d, r := st.Dropped, st.Refused
	return figures{
		Name: n.name, Sessions: st.Sessions, QueuedBytes: st.QueuedBytes,
		MessagesIn: st.MessagesIn, MessagesOut: st.MessagesOut, BytesIn: st.BytesIn, BytesOut: st.BytesOut,
		Dropped: d.Newest + d.Oldest + d.Conflated + d.Unsendable + d.Closed,
		Refused: r.Shutdown + r.Origin + r.SubProtocol + r.Limit + r.Hook,
		Errors:  st.DecodeErrors + st.HandlerErrors + st.Panics,
	}
}

// sample returns the samples of the last minutes, with one that is not older than
// sampleTime at the end. Those who look share them.
func (i *Inspector) sample(now time.Time) []sample {
	i.mu.Lock()
	defer i.mu.Unlock()
	// A tick may come a little early.
	if n := len(i.history); n > 0 && now.UnixMilli()-i.history[n-1].Time < (sampleTime-sampleTime/10).Milliseconds() {
		return i.history
	}
	s := sample{Time: now.UnixMilli(), Endpoints: []figures{}}
	for _, n := range i.endpoints {
		s.Endpoints = append(s.Endpoints, figuresOf(n))
	}
	oldest := s.Time - maxHistory*sampleTime.Milliseconds()
	kept := slices.DeleteFunc(slices.Clone(i.history), func(o sample) bool { return o.Time < oldest })
	i.history = append(kept, s) // a new slice: others may have the last one
	return i.history
}

// stream is an answer that grows by lines of JSON.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// begin sends the head of the answer. It returns nil if there can be no answer.
func begin(w http.ResponseWriter) *stream {
	s := &stream{w, http.NewResponseController(w)}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that collect answers
	if err := s.flush(); err != nil {
		if errors.Is(err, http.ErrNotSupported) {
			http.Error(w, "what is around this handler can't flush answers", http.StatusInternalServerError)
		}
		return nil
	}
	return s
}

// send writes v as a line, and an empty one for nil.
func (s *stream) send(v any) error {
	line := []byte{'\n'}
	if v != nil {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		line = append(b, '\n')
	}
	return s.flush(line...)
}

// flush writes p and sees to it that it leaves, in a limited time. A server that can't
// limit it bounds its writes by itself, or leaves it to MaxViewers.
func (s *stream) flush(p ...byte) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTime))
	// HTTP/2 ends an answer whose deadline passes, whether it writes or not.
	defer s.rc.SetWriteDeadline(time.Time{}) //nolint:errcheck // as above
	if len(p) > 0 {                          // else the head is to leave, if that is possible
		if _, err := s.w.Write(p); err != nil {
			return err
		}
	}
	return s.rc.Flush()
}

// enter counts one more in *n, unless there are too many.
func (i *Inspector) enter(n *int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if *n >= i.opts.MaxViewers {
		return false
	}
	*n++
	return true
}

func (i *Inspector) leave(n *int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	*n--
}

func (i *Inspector) serveFigures(w http.ResponseWriter, r *http.Request) {
	if !i.enter(&i.viewers) {
		http.Error(w, "too many look at this page", http.StatusServiceUnavailable)
		return
	}
	defer i.leave(&i.viewers)
	s := begin(w)
	if s == nil {
		return
	}
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	last := int64(0)
	for {
		for _, sm := range i.sample(time.Now()) {
			if sm.Time > last {
				last = sm.Time
				if s.send(sm) != nil {
					return
				}
			}
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-i.done:
			return
		}
	}
}

// line is one of the answer to frames: a frame, a number of frames that had to go, or why
// there are no more.
type line struct {
	Time int64  `json:"time,omitempty"` // milliseconds since 1970
	Out  bool   `json:"out,omitempty"`
	Type string `json:"type,omitempty"`
	Size int    `json:"size,omitempty"`
	shown
	Missed int    `json:"missed,omitempty"`
	End    string `json:"end,omitempty"`
}

func (i *Inspector) serveFrames(w http.ResponseWriter, r *http.Request) {
	_, s := i.find(r.URL.Query().Get("endpoint"), r.URL.Query().Get("id"))
	if s == nil {
		http.Error(w, "this session has ended", http.StatusNotFound)
		return
	}
	c, ok := transport.As[*conn](s.Conn())
	if !ok {
		http.Error(w, "the frames of this endpoint can't be seen: its transport is not that of Inspector.Transport", http.StatusConflict)
		return
	}
	if !i.enter(&i.watching) {
		http.Error(w, "too many sessions are watched", http.StatusServiceUnavailable)
		return
	}
	defer i.leave(&i.watching)
	watch := newWatch(i.opts.MaxFrame)
	c.attach(watch)
	defer c.detach(watch)
	st := begin(w)
	if st == nil {
		return
	}
	i.follow(r.Context(), st, s, watch)
}

// follow sends what passes until something ends.
func (i *Inspector) follow(ctx context.Context, st *stream, s *handler.Session, watch *watch) {
	over := time.NewTimer(i.opts.WatchTime)
	defer over.Stop()
	idle := time.NewTicker(idleTime)
	defer idle.Stop()
	end := ""
	for end == "" {
		select {
		case <-watch.more:
		case <-idle.C:
			if st.send(nil) != nil {
				return
			}
			continue
		case <-s.Context().Done():
			end = "The session has ended: " + i.masker.clean(context.Cause(s.Context()).Error())
		case <-over.C:
			end = "The time is up: " + i.opts.WatchTime.String()
		case <-ctx.Done():
			return
		case <-i.done:
			return
		}
		frames, missed := watch.take()
		if missed > 0 && st.send(line{Missed: missed}) != nil {
			return
		}
		for _, f := range frames {
			if st.send(i.line(s.SubProtocol(), &f)) != nil {
				return
			}
		}
	}
	_ = st.send(line{End: end})
}

func (i *Inspector) line(subProtocol string, f *frame) line {
	l := line{Time: f.at.UnixMilli(), Out: f.out, Type: f.typ.String(), Size: f.size}
	if f.data != nil {
		l.shown = i.masker.frame(subProtocol, f.typ, f.data)
	} else {
		l.Text = "(longer than what is shown)"
	}
	return l
}
