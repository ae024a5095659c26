package handler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// plainProtocol writes a message as its kind and its fields: "SEND d=/x r=1|body".
type plainProtocol struct{ features subprotocol.Features }

func fullFeatures() subprotocol.Features {
	return subprotocol.Features{
		Connect: true, Reconnect: true, Subscriptions: true, Replies: true, Receipts: true, Acks: true, Nacks: true,
		Transactions: true, Errors: true, Heartbeats: true, Disconnect: true,
	}
}

func (p plainProtocol) Names() []string { return nil }
func (p plainProtocol) NewFramer(string, subprotocol.FramerConfig) subprotocol.Framer {
	return plainFramer(p)
}

type plainFramer plainProtocol

func (f plainFramer) Features() subprotocol.Features { return f.features }

func (f plainFramer) Decode(m transport.Message, sink subprotocol.Sink) error {
	for line := range bytes.SplitSeq(m.Data, []byte("\n")) {
		head, body, _ := strings.Cut(string(line), "|")
		words := strings.Fields(head)
		msg := subprotocol.Message{Body: []byte(body)}
		for k := subprotocol.KindConnect; k.String() != "unknown"; k++ {
			if k.String() == words[0] {
				msg.Kind = k
			}
		}
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			ms, _ := strconv.Atoi(value)
			switch name {
			case "d":
				msg.Destination = value
			case "i":
				msg.ID = value
			case "s":
				msg.Subscription = value
			case "r":
				msg.Receipt = value
			case "t":
				msg.Transaction = value
			case "beat":
				msg.Heartbeat.Send = time.Duration(ms) * time.Millisecond
			case "want":
				msg.Heartbeat.Receive = time.Duration(ms) * time.Millisecond
			case "reply":
				msg.NeedReply = true
			case "mode":
				msg.AckMode = subprotocol.AckMode(ms)
			default:
				return &subprotocol.Error{Code: "malformed", Text: w, Receipt: msg.Receipt}
			}
		}
		if err := sink.Emit(&msg); err != nil {
			return err
		}
	}
	return nil
}

func (f plainFramer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	dst = append(dst, m.Kind.String()...)
	for _, p := range []struct{ name, value string }{
		{"d", m.Destination}, {"i", m.ID}, {"s", m.Subscription}, {"r", m.Receipt}, {"t", m.Transaction}, {"u", m.Header.Get("user-name")},
	} {
		if p.value != "" && (m.Kind != subprotocol.KindConnected || p.name == "u") {
			dst = fmt.Appendf(dst, " %s=%s", p.name, p.value)
		}
	}
	if m.Error != nil {
		dst = fmt.Appendf(dst, " %s", m.Error.Code)
	}
	if len(m.Body) > 0 {
		dst = fmt.Appendf(dst, "|%s", m.Body)
	}
	return dst, transport.MessageText, nil
}

// talk opens a session of the full protocol and returns what has it receive lines
// and returns what was sent back.
func talk(t *testing.T, h HandlerFunc, opts ...Option) (s *Session, say func(lines ...string) []string, c *fakeConn) {
	t.Helper()
	return talkIn(t, plainProtocol{fullFeatures()}, h, opts...)
}

// talkIn is talk in another protocol.
func talkIn(t *testing.T, p subprotocol.SubProtocol, h HandlerFunc, opts ...Option) (s *Session, say func(lines ...string) []string, c *fakeConn) {
	t.Helper()
	opts = append([]Option{WithSubProtocols(p), WithHeartbeat(0, 0)}, opts...)
	e := NewEndpoint(fakeTransport{}, h, opts...)
	c = &fakeConn{room: -1}
	s, r := open(t, e, c)
	t.Cleanup(func() { r.Closed(nil) })
	seen := 0
	say = func(lines ...string) []string {
		if len(lines) > 0 {
			r.Receive(textMessage(strings.Join(lines, "\n")))
		}
		synctest.Wait()
		all := c.messages()
		got := all[seen:]
		seen = len(all)
		return append([]string{}, got...)
	}
	return s, say, c
}

