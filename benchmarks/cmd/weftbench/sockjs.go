package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

var sockJSScenario = &scenario{
	name: "sockjs",
	what: "SockJS: a message, and back: closed loop; and publications of 128 B to all subscribers",
	how: "Rows compare by transport. Where there is no WebSocket a session has two connections, one for the request that " +
		"waits and one for those that send, of which each has one message. With polls each answer has a request of its own too. " +
		"Publications are not polled for: that would measure how many of them meet in one answer.",
	columns: echoColumns,
	full:    true,
	sockJS:  true,
	plans: func(b *bench) (plans []*plan) {
		n, f := b.most(100), fanout{subscribers: b.most(500), inFlight: 16}
		for _, transport := range []string{"websocket", "xhr-streaming", "xhr-polling"} {
			part := *b
			part.rows = slices.DeleteFunc(slices.Clone(b.rows), func(r *row) bool { return r.SockJS != transport })
			each := 2
			if transport == "websocket" {
				each = 1
			}
			p := echoPlan(&part, 64, n)
			p.name = transport + ", " + p.name
			p.conns *= each
			plans = append(plans, p)
			if transport == "xhr-polling" {
				continue
			}
			plans = append(plans, &plan{
				name: transport + ", " + f.String(), rows: part.rows, conns: f.subscribers * each,
				prepare: func(ctx context.Context, b *bench, r *row) (*ready, error) {
					l, err := f.prepare(ctx, b, r)
					if err != nil {
						return nil, err
					}
					measure := l.measure
					l.measure = func(ctx context.Context, d time.Duration) ([]float64, error) {
						figures, err := measure(ctx, d)
						return figures[:min(len(figures), len(echoColumns))], err
					}
					return l, nil
				},
			})
		}
		return plans
	},
}

// sockJSForm is how all rows of SockJS are spoken to: an array of one message, after the
// open frame.
var sockJSForm = form{
	hello:   func(string) []message { return nil },
	ready:   "o",
	request: func(body []byte) message { return message{Type: "text", Data: fmt.Appendf(nil, "[%q]", body)} },
}

// requests is a SockJS session without a WebSocket: what is written goes into a request of
// its own, what is read are lines.
type requests struct {
	net.Conn // of the requests that wait
	send     net.Conn
	receive  []byte // such a request
	post     string // the other one, up to its length
	out      []byte
	owed     bool // the answer to the last one was not read
	in       response
}

var sessions atomic.Int64

// openRequests makes the connection of c one for requests that wait, and opens the other.
func (c *conn) openRequests(r *row, addr string) error {
	d := net.Dialer{Timeout: 10 * time.Second}
	send, err := d.Dial("tcp", addr)
	if err != nil {
		return dialError(err)
	}
	what := "/xhr"
	if r.SockJS == "xhr-streaming" {
		what = "/xhr_streaming"
	}
	session := sessions.Add(1)
	head := func(what string) string {
		return fmt.Sprintf("POST /sockjs/000/%d%s HTTP/1.1\r\nHost: %s\r\nContent-Length: ", session, what, addr)
	}
	s := &requests{Conn: c.Conn, send: send, receive: []byte(head(what) + "0\r\n\r\n"), post: head("/xhr_send")}
	c.Conn, c.in.lines = s, true
	if err := s.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = s.Conn.Write(s.receive)
	return err
}

// Write sends p as the body of a request. The answer to the one before has come by
// then, mostly.
func (s *requests) Write(p []byte) (int, error) {
	if s.owed {
		buf := make([]byte, 1024)
		n := 0
		for !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			k, err := s.send.Read(buf[n:])
			if n += k; err != nil || n == len(buf) {
				return 0, fmt.Errorf("a message was answered with %.80q: %w", buf[:n], err)
			}
		}
		if !bytes.HasPrefix(buf, []byte("HTTP/1.1 204 ")) {
			return 0, fmt.Errorf("a message was answered with %q", firstLines(string(buf[:n]), 1))
		}
	}
	s.out = append(append(append(append(s.out[:0], s.post...), strconv.Itoa(len(p))...), "\r\n\r\n"...), p...)
	s.owed = true
	if _, err := s.send.Write(s.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read reads what answers have in their bodies. After the end of one it asks for the next.
func (s *requests) Read(p []byte) (int, error) {
	for {
		n, err := s.Conn.Read(p)
		if err != nil {
			return 0, err
		}
		n, err = s.in.feed(p[:n])
		if err == nil && s.in.over {
			s.in = response{head: s.in.head[:0]}
			_, err = s.Conn.Write(s.receive)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// SetDeadline is for both connections.
func (s *requests) SetDeadline(t time.Time) error {
	return errors.Join(s.Conn.SetDeadline(t), s.send.SetDeadline(t))
}

// Close closes both.
func (s *requests) Close() error { return errors.Join(s.Conn.Close(), s.send.Close()) }

// response takes an answer apart, as far as it has come.
type response struct {
	head    []byte // of the answer, or of a chunk
	begun   bool   // the answer's head was read
	chunked bool
	left    int // bytes of the body or the chunk, and with a chunk the line end
	over    bool
}

// feed moves the bytes of the body in p to its front, and returns how many they are.
func (r *response) feed(p []byte) (n int, err error) {
	for rest := p; len(rest) > 0; {
		switch {
		case r.over:
			return n, errors.New("an answer goes on after its end")
		case r.left > 0:
			k := min(r.left, len(rest))
			body := rest[:k]
			if r.chunked { // the line end is not of the body
				body = body[:max(0, min(k, r.left-2))]
			}
			n += copy(p[n:], body)
			rest = rest[k:]
			r.left -= k
			r.over = r.left == 0 && !r.chunked
		default:
			r.head = append(r.head, rest[0])
			rest = rest[1:]
			if err := r.next(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// next looks whether head is whole.
func (r *response) next() error {
	switch {
	case !r.begun && bytes.HasSuffix(r.head, []byte("\r\n\r\n")):
		length := field(r.head, "content-length: ")
		r.begun, r.chunked = true, field(r.head, "transfer-encoding: ") == "chunked"
		n, err := strconv.Atoi(length)
		if !bytes.HasPrefix(r.head, []byte("HTTP/1.1 200 ")) || !r.chunked && (err != nil || n <= 0) || field(r.head, "connection: ") == "close" {
			return fmt.Errorf("the receive request is answered with %.200q", r.head)
		}
		r.left = n
	case r.begun && bytes.HasSuffix(r.head, []byte("\r\n")) && len(r.head) > 2:
		size, _, _ := bytes.Cut(r.head, []byte("\r\n"))
		n, err := strconv.ParseUint(string(size), 16, 31)
		switch {
		case err != nil:
			return fmt.Errorf("a chunk begins with %.80q", r.head)
		case n > 0:
			r.left = int(n) + 2
		case !bytes.HasSuffix(r.head, []byte("\r\n\r\n")):
			return nil // the empty line behind the last chunk
		}
		r.over = n == 0
	default:
		return nil
	}
	r.head = r.head[:0]
	return nil
}

// field is what stands in a line that begins with name, in small letters.
func field(head []byte, name string) string {
	for line := range bytes.Lines(head) {
		if len(line) >= len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return string(bytes.ToLower(bytes.TrimSpace(line[len(name):])))
		}
	}
	return ""
}
