package sockjs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/weftws/weft/transport"
)

// What a server does wrong.
var (
	errLost      = errors.New("sockjs: server has lost the session")
	errNotOpen   = fmt.Errorf("%w: messages before the open frame", errBroken)
	errNoFrame   = fmt.Errorf("%w: an answer without a frame", errBroken)
	errLongFrame = fmt.Errorf("frame over the limit: %w", transport.ErrMessageTooBig)
)

// lastWord is how long a server that refuses what is sent may take to say why it has ended
// the session.
const lastWord = time.Second

// overhead is what a message that waits counts besides its bytes.
const overhead = 64

// A receiver is one of a client's ways to receive over requests.
type receiver struct {
	name         string
	method, path string
	events       bool
}

var receivers = map[string]*receiver{
	nameXHRStreaming: {nameXHRStreaming, http.MethodPost, "xhr_streaming", false},
	nameEventSource:  {nameEventSource, http.MethodGet, "eventsource", true},
	nameXHRPolling:   {nameXHRPolling, http.MethodPost, "xhr", false},
}

// A requests is a client's session over requests: one that waits for frames, and at most
// one that sends.
type requests struct {
	*receiver
	client *client
	url    *url.URL // of the session
	opts   *DialerOptions
	in     inbox
	ctx    context.Context // all requests'; it ends with the connection
	cancel context.CancelCauseFunc
	silent *time.Timer // runs while something must come

	// The receiving goroutine's.
	br     *bufio.Reader
	body   io.ReadCloser // nil between two requests
	source interface{ next() ([]byte, error) }
	some   bool // the answer has had a frame
	held   []held
	bytes  int // in held

	mu      sync.Mutex
	closing bool   // nothing more is taken
	cause   error  // why, if it is not over yet
	final   error  // the argument of Closed, once it is over
	next    []byte // an array that was taken and is not being sent
	sending bool
	owed    int // Writes that were short and have had no Writable
	late    *time.Timer
	sender  sync.WaitGroup
}

// held are messages that wait for the receiver.
type held struct {
	done <-chan struct{}
	size int
}

var (
	_ transport.Conn    = (*requests)(nil)
	_ transport.Yielder = (*requests)(nil)
	_ transport.Pauser  = (*requests)(nil)
)

// dialRequests opens a session over requests.
func (d *Dialer) dialRequests(ctx context.Context, c *client, r *receiver, open func(transport.Conn) transport.Receiver) (dialed, error) {
	q := &requests{receiver: r, client: c, url: c.base.JoinPath(newSession()), opts: &d.opts, br: bufio.NewReader(nil)}
	q.ctx, q.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { q.cancel(context.Cause(ctx)) })
	q.silent = time.AfterFunc(d.opts.SilenceTimeout, func() {
		q.cancel(fmt.Errorf("%w: nothing came for %v", transport.ErrTimeout, d.opts.SilenceTimeout))
	})
	f, err := q.frame()
	switch {
	case err != nil:
	case f.kind == 'c':
		err = &f.close
	case f.kind != 'o':
		err = errNotOpen
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		q.cancel(err)
		q.hangUp()
		return nil, err
	}
	q.in.open(open(q))
	go q.run()
	return q, nil
}

// TransportName is that of TransportNamer.
func (q *requests) TransportName() string { return q.name }

// SubProtocol returns "": there is no way to agree on one.
func (q *requests) SubProtocol() string { return "" }

// Yield is that of the contract.
func (q *requests) Yield() bool {
	ok, _ := q.in.yield()
	return ok
}

// Pause is that of the contract.
func (q *requests) Pause() { q.in.pause() }

// Resume is that of the contract.
func (q *requests) Resume() { q.in.resume() }

// Write takes what goes into one array behind the one that is being sent.
func (q *requests) Write(batch []transport.Message) (accepted int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return 0, errOver
	}
	q.next, accepted, err = appendArray(q.next, "[", maxSend, batch)
	if err == nil && accepted < len(batch) {
		q.owed++
	}
	if len(q.next) > 0 && !q.sending {
		q.sending = true
		q.sender.Go(q.send)
	}
	return accepted, err
}

// Close ends the session once what was taken is sent. There is no way to tell the server
// why.
func (q *requests) Close(code transport.StatusCode, reason string) error {
	if err := transport.CheckClose(code, reason); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return errOver
	}
	q.in.discard()
	q.stop(&transport.EndError{Code: code, Err: transport.ErrLocalClose})
	if !q.sending {
		q.finish(q.cause)
		return nil
	}
	q.expire(q.opts.CloseTimeout, &transport.EndError{Code: code, Err: fmt.Errorf("%w: %w", transport.ErrLocalClose, transport.ErrTimeout)})
	return nil
}

// stop takes nothing more. The lock is held, as for all below that don't say otherwise.
func (q *requests) stop(cause error) {
	q.closing, q.cause, q.owed = true, cause, 0
}

// expire ends the connection with err if nothing else does in time.
func (q *requests) expire(d time.Duration, err error) {
	q.late = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.finish(err)
	})
}

// finish ends the connection. The receiving goroutine does the rest.
func (q *requests) finish(err error) {
	if q.final != nil {
		return
	}
	q.final = err
	q.stop(nil)
	if q.late != nil {
		q.late.Stop()
	}
	q.cancel(err)
}

