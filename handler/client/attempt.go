package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Retryable is what Reconnect.Retry is by default. Not worth another attempt are a
// Connect that the server has refused, unless the code says that this is for now
// (unavailable, busy, rate-exceeded, timeout and internal, of weft's servers), and a
// handshake that was refused with an HTTP status from 400 to 499 other than 408, 425 and
// 429.
func Retryable(err error) bool {
	if e, ok := errors.AsType[*ServerError](err); ok && e.Refused {
		switch e.Message.Error.Code {
		case "unavailable", "busy", "rate-exceeded", "timeout", "internal":
		default:
			return false
		}
	}
	if r, ok := errors.AsType[*transport.Refusal](err); ok && r.Status < 500 {
		switch r.Status {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		default:
			return false
		}
	}
	return true
}

// establish makes attempts until one has succeeded or the client gives up; later says
// that the first of them has to wait. There is one such goroutine at a time.
func (c *Client) establish(later bool) {
	r := &c.opts.Reconnect
	for failed := 0; ; later = true {
		if later && !c.pause() {
			return
		}
		err := c.attempt()
		if err == nil {
			return
		}
		failed++
		again := (later || r.First) && c.worthwhile(err) && (r.MaxAttempts == 0 || failed < r.MaxAttempts)
		if !c.failed(err, again) {
			return
		}
	}
}

// failed notes that an attempt has failed. It reports whether there is to be another one.
func (c *Client) failed(err error, again bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state == Closed || c.closing:
		return false
	case !again:
		c.finish(err)
		return false
	}
	c.setState(Waiting, err)
	return true
}

// worthwhile reports whether err may be followed by another attempt.
func (c *Client) worthwhile(err error) bool {
	r := &c.opts.Reconnect
	switch {
	case r.Disabled:
		return false
	case r.Retry != nil:
		return r.Retry(err)
	default:
		return Retryable(err)
	}
}

// pause waits for the time of the next attempt. It reports false if there is none.
func (c *Client) pause() bool {
	c.mu.Lock()
	d := c.opts.Reconnect.delay(c.doublings)
	c.doublings++
	c.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ctx.Done():
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == Closed || c.closing {
		return false
	}
	c.setState(Connecting, c.err)
	return true
}

// delay is how long to wait after so many failures.
func (r *Reconnect) delay(doublings int) time.Duration {
	d := r.FirstDelay
	for range doublings {
		if d >= r.MaxDelay/2 {
			d = r.MaxDelay
			break
		}
		d *= 2
	}
	return d - time.Duration(rand.Float64()*r.Jitter*float64(d))
}

// attempt returns nil when the client is Connected, or why it is not.
func (c *Client) attempt() error {
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.ConnectTimeout)
	defer cancel()
	header := c.opts.Header.Clone()
	connect := &subprotocol.Message{}
	if f := c.opts.Connect; f != nil {
		if header == nil {
			header = make(http.Header)
		}
		if err := f(ctx, header, connect); err != nil {
			return fmt.Errorf("client: preparing to connect: %w", err)
		}
	}
	connect.Kind = subprotocol.KindConnect
	l := &link{client: c, opened: make(chan error, 1)}
	_, err := c.dialer.Dial(ctx, c.url, &transport.DialConfig{
		SubProtocols: c.proto.Names(), Header: header, TLS: c.opts.TLS,
	}, func(conn transport.Conn) transport.Receiver {
		l.open(conn, connect)
		return (*receiver)(l)
	})
	if err != nil {
		if l.conn != nil { // a Dialer that has opened and then fails
			l.end(transport.StatusGoingAway, "", err)
			return <-l.opened
		}
		return fmt.Errorf("client: %w", err)
	}
	select {
	case err := <-l.opened:
		return err
	case <-ctx.Done():
		l.end(transport.StatusPolicyViolation, "no answer in time", errNoConnected)
		return <-l.opened
	}
}

var (
	errNoConnected = fmt.Errorf("client: no answer to Connect in time: %w", transport.ErrTimeout)
	errNoHeartbeat = fmt.Errorf("client: no heartbeat in time: %w", transport.ErrTimeout)
)
