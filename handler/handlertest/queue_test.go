package handlertest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
)

// spoken are the sub-protocols of clients of a row: of STOMP each version.
func spoken(st handlertest.Stack) map[string]subprotocol.SubProtocol {
	if !strings.HasPrefix(st.Format, "stomp/") {
		return map[string]subprotocol.SubProtocol{"": st.SubProtocol}
	}
	all := make(map[string]subprotocol.SubProtocol)
	for _, v := range []string{"1.0", "1.1", "1.2"} {
		all[v] = stomp.New(&stomp.Options{Versions: []string{v}})
	}
	return all
}

// A message of a queue is one consumer's until it is acknowledged, whatever carries it.
// What is refused, or left by one that goes, is another's.
func TestQueue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, st handlertest.Stack) {
		b := broker.New(nil)
		t.Cleanup(b.Close)
		s := st.Start(t, b)
		for version, sp := range spoken(st) {
			t.Run(version, func(t *testing.T) {
				queue := "/queue/jobs" + version
				ann, bob, eve := consumer(t, s, sp), consumer(t, s, sp), consumer(t, s, sp)
				if !ann.Features().Acks {
					return
				}
				eve.send(queue, "one")
				ann.subscribe(queue)
				m := ann.deliver("one", "")
				bob.subscribe(queue)
				if ann.Features().Nacks {
					ann.settle(subprotocol.KindNack, m)
					m = bob.deliver("one", "2")
					bob.settle(subprotocol.KindAck, m)
				} else {
					ann.settle(subprotocol.KindAck, m)
				}

				eve.send(queue, "two")
				eve.send(queue, "two")
				left := ann.deliver("two", "")
				m = bob.deliver("two", "")
				require.NotEmpty(t, left.ID)
				require.NoError(t, ann.Close(transport.StatusNormalClosure, ""))
				require.Error(t, ann.Closed())
				bob.settle(subprotocol.KindAck, m)
				last := bob.deliver("two", "2")
				bob.settle(subprotocol.KindAck, last)

				// It is settled, once.
				require.NoError(t, bob.Send(&subprotocol.Message{
					Kind: subprotocol.KindAck, ID: last.ID, Subscription: last.Subscription, Receipt: "again",
				}))
				got, err := bob.Receive()
				require.NoError(t, err)
				require.Equal(t, subprotocol.KindError, got.Kind)
				require.Equal(t, "unknown-ack", got.Error.Code)
				require.Equal(t, "again", got.Receipt)
			})
		}
	})
}

// consuming is a client with a window of one message.
type consuming struct {
	*handlertest.Client
	t *testing.T
}

func consumer(t *testing.T, s *handlertest.Server, sp subprotocol.SubProtocol) consuming {
	t.Helper()
	c, err := s.DialWith(&handlertest.DialOptions{SubProtocol: sp})
	require.NoError(t, err)
	return consuming{c, t}
}

// done sends m, and waits until that took effect.
func (c consuming) done(m *subprotocol.Message) {
	c.t.Helper()
	m.Receipt = "done"
	require.NoError(c.t, c.Send(m))
	got, err := c.Receive()
	require.NoError(c.t, err)
	require.Equal(c.t, subprotocol.KindReceipt, got.Kind, "%v", got.Error)
}

func (c consuming) send(queue, body string) {
	c.t.Helper()
	c.done(&subprotocol.Message{Kind: subprotocol.KindSend, Destination: queue, Body: []byte(body)})
}

func (c consuming) subscribe(queue string) {
	c.t.Helper()
	mode := subprotocol.AckClientIndividual
	if !c.Features().Nacks {
		mode = subprotocol.AckClient // all that STOMP 1.0 has
	}
	require.NoError(c.t, c.Send(&subprotocol.Message{
		Kind: subprotocol.KindSubscribe, Subscription: "s1", Destination: queue, AckMode: mode,
		Header: subprotocol.Header{{Name: "prefetch-count", Value: "1"}},
	}))
}

// deliver is the next message. count is how often it was delivered, "" for the first time.
func (c consuming) deliver(body, count string) *subprotocol.Message {
	c.t.Helper()
	m, err := c.Receive()
	require.NoError(c.t, err)
	require.Equal(c.t, subprotocol.KindDeliver, m.Kind, "%v", m.Error)
	require.Equal(c.t, body, string(m.Body))
	require.Equal(c.t, count, m.Header.Get("delivery-count"))
	require.Equal(c.t, count != "", m.Header.Get("redelivered") == "true")
	return m
}

func (c consuming) settle(kind subprotocol.Kind, m *subprotocol.Message) {
	c.t.Helper()
	require.NoError(c.t, c.Send(&subprotocol.Message{Kind: kind, ID: m.ID, Subscription: m.Subscription}))
}