func TestReceipts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, say, c := talk(t, func(_ context.Context, r Request) error {
			switch string(r.Message.Body) {
			case "fail":
				return errors.New("secret")
			case "typed":
				return &subprotocol.Error{Code: "typed", Text: "x"}
			case "reply":
				r.Message.Kind, r.Message.Body = 0, []byte("answer")
				_, err := r.Reply(r.Message)
				return err
			case "other":
				_, err := r.Reply(&subprotocol.Message{Receipt: "another"})
				return err
			case "change":
				r.Message.Receipt = ""
			}
			return nil
		})
		require.Equal(t, []string{"CONNECTED"}, say("CONNECT r=0"), "the answer to Connect is its receipt")
		require.Equal(t, []string{"RECEIPT r=1"}, say("SEND r=1"))
		require.Empty(t, say("SEND"))
		require.Equal(t, []string{"ERROR r=2 internal"}, say("SEND r=2|fail"))
		require.Equal(t, []string{"ERROR r=2 typed"}, say("SEND r=2|typed"))
		require.Equal(t, []string{"REPLY r=3|answer"}, say("SEND r=3|reply"))
		require.Equal(t, []string{"REPLY|answer", "RECEIPT r=4"}, say("SEND|reply", "SEND r=4"))
		require.Equal(t, []string{"REPLY r=another", "RECEIPT r=5"}, say("SEND r=5|other"))
		require.Equal(t, []string{"RECEIPT r=6"}, say("SEND r=6|change"))
		require.Equal(t, []string{"RECEIPT r=7"}, say("DISCONNECT r=7"))
		require.Equal(t, transport.StatusNormalClosure, c.code)
	})
}

// TestOneAnswer: whatever a handler does, what asked for a receipt is answered once.
func TestOneAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, say, _ := talk(t, func(_ context.Context, r Request) error {
			answer := &subprotocol.Message{Body: []byte("answer")}
			if r.Message.Kind != subprotocol.KindSend {
				return nil
			}
			var err error
			switch string(r.Message.Body) {
			case "reply and fail":
				_, err = r.Reply(answer)
				require.NoError(t, err)
				return errors.New("secret")
			case "an error":
				_, err = r.Reply(&subprotocol.Message{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "own"}})
			case "a receipt":
				_, err = r.Reply(&subprotocol.Message{Kind: subprotocol.KindReceipt, Receipt: r.Message.Receipt})
			case "forget":
				r.Message.Receipt = ""
				_, err = r.Reply(answer)
			case "forget and fail":
				r.Message.Receipt = ""
				return errors.New("secret")
			case "later":
				return r.OnCommit(func() error { _, err := r.Reply(answer); return err })
			case "much later":
				return r.OnCommit(func() error {
					return r.OnCommit(func() error { _, err := r.Reply(answer); return err })
				})
			}
			return err
		})
		say("CONNECT")
		for body, want := range map[string][]string{
			"reply and fail":  {"REPLY r=1|answer", "ERROR internal"},
			"an error":        {"ERROR r=1 own"},
			"a receipt":       {"RECEIPT r=1"},
			"forget":          {"REPLY|answer", "RECEIPT r=1"},
			"forget and fail": {"ERROR r=1 internal"},
			"later":           {"REPLY r=1|answer"},
			"much later":      {"REPLY r=1|answer"},
		} {
			require.Equal(t, want, say("SEND r=1|"+body), body)
			in := say("BEGIN t=x", "SEND t=x r=1|"+body, "COMMIT t=x r=2")
			switch body {
			case "reply and fail", "forget and fail":
				require.Equal(t, []string{"ERROR r=1 internal", "ERROR r=2 transaction-failed"}, in, body)
			default:
				require.Equal(t, append(want, "RECEIPT r=2"), in, body)
			}
		}
		require.Equal(t, []string{"ERROR r=2 internal", "ERROR r=1 transaction-failed", "ERROR r=3 transaction-failed"},
			say("BEGIN t=x", "SEND t=x r=1|forget", "SEND t=x r=2|reply and fail", "COMMIT t=x r=3"))
	})
}

