package handlertest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

type sum struct{ A, B, Sum int }

func (s *sum) Validate() error {
	if s.A < 0 {
		return errors.New("a must not be negative")
	}
	return nil
}

func add(_ context.Context, _ handler.Request, in sum) (sum, error) {
	in.Sum = in.A + in.B
	return in, nil
}

// Typed handlers answer in the codec of the request, which is the first where it says
// nothing, on every row; where replies are deliveries to the subscription that is asked for.
func TestTypedHandlers(t *testing.T) {
	t.Parallel()
	rows(t, func(t *testing.T, st handlertest.Stack) {
		mux := handler.NewMux()
		mux.Route("SEND", handler.Func(add)) // without destinations
		mux.Route("SEND /app/add", handler.Func(add))
		s := st.Start(t, mux)
		c := s.Dial(t)
		f, dest := c.Features(), ""
		if f.Subscriptions {
			dest = "/app/add"
		}
		ask := func(contentType string, body []byte) *subprotocol.Message {
			require.NoError(t, c.Send(&subprotocol.Message{
				Destination: dest, Receipt: "r1", ContentType: contentType, Body: body,
				Header: subprotocol.Header{{Name: "reply-to", Value: "answers"}},
			}))
			m, err := c.Receive()
			require.NoError(t, err)
			switch {
			case f.Replies:
				require.Equal(t, "r1", m.Receipt)
			case m.Kind == subprotocol.KindDeliver && f.Subscriptions:
				require.Equal(t, "answers", m.Subscription)
				require.Equal(t, dest, m.Destination)
				receipt, err := c.Receive()
				require.NoError(t, err)
				require.Equal(t, subprotocol.KindReceipt, receipt.Kind)
			case m.Kind == subprotocol.KindError && f.FatalErrors:
				c = s.Dial(t)
			}
			return m
		}
		for i, cd := range st.Codecs {
			if i > 0 && dest == "" {
				continue // raw names no content type
			}
			body, err := cd.Append(nil, sum{A: 40, B: 2})
			require.NoError(t, err)
			if st.Text && !utf8.Valid(body) {
				continue
			}
			names := []string{cd.ContentType(), cd.ContentType() + "; charset=utf-8"}
			if i == 0 {
				names = append(names, "")
			}
			for _, name := range names {
				m := ask(name, body)
				var got sum
				require.NoError(t, cd.Unmarshal(m.Body, &got), "%q", m.Body)
				require.Equal(t, sum{40, 2, 42}, got)
			}
			if dest == "" {
				continue
			}
			bad, err := cd.Append(nil, sum{A: -1})
			require.NoError(t, err)
			e := fault(t, ask(cd.ContentType(), bad))
			require.Equal(t, [3]string{"invalid", "a must not be negative", "r1"}, [3]string{e.Code, e.Text, e.Receipt})
			bad = []byte{0xc1}
			if st.Text {
				bad = []byte("{")
			}
			require.Equal(t, "bad-body", fault(t, ask(cd.ContentType(), bad)).Code)
			require.Equal(t, "unsupported-content-type", fault(t, ask("text/odd", body)).Code)
		}
	}, func(st handlertest.Stack) bool { return len(st.Codecs) > 0 })
}

func fault(t *testing.T, m *subprotocol.Message) *subprotocol.Error {
	t.Helper()
	require.Equal(t, subprotocol.KindError, m.Kind)
	e := *m.Error
	e.Receipt = m.Receipt
	return &e
}