// send sends arrays until there are none.
func (q *requests) send() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.next) > 0 && q.final == nil {
		body, owed := q.next, q.owed
		q.next, q.owed = nil, 0
		q.mu.Unlock()
		q.in.notify(owed)
		err := q.post(body)
		q.mu.Lock()
		if err != nil {
			q.unsent(err)
			return
		}
	}
	q.sending = false
	if q.closing {
		q.finish(q.cause)
	}
}

// unsent ends a session that can't send.
func (q *requests) unsent(err error) {
	if q.closing {
		q.finish(q.cause)
		return
	}
	q.stop(&transport.EndError{Code: transport.StatusAbnormalClosure, Err: fmt.Errorf("xhr_send: %w", err)})
	if _, ok := errors.AsType[*transport.Refusal](err); !ok {
		q.finish(q.cause)
		return
	}
	q.expire(lastWord, q.cause)
}

// post sends an array, without the lock.
func (q *requests) post(body []byte) error {
	ctx, cancel := context.WithTimeoutCause(q.ctx, q.opts.SilenceTimeout, transport.ErrTimeout)
	defer cancel()
	resp, err := q.client.do(ctx, http.MethodPost, q.url.JoinPath("xhr_send"), http.Header{"Content-Type": {"text/plain;charset=UTF-8"}}, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusOK {
		return refused(resp)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxInfo) // so that the connection can be used again
	return nil
}

// run receives until the end.
func (q *requests) run() {
	err := q.receive()
	q.mu.Lock()
	q.finish(endError(err))
	q.mu.Unlock()
	q.hangUp()
	q.sender.Wait()
	q.client.release()
	q.in.settle(q.final)
}

// endError is what Closed gets for err.
func endError(err error) error {
	code := transport.StatusAbnormalClosure
	switch _, said := errors.AsType[*transport.CloseError](err); {
	case said:
		return err
	case errors.Is(err, errBroken):
		code = transport.StatusProtocolError
	case errors.Is(err, errNotUTF8):
		code = transport.StatusInvalidPayloadData
	case errors.Is(err, transport.ErrMessageTooBig):
		code = transport.StatusMessageTooBig
	}
	return &transport.EndError{Code: code, Err: err}
}

// hangUp ends the request that waits.
func (q *requests) hangUp() {
	q.silent.Stop()
	if q.body != nil {
		q.body.Close()
		q.body = nil
	}
}

// receive returns why there are no more frames. The receiving goroutine has no lock here and
// below.
func (q *requests) receive() error {
	for {
		// What is ahead of the receiver is one frame more than there is room for: only who
		// reads finds that an answer is over, and must ask again.
		f, err := q.frame()
		if err == nil {
			err = q.room()
		}
		switch {
		case err != nil:
			return err
		case f.kind == 'o':
			return errLost
		case f.kind == 'c':
			return &f.close
		}
		list, big := cut(f.messages, q.opts.MaxMessageSize)
		size := 0
		for _, m := range list {
			size += len(m) + overhead
		}
		q.held = append(q.held, held{q.in.push(list), size})
		q.bytes += size
		if big {
			return transport.ErrMessageTooBig
		}
	}
}

// room waits until the receiver has less before it than the window.
func (q *requests) room() error {
	for len(q.held) > 0 {
		h := q.held[0]
		if q.bytes >= q.opts.Window {
			select {
			case <-h.done:
			case <-q.ctx.Done():
				return context.Cause(q.ctx)
			}
		}
		select {
		case <-h.done:
			q.bytes -= h.size
			q.held = q.held[1:]
		default:
			return nil
		}
	}
	q.held = nil
	return nil
}

// frame returns the next frame but heartbeats. It asks again when an answer is over.
func (q *requests) frame() (frame, error) {
	for {
		if q.body == nil {
			if err := q.ask(); err != nil {
				return frame{}, err
			}
		}
		p, err := q.source.next()
		if err != nil && !errors.Is(err, io.EOF) {
			if q.ctx.Err() != nil {
				err = context.Cause(q.ctx)
			}
			return frame{}, err
		}
		// A stream begins with more of the heartbeat's letter than one.
		content := len(bytes.TrimLeft(p, "h")) > 0
		q.some = q.some || content || len(p) == 1
		if err != nil {
			q.hangUp()
			if !q.some {
				return frame{}, errNoFrame // or this would go round and round
			}
		}
		switch {
		case !content:
		case !utf8.Valid(p):
			return frame{}, errNotUTF8
		default:
			return parseFrame(bytes.Clone(p))
		}
	}
}

// ask makes the next request.
func (q *requests) ask() error {
	q.silent.Reset(q.opts.SilenceTimeout)
	defer q.silent.Stop()
	header := http.Header{"Accept": {"*/*"}}
	if q.events {
		header.Set("Accept", eventSource.contentType)
	}
	resp, err := q.client.do(q.ctx, q.method, q.url.JoinPath(q.path), header, nil)
	if err != nil {
		return err
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode != http.StatusOK:
		err = refused(resp)
	case q.events && media != eventSource.contentType:
		err = fmt.Errorf("answer is %.100q, no event stream", media)
	}
	if err != nil {
		resp.Body.Close()
		return err
	}
	q.body, q.some = resp.Body, false
	q.br.Reset((*body)(q))
	l := lines{br: q.br, limit: q.opts.MaxFrameSize}
	if q.events {
		q.source = &events{lines: l}
	} else {
		q.source = &l
	}
	return nil
}

// body reads an answer while the time of silence runs.
type body requests

func (b *body) Read(p []byte) (int, error) {
	b.silent.Reset(b.opts.SilenceTimeout)
	defer b.silent.Stop()
	return b.body.Read(p)
}