// TestErrorsThatCanNotBeSaid: an Error without a code, or with a text that is not UTF-8,
// reaches the client nevertheless.
func TestErrorsThatCanNotBeSaid(t *testing.T) {
	for _, e := range []*subprotocol.Error{
		{Text: "x"},
		{Code: "a", Text: "\xff"},
		{Code: "a\xff", Receipt: "1\xff", Subscription: "\xff"},
	} {
		shown := expressible(e)
		require.NotEmpty(t, shown.Code)
		for _, s := range []string{shown.Code, shown.Text, shown.Receipt, shown.Subscription} {
			require.True(t, utf8.ValidString(s))
		}
	}
	e := &subprotocol.Error{Code: "a", Text: "x"}
	require.Same(t, e, expressible(e))
}

// TestReceiptBesideReply: a wire format without replies of its own still gives every
// receipt.
func TestReceiptBesideReply(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := fullFeatures()
		f.Replies = false
		_, say, _ := talk(t, func(_ context.Context, r Request) error {
			if r.Message.Kind == subprotocol.KindSend {
				_, err := r.Reply(&subprotocol.Message{Body: []byte("answer")})
				return err
			}
			return nil
		}, WithSubProtocols(), option(func(c *config) { c.subProtocols = []subprotocol.SubProtocol{plainProtocol{f}} }))
		say("CONNECT")
		require.Equal(t, []string{"REPLY r=1|answer", "RECEIPT r=1"}, say("SEND r=1"))
	})
}

func TestSubscriptionTable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var seen []string
		s, say, _ := talk(t, func(_ context.Context, r Request) error {
			m := r.Message
			seen = append(seen, fmt.Sprint(m.Kind, " ", m.Subscription, " ", m.Destination, " ", m.AckMode))
			if string(m.Body) == "fail" {
				return errors.New("no")
			}
			return nil
		}, WithMaxSubscriptions(2))
		say("CONNECT")
		seen = nil
		require.Empty(t, s.Subscriptions())
		require.Equal(t, []string{"RECEIPT r=1"}, say("SUBSCRIBE s=b d=/b r=1 mode=2", "SUBSCRIBE s=a d=/a"))
		table := s.Subscriptions()
		require.Equal(t, []Subscription{{"a", "/a", subprotocol.AckAuto}, {"b", "/b", subprotocol.AckClientIndividual}}, table)
		require.Equal(t, []string{"ERROR s=a r=2 subscription-exists"}, say("SUBSCRIBE s=a d=/c r=2"))
		require.Equal(t, []string{"ERROR s=c too-many-subscriptions"}, say("SUBSCRIBE s=c d=/c"))
		require.Equal(t, []string{"ERROR s=c no-subscription"}, say("ACK s=c i=1"))
		require.Equal(t, []string{"ERROR s=c r=3 no-subscription"}, say("UNSUBSCRIBE s=c r=3"))
		require.Empty(t, say("ACK s=b i=1", "NACK s=b i=1", "ACK i=2"))
		require.Equal(t, []string{"ERROR s=b internal"}, say("UNSUBSCRIBE s=b|fail"), "it is still there")
		require.Equal(t, []string{"RECEIPT r=4"}, say("UNSUBSCRIBE s=b r=4"))
		require.Equal(t, table[:1], s.Subscriptions())
		require.Equal(t, "b", table[1].ID, "what was returned is a copy")
		require.Equal(t, []string{
			"SUBSCRIBE b /b client-individual", "SUBSCRIBE a /a auto",
			"ACK b /b client-individual", "NACK b /b client-individual", "ACK   auto",
			"UNSUBSCRIBE b /b client-individual", "UNSUBSCRIBE b /b client-individual",
		}, seen)
		require.Equal(t, []string{"ERROR s=c internal"}, say("SUBSCRIBE s=c d=/c|fail"))
		require.Empty(t, say("SUBSCRIBE s=c d=/c"), "a refused one leaves no trace")
		_, err := s.Send(&subprotocol.Message{Kind: subprotocol.KindUnsubscribe, Subscription: "c"})
		require.NoError(t, err)
		require.Equal(t, []string{"UNSUBSCRIBE s=c"}, say())
		require.Equal(t, []string{"ERROR s=c no-subscription"}, say("UNSUBSCRIBE s=c"), "the server has ended it")
		require.Empty(t, say("SUBSCRIBE s=c d=/c"))
	})
}

