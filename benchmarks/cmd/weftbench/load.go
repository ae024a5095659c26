package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The client is as cheap as it can be made without leaving net: frames are masked
// once, answers are not decoded but counted, and a few goroutines go round many
// connections: whoever has answered by the time of its turn costs no wake-up.

// conn is one connection of the load.
type conn struct {
	net.Conn
	form  form
	frame []byte // what an echo is asked with
	in    counter
}

// conns are those to one server.
type conns []*conn

// handshake is the same bytes for every connection.
func handshake(r *row, addr, subprotocol string) []byte {
	path := "/ws"
	if r.SockJS != "" {
		path = "/sockjs/000/0/websocket" // each is a session of its own
	}
	if subprotocol != "" {
		subprotocol = "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + subprotocol + "\r\n")
}

// dial opens one connection to a row and, if it is a WebSocket, upgrades it. It leaves
// a deadline on the connection.
func dial(ctx context.Context, r *row, addr string, f form, secure bool) (*conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, dialError(err)
	}
	c := &conn{Conn: nc, form: f, in: counter{marker: r.Marker[0]}}
	if err := c.open(r, addr, secure); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *conn) open(r *row, addr string, secure bool) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if secure {
		c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // a server of our own, on loopback
	}
	c.in.keep = c.form.ready != "" // which may come at once
	switch r.Framing {
	case "tcp":
		return nil
	case "http":
		return c.openRequests(r, addr)
	}
	if _, err := c.Write(handshake(r, addr, c.form.subprotocol)); err != nil {
		return err
	}
	var answer []byte
	buf := make([]byte, 1024)
	for {
		n, err := c.Read(buf)
		answer = append(answer, buf[:n]...)
		if end := bytes.Index(answer, []byte("\r\n\r\n")); end >= 0 {
			if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) {
				return fmt.Errorf("the handshake is refused: %q", firstLines(string(answer), 1))
			}
			c.in.feed(answer[end+4:])
			return nil
		}
		if err != nil {
			return fmt.Errorf("the handshake's answer: %w", err)
		}
	}
}

// dialError puts in words what a run with many connections meets.
func dialError(err error) error {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("too few descriptors (ulimit -n says %d): %w", descriptors(), err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("no local port is free: %w", err)
	}
	return err
}

// connect opens n connections. Each subscribes under the id that id gives it.
func connect(ctx context.Context, s *server, n int, id func(i int) string) (conns, error) {
	cs := make(conns, n)
	err := each(min(n, 32), n, func(i int) error {
		f := s.row.formOf(i)
		c, err := dial(ctx, s.row, s.addr, f, false)
		if err != nil {
			return err
		}
		cs[i] = c
		return c.subscribe(id(i))
	})
	if err != nil {
		cs.close()
		return nil, s.died(err)
	}
	return cs, nil
}

// encode is m as it is written to c.
func (c *conn) encode(m message) []byte {
	if c.in.lines {
		return m.Data
	}
	return maskedFrame(m)
}

// subscribe sends the hello, and reads until it is answered.
func (c *conn) subscribe(id string) error {
	for _, m := range c.form.hello(id) {
		if _, err := c.Write(maskedFrame(m)); err != nil {
			return err
		}
	}
	if c.form.ready == "" {
		return nil
	}
	buf := make([]byte, 4096)
	for !bytes.Contains(c.in.last, []byte(c.form.ready)) {
		n, err := c.Read(buf)
		c.in.feed(buf[:n])
		if err != nil {
			return fmt.Errorf("no answer to the hello but %.80q: %w", c.in.last, err)
		}
	}
	c.in.keep, c.in.last = false, nil
	return nil
}

func sameID(int) string  { return "1" }
func ownID(i int) string { return strconv.Itoa(i) }

func (cs conns) close() {
	for _, c := range cs {
		if c != nil {
			c.Close()
		}
	}
}

// deadline bounds all that follows; it comes at once when ctx ends.
func (cs conns) deadline(ctx context.Context, d time.Duration) (stop func() bool) {
	cs.setDeadline(time.Now().Add(d))
	return context.AfterFunc(ctx, func() { cs.setDeadline(time.Now()) })
}

func (cs conns) setDeadline(t time.Time) {
	for _, c := range cs {
		_ = c.SetDeadline(t)
	}
}

