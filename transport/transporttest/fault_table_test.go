package transporttest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

var errPlain = errors.New("plain")

// faults returns the table. Each entry has a state of its own.
func faults() []*fault {
	var all sync.Mutex // for the faults that need one lock over all connections
	swap := func(s *side, m transport.Message) {
		switch n := s.next(); n {
		case 3:
			s.keep(clone(m))
		case 4:
			s.r.Receive(m)
			for _, late := range s.keep() {
				s.r.Receive(late)
			}
		default:
			s.r.Receive(m)
		}
	}
	return []*fault{
		{name: "what is written inside Open is dropped", rule: "open-first",
			write: func(s *side, b []transport.Message) (int, error) {
				if s.r == nil {
					return len(b), nil
				}
				return s.Conn.Write(b)
			}},
		{name: "two messages change places", rule: "order", receive: swap},
		{name: "a message type is lost", rule: "intact",
			receive: func(s *side, m transport.Message) {
				m.Type = transport.MessageBinary
				s.r.Receive(m)
			}},
		{name: "the last byte of a 16-bit length is lost", rule: "intact",
			receive: func(s *side, m transport.Message) {
				if len(m.Data) == 65535 {
					m.Data = m.Data[:65534]
				}
				s.r.Receive(m)
			}},
		{name: "empty messages are skipped", rule: "intact",
			receive: func(s *side, m transport.Message) {
				if len(m.Data) > 0 {
					s.r.Receive(m)
				}
			}},
		{name: "Head is dropped", rule: "head",
			write: func(s *side, b []transport.Message) (int, error) {
				out := make([]transport.Message, len(b))
				for i, m := range b {
					out[i] = transport.Message{Type: m.Type, Data: m.Data}
				}
				return s.Conn.Write(out)
			}},
		{name: "Head and Data are two messages", rule: "head",
			write: func(s *side, b []transport.Message) (int, error) {
				for i, m := range b {
					var out []transport.Message
					for _, p := range [][]byte{m.Head, m.Data} {
						if len(p) > 0 || m.Len() == 0 {
							out = append(out, transport.Message{Type: m.Type, Data: p})
						}
					}
					if n, err := s.Conn.Write(out); n == 0 {
						return i, err
					}
				}
				return len(b), nil
			}},
		{name: "a Shared is masked in place", rule: "shared",
			write: func(s *side, b []transport.Message) (int, error) {
				all.Lock()
				defer all.Unlock()
				for _, m := range b {
					if m.Shared != nil {
						for i := range m.Data {
							m.Data[i] ^= 1
						}
					}
				}
				return s.Conn.Write(b)
			}},
		{name: "the first form of a Shared serves every Head", rule: "shared",
			write: func(s *side, b []transport.Message) (int, error) {
				out := make([]transport.Message, len(b))
				for i, m := range b {
					if out[i] = m; m.Shared != nil {
						out[i].Head = nil
						out[i].Data = m.Shared.Form(s.f, func(_ any, _ transport.MessageType, data []byte) any {
							return append(append([]byte(nil), m.Head...), data...)
						}).([]byte)
					}
				}
				return s.Conn.Write(out)
			}},
		{name: "Write keeps the caller's buffers", rule: "write-copies",
			write: func(s *side, b []transport.Message) (int, error) {
				if late := s.keep(b...); late != nil {
					if n, err := s.Conn.Write(late); n < len(late) {
						return 0, err
					}
				}
				return len(b), nil
			}},
		{name: "the next message overwrites Data", rule: "data-valid", receive: (*side).lend,
			write: func(s *side, b []transport.Message) (int, error) {
				if p := s.other(); p != nil {
					p.damage()
				}
				return s.Conn.Write(b)
			}},
		{name: "Yield gives up Data", check: "yield", rule: "data-valid", receive: (*side).lend,
			yield: func(s *side) bool {
				s.damage()
				return s.Conn.Yield()
			}},
		{name: "Data with room that is the next message's", rule: "data-own",
			receive: func(s *side, m transport.Message) {
				n := len(m.Data)
				room := append(bytes.Clone(m.Data), "next"...)
				if s.flag && n > 0 {
					room[0] ^= 1
				}
				m.Data = room[:n]
				s.r.Receive(m)
				s.flag = string(room[n:]) != "next"
			}},
		{name: "Receive on a goroutine for each message", rule: "one-receive",
			receive: func(s *side, m transport.Message) {
				m = clone(m)
				go s.r.Receive(m)
			}},
		{name: "traffic both ways loses messages", rule: "duplex",
			write: func(s *side, b []transport.Message) (int, error) {
				n, err := s.Conn.Write(b)
				if p := s.other(); n > 0 && p != nil && s.next() > 20 {
					p.set(true)
				}
				return n, err
			},
			receive: func(s *side, m transport.Message) {
				if p := s.other(); p != nil && s.is() && p.is() {
					return
				}
				s.r.Receive(m)
			}},
		{name: "an unknown type ends the connection", rule: "bad-type",
			write: func(s *side, b []transport.Message) (int, error) {
				n, err := s.Conn.Write(b)
				if err != nil && !errors.Is(err, net.ErrClosed) {
					s.Cut()
				}
				return n, err
			}},
		{name: "text is not checked", rule: "utf8",
			write: func(s *side, b []transport.Message) (int, error) {
				out := make([]transport.Message, len(b))
				for i, m := range b {
					out[i] = transport.Message{Type: transport.MessageBinary, Data: m.Data}
				}
				return s.Conn.Write(out)
			},
			receive: func(s *side, m transport.Message) {
				m.Type = transport.MessageText
				s.r.Receive(m)
			}},
		{name: "the limit is off by one", rule: "limit", options: func(o *pipe.Options) { o.MaxMessageSize++ }},
		{name: "the limit excludes its own value", rule: "limit", options: func(o *pipe.Options) { o.MaxMessageSize-- }},
		{name: "a close is swallowed", rule: "closed-once",
			closed: func(s *side, err error) {
				if transport.CloseStatus(err) == 0 {
					s.r.Closed(err)
				}
			}},
		{name: "a second Closed", rule: "closed-once",
			closed: func(s *side, err error) {
				s.r.Closed(err)
				s.r.Closed(err)
			}},
		{name: "Closed before Receive has returned", rule: "closed-last",
			close: func(s *side, code transport.StatusCode, reason string) error {
				err := s.Conn.Close(code, reason)
				if err == nil && !s.set(true) {
					go s.r.Closed(&transport.EndError{Code: code, Err: transport.ErrLocalClose})
				}
				return err
			},
			closed: func(s *side, err error) {
				if !s.set(true) {
					s.r.Closed(err)
				}
			}},
		{name: "Receive after Closed", rule: "after-closed",
			closed: func(s *side, err error) {
				s.r.Closed(err)
				s.r.Receive(transport.Message{Type: transport.MessageBinary})
			}},
		{name: "Writable after Closed", rule: "after-closed",
			closed: func(s *side, err error) {
				s.r.Closed(err)
				s.r.Writable()
			}},
		{name: "io.EOF as the end", rule: "closed-error",
			closed: func(s *side, _ error) { s.r.Closed(io.EOF) }},
		{name: "a bare net.ErrClosed as the end", rule: "closed-error",
			closed: func(s *side, _ error) { s.r.Closed(net.ErrClosed) }},
		{name: "the reason is lost", rule: "close-reason",
			closed: func(s *side, err error) {
				if ce, ok := errors.AsType[*transport.CloseError](err); ok {
					err = &transport.CloseError{Code: ce.Code}
				}
				s.r.Closed(err)
			}},
		{name: "the code is always 1000", rule: "close-reason",
			closed: func(s *side, err error) {
				if ce, ok := errors.AsType[*transport.CloseError](err); ok {
					err = &transport.CloseError{Code: transport.StatusNormalClosure, Reason: ce.Reason}
				}
				s.r.Closed(err)
			}},
		{name: "the local end looks like the peer's", rule: "close-local",
			closed: func(s *side, err error) {
				if ee, ok := errors.AsType[*transport.EndError](err); ok {
					err = &transport.CloseError{Code: ee.Code}
				}
				s.r.Closed(err)
			}},
		{name: "the close frame overtakes the last message", rule: "close-drains",
			write: func(s *side, b []transport.Message) (int, error) {
				n, err := s.Conn.Write(append(s.keep(), b[:len(b)-1]...))
				s.keep(clone(b[len(b)-1]))
				return n + 1, err
			}},
		{name: "Close waits for Receive to return", rule: "close-in-receive",
			close: func(s *side, code transport.StatusCode, reason string) error {
				s.wait(func() bool { return s.receiving == 0 })
				return s.Conn.Close(code, reason)
			}},
		{name: "Close inside Open is forgotten", rule: "close-in-open",
			close: func(s *side, code transport.StatusCode, reason string) error {
				if s.r == nil {
					return nil
				}
				return s.Conn.Close(code, reason)
			}},
		{name: "a Write that meets Close fails with a plain error", rule: "close-during-write",
			write: func(s *side, b []transport.Message) (int, error) {
				n, err := s.Conn.Write(b)
				if err != nil {
					err = errPlain
				}
				return n, err
			}},
		{name: "a Write that meets Close counts too much", rule: "close-during-write",
			write: func(s *side, b []transport.Message) (int, error) {
				n, err := s.Conn.Write(b)
				if err != nil {
					n = len(b)
				}
				return n, err
			}},
		{name: "Close waits for the peer for ever", rule: "close-unanswered",
			options: func(o *pipe.Options) { o.CloseTimeout = time.Hour }},
		{name: "a second Close is fine", rule: "close-twice",
			close: func(s *side, code transport.StatusCode, reason string) error {
				err := s.Conn.Close(code, reason)
				if errors.Is(err, net.ErrClosed) {
					err = nil
				}
				return err
			}},
		{name: "two closes that cross end nothing", rule: "close-both",
			close: func(s *side, code transport.StatusCode, reason string) error {
				if !s.set(true) {
					select { // one side sends, the other one receives: the two have crossed
					case s.cross <- struct{}{}:
					case <-s.cross:
					case <-s.stop:
					}
				}
				return s.Conn.Close(code, reason)
			},
			closed: func(s *side, err error) {
				if !s.is() || !s.other().is() {
					s.r.Closed(err)
				}
			}},
		{name: "code 1005 is sent", rule: "close-check",
			close: func(s *side, code transport.StatusCode, reason string) error {
				if code == transport.StatusNoStatusReceived {
					code = transport.StatusNormalClosure
				}
				return s.Conn.Close(code, reason)
			}},
		{name: "a reason of 124 bytes is cut", rule: "close-check",
			close: func(s *side, code transport.StatusCode, reason string) error {
				return s.Conn.Close(code, reason[:min(len(reason), transport.MaxCloseReason)])
			}},
		{name: "Write after the end takes", rule: "write-after-end",
			write: func(s *side, b []transport.Message) (int, error) {
				n, err := s.Conn.Write(b)
				if errors.Is(err, net.ErrClosed) {
					return len(b), nil
				}
				return n, err
			}},
		{name: "Write waits for a stalled peer", rule: "write-never-waits",
			write: func(s *side, b []transport.Message) (n int, err error) {
				for n < len(b) && err == nil {
					var more int
					s.set(false)
					more, err = s.Conn.Write(b[n:])
					if n += more; n < len(b) && err == nil {
						s.wait(func() bool { return s.flag })
						select {
						case <-s.stop:
							return n, net.ErrClosed
						default:
						}
					}
				}
				return n, err
			},
			writable: func(s *side) { s.set(true) }},
		{name: "Write has no bound", rule: "write-never-waits", options: func(o *pipe.Options) { o.Buffer = 1 << 30 }},
		{name: "Writable never comes", rule: "writable-comes", writable: func(*side) {}},
		{name: "a Writable before Write has returned is lost", rule: "writable-comes",
			write: func(s *side, b []transport.Message) (int, error) {
				s.set(false)
				n, err := s.Conn.Write(b)
				if n < len(b) && err == nil {
					s.wait(func() bool { return s.flag }) // it comes, and nobody remembers
				}
				return n, err
			},
			writable: func(s *side) { s.set(true) }},
		{name: "Writable comes twice", rule: "writable-once",
			writable: func(s *side) {
				s.r.Writable()
				s.r.Writable()
			}},
		{name: "two short Writes get one Writable", check: "writable-once", rule: "writable-comes",
			writable: func(s *side) {
				if !s.set(true) {
					s.r.Writable()
				}
			}},
		{name: "Writable waits for Receive to return", rule: "writable-in-receive",
			writable: func(s *side) {
				s.wait(func() bool { return s.receiving == 0 })
				s.r.Writable()
			}},
		{name: "a cut message is counted as refused", rule: "exactly-once",
			write: func(s *side, b []transport.Message) (int, error) {
				n, err := s.Conn.Write(b)
				if n < len(b) && err == nil {
					s.keep(clone(b[n]))
				}
				return n, err
			},
			writable: func(s *side) {
				_, _ = s.Conn.Write(s.keep())
				s.r.Writable()
			}},
		{name: "the order breaks after Yield", rule: "yield",
			yield: func(s *side) bool {
				ok := s.Conn.Yield()
				s.set(true)
				return ok
			},
			receive: func(s *side, m transport.Message) {
				if !s.is() {
					s.r.Receive(m)
					return
				}
				swap(s, m)
			}},
		{name: "Yield changes nothing", rule: "yield", yield: func(*side) bool { return true }},
		{name: "Yield outside of Receive returns true", rule: "yield-outside",
			yield: func(s *side) bool {
				s.Conn.Yield()
				return true
			}},
		{name: "Pause is ignored", rule: "pause", pause: func(*side) {}},
		{name: "a ping goes into a message", rule: "ping",
			ping: func(ctx context.Context, s *side) (time.Duration, error) {
				s.set(true)
				return s.Conn.Ping(ctx)
			},
			write: func(s *side, b []transport.Message) (int, error) {
				m := b[0]
				if len(m.Data) < 2 || !s.set(false) {
					return s.Conn.Write(b)
				}
				half := len(m.Data) / 2
				n, err := s.Conn.Write([]transport.Message{
					{Type: m.Type, Data: m.Data[:half]}, {Type: m.Type, Data: m.Data[half:]},
				})
				return n / 2, err
			}},
		{name: "every other ping is not answered", rule: "ping",
			ping: func(ctx context.Context, s *side) (time.Duration, error) {
				if s.next()%2 == 0 {
					<-ctx.Done()
					return 0, ctx.Err()
				}
				return s.Conn.Ping(ctx)
			}},
		{name: "a running Receive holds up pongs", rule: "ping-while-yielded",
			ping: func(ctx context.Context, s *side) (time.Duration, error) {
				p := s.other()
				p.mu.Lock()
				busy := p.receiving > 0
				p.mu.Unlock()
				if busy {
					<-ctx.Done()
					return 0, ctx.Err()
				}
				return s.Conn.Ping(ctx)
			}},
		{name: "a ping outlives the connection", rule: "ping-ends",
			ping: func(ctx context.Context, s *side) (time.Duration, error) {
				d, err := s.Conn.Ping(ctx)
				if errors.Is(err, net.ErrClosed) {
					<-s.stop
				}
				return d, err
			}},
		{name: "the handshake has no context", rule: "handshake", handshake: func(h *transport.Handshake) { h.Context = nil }},
		{name: "the offers change places", rule: "handshake",
			handshake: func(h *transport.Handshake) {
				if len(h.SubProtocols) == 2 {
					h.SubProtocols = []string{h.SubProtocols[1], h.SubProtocols[0]}
				}
			}},
		{name: "a refused client is connected all the same", rule: "refuse",
			dial: func(c transport.Conn, err error, open func(transport.Conn) transport.Receiver) (transport.Conn, error) {
				if err != nil {
					a, _ := pipe.Pair(nil, open, func(transport.Conn) transport.Receiver { return nil })
					return a, nil //nolint:nilerr // this is the fault
				}
				return c, nil
			}},
		{name: "the text of a refusal is lost", rule: "refuse",
			dial: func(c transport.Conn, err error, _ func(transport.Conn) transport.Receiver) (transport.Conn, error) {
				if r, ok := errors.AsType[*transport.Refusal](err); ok {
					r.Text = ""
				}
				if err != nil {
					return nil, err
				}
				return c, nil
			}},
		{name: "Abort is not called", rule: "admission", abort: func(error) {}},
		{name: "the server's Conn does not know the sub-protocol", rule: "sub-protocol",
			sub: func(s *side) string {
				if s.name == "server" {
					return ""
				}
				return s.Conn.SubProtocol()
			}},
		{name: "the last data is lost when the end comes with it", rule: "last-data",
			receive: func(s *side, m transport.Message) {
				if s.next() == 1 {
					s.r.Receive(m)
					return
				}
				s.wait(func() bool { return s.flag }) // until the end is there too, and then forgets m
			},
			cut: func(s *side) {
				s.other().set(true)
				s.Cut()
			}},
		{name: "a lost connection looks like a close", rule: "vanish",
			closed: func(s *side, err error) {
				if ee, ok := errors.AsType[*transport.EndError](err); ok && ee.Code == transport.StatusAbnormalClosure {
					err = &transport.CloseError{Code: transport.StatusGoingAway}
				}
				s.r.Closed(err)
			}},
		{name: "a goroutine stays", rule: "leak",
			open: func(s *side) {
				go func() { <-s.stop }()
			}},
	}
}