func TestTransactions(t *testing.T) {
	setUp := func(t *testing.T, opts ...Option) (*Session, func(...string) []string, *[]string) {
		done := new([]string)
		s, say, _ := talk(t, func(_ context.Context, r Request) error {
			m := r.Message
			if m.Kind != subprotocol.KindSend && m.Kind != subprotocol.KindAck {
				return nil
			}
			body := string(m.Body)
			*done = append(*done, "handled "+body)
			err := r.OnCommit(func() error {
				*done = append(*done, "effect "+body)
				if body == "late" {
					return errors.New("secret")
				}
				return nil
			})
			require.Equal(t, m.Transaction == "" && body == "late", err != nil)
			switch body {
			case "fail":
				return &subprotocol.Error{Code: "broken", Text: "x"}
			case "fatal":
				return &subprotocol.Error{Code: "broken", Text: "x", Fatal: true}
			case "ask":
				status, err := r.Reply(&subprotocol.Message{Body: []byte("answer")})
				require.Equal(t, Queued, status)
				return err
			case "close":
				require.NoError(t, r.Session.Close(transport.StatusNormalClosure, ""))
				return net.ErrClosed
			}
			return nil
		}, opts...)
		say("CONNECT")
		return s, say, done
	}
	t.Run("commit", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, say, done := setUp(t)
			require.Equal(t, []string{"RECEIPT r=1"}, say("BEGIN t=x r=1", "SEND t=x r=2|one", "BEGIN t=y", "SEND|out", "SEND t=y|other", "ACK t=x|two"))
			require.Equal(t, []string{"handled out", "effect out"}, *done)
			*done = nil
			require.Equal(t, []string{"RECEIPT r=2", "RECEIPT r=3"}, say("COMMIT t=x r=3"))
			require.Equal(t, []string{"handled one", "handled two", "effect one", "effect two"}, *done)
			require.Equal(t, []string{"ERROR r=4 no-transaction"}, say("COMMIT t=x r=4"))
			require.Empty(t, say("ABORT t=y"))
			require.Equal(t, []string{"ERROR no-transaction"}, say("ABORT t=y"))
			require.Equal(t, []string{"ERROR r=5 no-transaction"}, say("SEND t=y r=5|late"))
			require.Len(t, *done, 4)
		})
	})
	t.Run("a part fails", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, say, done := setUp(t)
			require.Equal(t, []string{"ERROR r=2 broken", "ERROR r=1 transaction-failed", "ERROR r=4 transaction-failed", "ERROR r=5 transaction-failed"},
				say("BEGIN t=x", "SEND t=x r=1|ask", "SEND t=x r=2|fail", "SEND t=x|three", "SEND t=x r=4|four", "COMMIT t=x r=5"))
			require.Equal(t, []string{"handled ask", "handled fail"}, *done)
			require.Equal(t, []string{"RECEIPT r=6"}, say("SEND r=6|alive"))
		})
	})
	t.Run("a part is fatal", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, say, done := setUp(t)
			require.Equal(t, []string{"ERROR r=2 broken"},
				say("BEGIN t=x", "SEND t=x r=1|one", "SEND t=x r=2|fatal", "SEND t=x r=3|three", "COMMIT t=x r=4", "SEND|never"))
			require.Equal(t, []string{"handled one", "handled fatal"}, *done)
		})
	})
	t.Run("replies", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, say, done := setUp(t)
			require.Equal(t, []string{"REPLY r=1|answer", "RECEIPT r=2", "RECEIPT r=3"},
				say("BEGIN t=x", "SEND t=x r=1|ask", "SEND t=x r=2|two", "COMMIT t=x r=3"))
			require.Len(t, *done, 4)
		})
	})
	t.Run("an effect fails", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, say, done := setUp(t)
			require.Equal(t, []string{
				"ERROR r=1 transaction-incomplete", "ERROR r=3 transaction-incomplete", "ERROR r=4 transaction-incomplete",
			}, say("BEGIN t=x", "SEND t=x r=1|one", "SEND t=x|late", "SEND t=x r=3|three", "COMMIT t=x r=4"))
			require.Equal(t, []string{"handled one", "handled late", "handled three", "effect one", "effect late"}, *done)
			require.Equal(t, []string{"ERROR r=1 transaction-incomplete", "ERROR transaction-incomplete"},
				say("BEGIN t=x", "SEND t=x|0", "SEND t=x r=1|late", "COMMIT t=x"))
		})
	})
	t.Run("an effect fails before a reply", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, say, _ := setUp(t)
			require.Equal(t, []string{"ERROR r=1 transaction-incomplete", "ERROR r=2 transaction-incomplete", "ERROR r=3 transaction-incomplete"},
				say("BEGIN t=x", "SEND t=x r=1|late", "SEND t=x r=2|ask", "COMMIT t=x r=3"))
			require.Equal(t, []string{"REPLY r=4|answer", "ERROR r=5 transaction-incomplete", "ERROR r=6 transaction-incomplete"},
				say("BEGIN t=x", "SEND t=x r=4|ask", "SEND t=x r=5|late", "COMMIT t=x r=6"))
		})
	})
	t.Run("the client does not wait for its reply", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s, say, done := setUp(t)
			say("BEGIN t=x", "SEND t=x r=1|ask", "SEND t=x|two")
			s.conn.(*fakeConn).err = net.ErrClosed
			say("COMMIT t=x")
			require.Equal(t, []string{"handled ask", "handled two", "effect ask", "effect two"}, *done)
		})
	})
	t.Run("a part finds the session closed", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, say, done := setUp(t)
			require.Empty(t, say("BEGIN t=x", "SEND t=x r=1|one", "SEND t=x r=2|close", "COMMIT t=x r=3"))
			require.Equal(t, []string{"handled one", "handled close"}, *done)
		})
	})
	t.Run("a part is refused", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s, say, done := setUp(t)
			require.Equal(t, []string{
				"ERROR s=none r=2 no-subscription", "ERROR r=3 transaction-failed", "ERROR r=1 transaction-failed", "ERROR r=4 transaction-failed",
			}, say("BEGIN t=x", "SEND t=x r=1|one", "SEND t=x|two", "ACK s=none i=1 t=x r=2", "SEND t=x r=3|three", "COMMIT t=x r=4"))
			require.Equal(t, []string{"ERROR r=5 malformed"}, say("BEGIN t=x", "SEND t=x|one", "SEND t=x r=5 bad=1"))
			require.Equal(t, []string{"ERROR r=6 transaction-failed"}, say("COMMIT t=x r=6"))
			require.Empty(t, *done)
			require.Equal(t, Limits{}, s.dialogue.held)
			require.Equal(t, []string{"ERROR s=none r=7 no-subscription", "RECEIPT r=8"},
				say("BEGIN t=x", "ACK s=none i=1 r=7", "COMMIT t=x r=8"), "that was no part of it")
		})
	})
	t.Run("limits", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s, say, done := setUp(t, WithTransactions(2, Limits{3, 2000}))
			require.Equal(t, []string{"ERROR r=1 too-many-transactions", "ERROR r=2 transaction-exists"},
				say("BEGIN t=x", "BEGIN t=y", "BEGIN t=z r=1", "BEGIN t=x r=2"))
			require.Equal(t, []string{"ERROR r=3 transaction-too-large", "ERROR transaction-too-large"},
				say("SEND t=x|1", "SEND t=x|2", "SEND t=y|3", "SEND t=x r=3|4", "SEND t=x|5"))
			require.Equal(t, []string{"ERROR r=4 transaction-failed"}, say("COMMIT t=x r=4"))
			require.Equal(t, []string{"RECEIPT r=5"}, say("COMMIT t=y r=5"))
			require.Equal(t, []string{"handled 3", "effect 3"}, *done)
			require.Equal(t, Limits{}, s.dialogue.held)
			require.Equal(t, []string{"ERROR transaction-too-large"}, say("BEGIN t=x", "SEND t=x|"+strings.Repeat("x", 2000)))
			require.Equal(t, Limits{}, s.dialogue.held)
			require.Equal(t, []string{"ERROR r=7 transaction-too-large"}, say("BEGIN t=y", "SEND t=y r=6|1", "SEND t=y|2", "SEND t=y r=7|"+strings.Repeat("x", 2000)))
			require.Equal(t, Limits{1, 65}, s.dialogue.held, "what was kept is to be answered")
			require.Equal(t, []string{"ERROR r=6 transaction-failed", "ERROR r=8 transaction-failed"}, say("COMMIT t=y r=8"))
			require.Equal(t, Limits{}, s.dialogue.held)
		})
	})
}

func TestReconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		live := []bool{}
		s, say, c := talk(t, func(_ context.Context, r Request) error {
			if r.Message.Kind != subprotocol.KindConnect {
				return nil
			}
			live = append(live, r.Session.Connected())
			switch string(r.Message.Body) {
			case "bad":
				return errors.New("secret")
			case "fatal":
				return &subprotocol.Error{Code: "forged", Text: "x", Fatal: true, Status: transport.StatusPolicyViolation}
			}
			r.Session.SetUser(string(r.Message.Body))
			return nil
		})
		require.Equal(t, []string{"CONNECTED u=ann"}, say("CONNECT|ann"))
		require.Equal(t, []string{"CONNECTED u=bob"}, say("CONNECT|bob"))
		require.Equal(t, []string{"ERROR r=1 refused", "RECEIPT r=2"}, say("CONNECT r=1|bad", "SEND r=2"))
		require.Equal(t, "bob", s.User())
		require.Equal(t, []string{"ERROR r=3 forged"}, say("CONNECT r=3|fatal"))
		require.Equal(t, transport.StatusPolicyViolation, c.code)
		require.Equal(t, []bool{false, true, true, true}, live)
	})
}

func TestConnectTimeout(t *testing.T) {
	t.Run("silent", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s, say, c := talk(t, nothing)
			require.Empty(t, say("HEARTBEAT", "HEARTBEAT reply=1"), "nothing comes before Connected")
			time.Sleep(10*time.Second - 1)
			synctest.Wait()
			require.Zero(t, c.closes())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			require.Equal(t, transport.StatusPolicyViolation, c.code)
			require.EqualValues(t, 1, s.endpoint.Stats().ConnectTimeouts)
			(*receiver)(s).Closed(nil)
			require.ErrorIs(t, context.Cause(s.Context()), ErrNoConnect)
		})
	})
	t.Run("slow handler", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s, say, c := talk(t, func(context.Context, Request) error { time.Sleep(time.Minute); return nil })
			require.NotNil(t, s.dialogue.timer)
			require.Equal(t, []string{"CONNECTED"}, say("CONNECT"), "a slow handler is not the client's fault")
			require.Zero(t, c.closes())
			require.Nil(t, s.dialogue.timer, "there is nothing left to time")
		})
	})
}