// What the sub-protocols have in common works the same on every row that has it:
// subscriptions, receipts, transactions, errors and a second Connect.
func TestDialogue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, st handlertest.Stack) {
		b := broadcast.New(nil)
		mux := handler.NewMux()
		mux.Route("SUBSCRIBE /topic/", b)
		mux.Route("SEND /topic/", b)
		s := st.Start(t, mux)
		ann := s.Dial(t)
		if !ann.Features().Subscriptions {
			return
		}
		bob, fatal := s.Dial(t), ann.Features().FatalErrors
		say := func(c *handlertest.Client, m subprotocol.Message) {
			require.NoError(t, c.Send(&m))
		}
		expect := func(c *handlertest.Client, kind subprotocol.Kind, id, what string) {
			t.Helper()
			m, err := c.Receive()
			require.NoError(t, err)
			require.Equal(t, kind, m.Kind, "%v", m.Error)
			switch kind {
			case subprotocol.KindDeliver:
				require.Equal(t, id, m.Subscription)
				require.Equal(t, what, string(m.Body))
			case subprotocol.KindError:
				require.Equal(t, id, m.Receipt)
				require.Equal(t, what, m.Error.Code)
			default:
				require.Equal(t, id, m.Receipt)
			}
		}
		const topic = "/topic/a"
		receipt, deliver, refusal := subprotocol.KindReceipt, subprotocol.KindDeliver, subprotocol.KindError
		refused := func(id, code string) {
			t.Helper()
			expect(ann, refusal, id, code)
			if fatal {
				requireStatus(t, ann, transport.StatusPolicyViolation)
				ann = s.Dial(t)
			}
		}
		for i, c := range []*handlertest.Client{ann, bob} {
			say(c, subprotocol.Message{Kind: subprotocol.KindSubscribe, Subscription: fmt.Sprint("s", i), Destination: topic, Receipt: "sub"})
			expect(c, receipt, "sub", "")
		}
		say(ann, subprotocol.Message{Destination: topic, Receipt: "r1", Body: []byte("one")})
		expect(bob, deliver, "s1", "one")
		got := map[subprotocol.Kind]bool{}
		for range 2 { // its own copy is queued, the receipt is written at once
			m, err := ann.Receive()
			require.NoError(t, err)
			got[m.Kind] = true
		}
		require.Equal(t, map[subprotocol.Kind]bool{receipt: true, deliver: true}, got)

		say(ann, subprotocol.Message{Kind: subprotocol.KindUnsubscribe, Subscription: "s0", Receipt: "r2"})
		expect(ann, receipt, "r2", "")
		say(ann, subprotocol.Message{Destination: "/elsewhere", Receipt: "r3"})
		refused("r3", "not-found")

		say(ann, subprotocol.Message{Kind: subprotocol.KindBegin, Transaction: "t1"})
		say(ann, subprotocol.Message{Destination: topic, Transaction: "t1", Body: []byte("two")})
		say(ann, subprotocol.Message{Destination: topic, Body: []byte("outside")})
		say(ann, subprotocol.Message{Destination: topic, Transaction: "t1", Receipt: "r4", Body: []byte("three")})
		say(ann, subprotocol.Message{Kind: subprotocol.KindCommit, Transaction: "t1", Receipt: "r5"})
		expect(bob, deliver, "s1", "outside")
		expect(bob, deliver, "s1", "two")
		expect(bob, deliver, "s1", "three")
		expect(ann, receipt, "r4", "")
		expect(ann, receipt, "r5", "")

		say(ann, subprotocol.Message{Kind: subprotocol.KindBegin, Transaction: "t2"})
		say(ann, subprotocol.Message{Destination: topic, Transaction: "t2", Body: []byte("never")})
		say(ann, subprotocol.Message{Destination: "/elsewhere", Transaction: "t2"})
		say(ann, subprotocol.Message{Kind: subprotocol.KindCommit, Transaction: "t2", Receipt: "r6"})
		if fatal {
			refused("r6", "not-found") // no other answer follows
		} else {
			refused("", "not-found")
			expect(ann, refusal, "r6", "transaction-failed")
		}
		say(ann, subprotocol.Message{Destination: topic, Body: []byte("last")})
		expect(bob, deliver, "s1", "last")

		if ann.Features().Reconnect {
			require.NoError(t, ann.Connect())
		}
		say(ann, subprotocol.Message{Kind: subprotocol.KindDisconnect, Receipt: "bye"})
		expect(ann, receipt, "bye", "")
		requireClosed(t, ann, 1000, "")
	})
}