// each calls f for 0 to n-1, on so many goroutines, until one fails.
func each(workers, n int, f func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// split deals cs out to the workers: one goroutine for each core of the client.
func (cs conns) split() []conns {
	n := min(max(runtime.GOMAXPROCS(0), 1), len(cs))
	parts := make([]conns, n)
	for i, c := range cs {
		parts[i%n] = append(parts[i%n], c)
	}
	return parts
}

// readFrames reads until n data frames have come.
func (c *conn) readFrames(n int, buf []byte) error {
	for c.in.frames < n {
		k, err := c.Read(buf)
		c.in.feed(buf[:k])
		if err != nil {
			return closedEarly(err)
		}
	}
	c.in.frames -= n
	return nil
}

// readMarks reads until so many marks have come.
func (c *conn) readMarks(n int, buf []byte) error {
	for c.in.marks < n {
		k, err := c.Read(buf)
		c.in.feed(buf[:k])
		if err != nil {
			return closedEarly(err)
		}
	}
	c.in.marks -= n
	return nil
}

func closedEarly(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the server closed the connection")
	}
	return err
}

// counter counts the data frames of a stream and the marks in them, without keeping
// anything.
type counter struct {
	head   [14]byte
	have   int // bytes of head
	marker byte
	left   int64 // of the frame's payload
	frames int
	marks  int
	bytes  int64
	lines  bool // the stream is SockJS's lines
	last   []byte
	keep   bool // the payload of the last frame, for those who check it
}

func (c *counter) feed(p []byte) {
	c.bytes += int64(len(p))
	if c.lines {
		c.feedLines(p)
		return
	}
	for len(p) > 0 {
		if c.left == 0 {
			need := c.headSize()
			n := copy(c.head[c.have:need], p)
			c.have += n
			p = p[n:]
			if c.have < need || c.have < c.headSize() {
				continue
			}
			if c.keep {
				c.last = c.last[:0]
			}
			if c.left = c.length(); c.left == 0 {
				c.end()
			}
			continue
		}
		n := min(int64(len(p)), c.left)
		if c.head[0]&8 == 0 {
			c.marks += bytes.Count(p[:n], []byte{c.marker})
			if c.keep {
				c.last = append(c.last, p[:n]...)
			}
		}
		p = p[n:]
		if c.left -= n; c.left == 0 {
			c.end()
		}
	}
}

// feedLines counts lines that are no heartbeats and no padding, which begin alike.
func (c *counter) feedLines(p []byte) {
	for len(p) > 0 {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		if c.have == 0 && len(line) > 0 {
			c.have, c.head[0] = 1, line[0]
			c.last = c.last[:0]
		}
		if c.have > 0 && c.head[0] != 'h' {
			c.marks += bytes.Count(line, []byte{c.marker})
			if c.keep {
				c.last = append(c.last, line...)
			}
			if whole {
				c.frames++
			}
		}
		if p = rest; whole {
			c.have = 0
		}
	}
}

func (c *counter) end() {
	if c.head[0]&0x88 == 0x80 { // the last of a message, and no control frame
		c.frames++
	}
	c.have = 0
}

// headSize is the size of the header as far as the bytes of it tell.
func (c *counter) headSize() int {
	n := 2
	if c.have < 2 {
		return n
	}
	switch c.head[1] & 127 {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if c.head[1]&0x80 != 0 { // TCP rows send back what the client has masked
		n += 4
	}
	return n
}

func (c *counter) length() int64 {
	switch n := c.head[1] & 127; n {
	case 126:
		return int64(binary.BigEndian.Uint16(c.head[2:]))
	case 127:
		return int64(binary.BigEndian.Uint64(c.head[2:]) &^ (1 << 63))
	default:
		return int64(n)
	}
}

// maskedFrame is m as a client sends it.
func maskedFrame(m message) []byte { return appendMasked(nil, m.Type, m.Data) }

func appendMasked(b []byte, typ string, data []byte) []byte {
	op := byte(0x81)
	if typ == "binary" {
		op = 0x82
	}
	b = append(b, op)
	switch n := len(data); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, mask[:]...)
	for i, x := range data {
		b = append(b, x^mask[i%4])
	}
	return b
}

// body is ASCII text, so that those who check UTF-8 pay for it.
func body(size int) []byte {
	return []byte(strings.Repeat("the quick brown fox jumps over the lazy dog. ", size/45+1)[:size])
}