func TestHeartbeats(t *testing.T) {
	const second = time.Second
	for _, tt := range []struct {
		server          subprotocol.Heartbeat
		client          string
		send, receive   time.Duration
		silence, closes time.Duration // of what this side sends; when a silent client is closed
	}{
		{subprotocol.Heartbeat{Send: 10 * second, Receive: 10 * second}, "beat=10000 want=10000", 10 * second, 10 * second, 10 * second, 20 * second},
		{subprotocol.Heartbeat{Send: 10 * second, Receive: 10 * second}, "beat=1000 want=30000", 30 * second, 10 * second, 30 * second, 20 * second},
		{subprotocol.Heartbeat{Send: 4 * second, Receive: 30 * second}, "beat=1000 want=1", 4 * second, 30 * second, 4 * second, 60 * second},
		{subprotocol.Heartbeat{Send: 10 * second, Receive: 10 * second}, "want=5000", 10 * second, 0, 10 * second, 0},
		{subprotocol.Heartbeat{Send: 10 * second, Receive: 10 * second}, "beat=5000", 0, 10 * second, 0, 20 * second},
		{subprotocol.Heartbeat{Receive: 10 * second}, "beat=5000 want=5000", 0, 10 * second, 0, 20 * second},
		{subprotocol.Heartbeat{Send: 10 * second, Receive: second}, "beat=1000 want=10000", 10 * second, second, 10 * second, 2 * second},
		{subprotocol.Heartbeat{Send: 10 * second, Receive: 10 * second}, "", 0, 0, 0, 0},
	} {
		t.Run(tt.client, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, say, c := talk(t, nothing, WithHeartbeat(tt.server.Send, tt.server.Receive))
				began := time.Now()
				var mu sync.Mutex
				last, longest, sent := began, time.Duration(0), 0
				c.onWrite = func(batch []transport.Message) {
					mu.Lock()
					defer mu.Unlock()
					longest = max(longest, time.Since(last))
					last = time.Now()
					sent += len(batch)
				}
				say("CONNECT " + tt.client)
				if tt.receive > 0 {
					// A client that keeps its promise stays.
					for range 50 {
						time.Sleep(tt.receive)
						say("HEARTBEAT")
					}
				} else {
					time.Sleep(10 * time.Minute)
				}
				synctest.Wait()
				require.Zero(t, c.closes())
				mu.Lock()
				if tt.silence == 0 {
					require.Equal(t, 1, sent, "only Connected")
				} else {
					require.Less(t, longest, tt.silence, "a timer that is late would break the promise")
					require.LessOrEqual(t, time.Since(last), tt.silence)
					require.LessOrEqual(t, float64(sent-1), 3*float64(time.Since(began))/float64(tt.send), "more than is needed")
				}
				mu.Unlock()
				if tt.closes == 0 {
					return
				}
				began = time.Now()
				for c.closes() == 0 {
					require.Less(t, time.Since(began), time.Hour)
					time.Sleep(second / 4)
					synctest.Wait()
				}
				require.GreaterOrEqual(t, time.Since(began), tt.closes)
				require.LessOrEqual(t, time.Since(began), tt.closes+tt.closes/2+second)
				require.EqualValues(t, 1, s.endpoint.Stats().HeartbeatsMissed)
				require.Equal(t, transport.StatusPolicyViolation, c.code)
			})
		})
	}
}

// TestHeartbeatsBesideMessages: what is sent anyway takes the place of heartbeats, and a
// handler that is slow keeps its client's silence from counting.
func TestHeartbeatsBesideMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, say, c := talk(t, func(_ context.Context, r Request) error {
			if string(r.Message.Body) == "slow" {
				time.Sleep(5 * time.Minute)
			}
			return nil
		}, WithHeartbeat(10*time.Second, 10*time.Second))
		say("CONNECT beat=10000 want=10000")
		for range 100 {
			time.Sleep(4 * time.Second)
			_, err := s.Send(deliver("x"))
			require.NoError(t, err)
			say("HEARTBEAT")
		}
		for _, m := range c.messages() {
			require.NotEqual(t, "HEARTBEAT", m)
		}
		say("SEND|slow")
		require.Zero(t, c.closes())
		require.Equal(t, []string{"HEARTBEAT"}, say("HEARTBEAT reply=1"))
	})
}
