package sockjs

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
	"github.com/weftws/weft/transport/transporttest"
)

// requestDialer is a client over requests, as small as the rules allow.
type requestDialer struct {
	leg    string
	client *http.Client
	opts   options
}

func (d *requestDialer) Dial(
	ctx context.Context, url string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver,
) (transport.Conn, error) {
	c := &requestConn{d: d, url: url + "/000/" + rand.Text(), header: cfg.Header, sent: make(chan struct{}, 1), queued: make(chan (<-chan struct{}), held)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	defer context.AfterFunc(ctx, c.stop)()
	resp, err := c.post(d.leg, nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = upgrade.ReadRefusal(resp)
		resp.Body.Close()
	}
	if err != nil {
		c.stop()
		return nil, err
	}
	br := bufio.NewReader(resp.Body)
	for {
		line, err := br.ReadBytes('\n')
		if err != nil || ctx.Err() != nil {
			c.stop()
			return nil, errors.Join(err, ctx.Err())
		}
		if line[0] == 'o' {
			break
		}
	}
	c.in.open(open(c))
	go c.receive(resp, br)
	return c, nil
}

type requestConn struct {
	d      *requestDialer
	url    string
	header http.Header
	ctx    context.Context
	stop   func()
	in     inbox
	queued chan (<-chan struct{}) // what was received and is not consumed
	sent   chan struct{}          // has room for one: the latest send request has ended

	mu      sync.Mutex
	sending bool
	bodies  [][]byte
	owed    int
	ended   bool
}

func (c *requestConn) post(leg string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(c.ctx, http.MethodPost, c.url+"/"+leg, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range c.header {
		r.Header[k] = v
	}
	return c.d.client.Do(r)
}

func (c *requestConn) SubProtocol() string { return "" }
func (c *requestConn) Pause()              { c.in.pause() }
func (c *requestConn) Resume()             { c.in.resume() }

func (c *requestConn) Yield() bool {
	ok, _ := c.in.yield()
	return ok
}

// What a client holds of either direction: so many arrays.
const held = 16

func (c *requestConn) Write(batch []transport.Message) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
		return 0, errOver
	case len(c.bodies) >= held:
		c.owed++
		return 0, nil
	}
	body, n, err := appendArray(nil, "[", batch)
	if n > 0 {
		c.bodies = append(c.bodies, body)
		if !c.sending {
			c.sending = true
			go c.send()
		}
	}
	if err == nil && n < len(batch) {
		c.owed++
	}
	return n, err
}

func (c *requestConn) send() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.bodies) > 0 {
		body := c.bodies[0]
		c.mu.Unlock()
		resp, err := c.post("xhr_send", body)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		c.mu.Lock()
		if err != nil || resp.StatusCode != http.StatusNoContent {
			break
		}
		c.bodies = c.bodies[1:]
		owed := c.owed
		c.owed = 0
		if !c.ended {
			c.mu.Unlock()
			c.in.notify(owed)
			c.mu.Lock()
		}
	}
	c.sending = false
	if c.ended {
		c.sent <- struct{}{}
	}
}

func (c *requestConn) Close(code transport.StatusCode, reason string) error {
	if err := transport.CheckClose(code, reason); err != nil {
		return err
	}
	return c.end(&transport.EndError{Code: code, Err: transport.ErrLocalClose}, true)
}

// end ends the connection with err, on this side once what was taken has left.
func (c *requestConn) end(err error, local bool) error {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return errOver
	}
	c.ended = true
	sending := c.sending
	c.mu.Unlock()
	if local {
		c.in.discard()
	}
	go func() {
		if sending && local {
			select {
			case <-c.sent:
			case <-time.After(c.d.opts.CloseTimeout):
			}
		}
		c.stop()
		c.in.settle(err)
	}()
	return nil
}

func (c *requestConn) receive(resp *http.Response, br *bufio.Reader) {
	err := error(nil)
	for err == nil {
		err = c.frames(br)
		resp.Body.Close()
		if errors.Is(err, io.EOF) {
			if resp, err = c.post(c.d.leg, nil); err == nil {
				br = bufio.NewReader(resp.Body)
			}
		}
	}
	if _, ok := errors.AsType[*transport.CloseError](err); !ok {
		if _, ok := errors.AsType[*transport.EndError](err); !ok {
			err = &transport.EndError{Code: transport.StatusAbnormalClosure, Err: err}
		}
	}
	_ = c.end(err, false)
}

func (c *requestConn) frames(br *bufio.Reader) error {
	for {
		line, err := br.ReadBytes('\n')
		if err != nil {
			return err
		}
		if !utf8.Valid(line) {
			return &transport.EndError{Code: transport.StatusInvalidPayloadData, Err: errNotUTF8}
		}
		if bytes.HasPrefix(line, []byte("hh")) {
			continue
		}
		f, err := parseFrame(line[:len(line)-1])
		switch {
		case err != nil:
			return err
		case f.kind == 'o':
			return fmt.Errorf("%w: a second open frame", errBroken)
		case f.kind == 'c':
			return &f.close
		}
		list, big := c.d.opts.cut(f.messages)
		done := c.in.push(list)
		select {
		case c.queued <- done:
		default:
			<-<-c.queued
			c.queued <- done
		}
		if big {
			return &transport.EndError{Code: transport.StatusMessageTooBig, Err: transport.ErrMessageTooBig}
		}
	}
}

func requestKit(leg string) transporttest.Factory {
	return func(s transporttest.Setup) (*transporttest.Server, error) {
		// That the client has gone away between two polls is noticed only by these.
		const soon = 300 * time.Millisecond
		o := &Options{
			MaxMessageSize: s.MaxMessageSize, MaxBodyBytes: 6*s.MaxMessageSize + maxFrame, DisconnectDelay: time.Second, CloseTimeout: cmp.Or(s.CloseTimeout, soon),
		}
		tr := New(nil, o)
		ep := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tr.ServeHTTP(w, r, s.Acceptor) })
		hs := httptest.NewServer(Mount("/base", ep, nil))
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
		return &transporttest.Server{
			Dialer: &requestDialer{leg, client, withDefaults(o)},
			URL:    hs.URL + "/base",
			Stop: func() {
				hs.CloseClientConnections()
				client.CloseIdleConnections()
				hs.Close()
			},
		}, nil
	}
}

func TestConformanceOfRequests(t *testing.T) {
	t.Parallel()
	for _, leg := range []string{"xhr_streaming", "xhr"} {
		t.Run(leg, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, requestKit(leg), transporttest.Features{
				Boundaries: true, Text: true, Yield: true, Pause: true, Stall: true, Limit: true, Header: true,
			})
		})
	}
}
