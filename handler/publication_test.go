package handler

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
)

func TestPublication(t *testing.T) {
	newSessions := func(t *testing.T, p *testProtocol, n int) (e *Endpoint, ss []*Session, cs []*fakeConn) {
		e = NewEndpoint(fakeTransport{}, HandlerFunc(nothing), WithSubProtocols(p))
		for range n {
			c := &fakeConn{room: -1}
			s, _ := open(t, e, c)
			ss, cs = append(ss, s), append(cs, c)
		}
		return e, ss, cs
	}
	subs := subprotocol.Features{Subscriptions: true}
	for _, tt := range []struct {
		name           string
		protocol       *testProtocol
		sub            string
		appends, heads int
		want           string
	}{
		{"no form", &testProtocol{features: subs}, "s", 100, 0, "[s,i]hello"},
		{"form", &testProtocol{formed: true}, "", 1, 0, "[,]hello"},
		{"form, without subscriptions", &testProtocol{formed: true}, "s", 1, 0, "[,]hello"},
		{"form, with subscriptions", &testProtocol{formed: true, features: subs}, "s", 100, 0, "[s,i]hello"},
		{"split", &testProtocol{split: true, features: subs}, "s", 1, 100, "[s,i]hello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, ss, cs := newSessions(t, tt.protocol, 100)
				var shared atomic.Pointer[transport.Shared]
				for _, c := range cs {
					c.onWrite = func(b []transport.Message) { shared.Store(b[0].Shared) }
				}
				m := deliver("hello")
				p := NewPublication(m)
				m.Body[0] = 'j' // the publication has its own
				id := ""
				if tt.sub != "" {
					id = "i"
				}
				for _, s := range ss {
					status, err := s.Publish(p, tt.sub, id)
					require.NoError(t, err)
					require.Equal(t, Queued, status)
				}
				synctest.Wait()
				for _, c := range cs {
					require.Equal(t, []string{tt.want}, c.messages())
				}
				require.Equal(t, tt.appends, tt.protocol.appends)
				require.Equal(t, tt.heads, tt.protocol.heads)
				require.Equal(t, tt.appends == 1, shared.Load() != nil)
				requireIdle(t, e, ss...)
			})
		})
	}
	t.Run("errors", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			e, ss, _ := newSessions(t, &testProtocol{split: true, features: subs}, 1)
			for range 2 {
				status, err := ss[0].Publish(NewPublication(deliver("bad")), "s", "")
				require.Equal(t, Dropped, status)
				require.ErrorContains(t, err, "bad body")
			}
			status, err := ss[0].Publish(NewPublication(deliver("x")), "bad", "")
			require.Equal(t, Dropped, status)
			require.ErrorContains(t, err, "bad subscription")
			require.EqualValues(t, 3, e.Stats().Dropped.Unsendable)
		})
	})
	t.Run("more forms than are kept", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			proto := &testProtocol{formed: true}
			_, ss, cs := newSessions(t, proto, maxForms+2)
			p := NewPublication(deliver("x"))
			for range 2 {
				for i, s := range ss {
					s.framer.(formedFramer).key = i
					_, err := s.Publish(p, "", "")
					require.NoError(t, err)
				}
			}
			synctest.Wait()
			require.Equal(t, maxForms+2*2, proto.appends)
			for _, c := range cs {
				require.Equal(t, []string{"[,]x", "[,]x"}, c.messages())
			}
		})
	})
	t.Run("counts once in the sum, to the one who encoded it", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			proto := &testProtocol{formed: true}
			a, sa, ca := newSessions(t, proto, 10)
			b, sb, cb := newSessions(t, proto, 10)
			for _, c := range append(ca, cb...) {
				c.setRoom(0)
			}
			p := NewPublication(deliver(strings.Repeat("x", 10000)))
			for i := range sa {
				_, err := sa[i].Publish(p, "", "")
				require.NoError(t, err)
				_, err = sb[i].Publish(p, "", "")
				require.NoError(t, err)
			}
			synctest.Wait()
			require.EqualValues(t, 10003+10*entryCost, a.Stats().QueuedBytes)
			require.EqualValues(t, 10*entryCost, b.Stats().QueuedBytes)
			for i := range sa {
				(*receiver)(sa[i]).Closed(nil)
			}
			require.EqualValues(t, 10003, a.Stats().QueuedBytes, "the others still hold it")
			for i := range sb {
				(*receiver)(sb[i]).Closed(nil)
			}
			require.Zero(t, a.Stats().QueuedBytes)
			require.Zero(t, b.Stats().QueuedBytes)
		})
	})
}

// oddProtocol can't be compared.
type oddProtocol struct {
	*testProtocol
	_ []int
}

// TestPublicationTellsSubProtocolsApart: equal forms of different sub-protocols say
// nothing about each other.
func TestPublicationTellsSubProtocolsApart(t *testing.T) {
	publish := func(t *testing.T, p *Publication, sp ...subprotocol.SubProtocol) (types []transport.MessageType) {
		for _, sp := range sp {
			e := NewEndpoint(fakeTransport{}, HandlerFunc(nothing), WithSubProtocols(sp))
			c := &fakeConn{room: -1}
			c.onWrite = func(b []transport.Message) { types = append(types, b[0].Type) }
			s, r := open(t, e, c)
			_, err := s.Publish(p, "", "")
			require.NoError(t, err)
			synctest.Wait()
			r.Closed(nil)
		}
		return types
	}
	t.Run("raw", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			p := NewPublication(&subprotocol.Message{Body: []byte("hello")})
			binary := raw.New(&raw.Options{Type: transport.MessageBinary})
			require.Equal(t, []transport.MessageType{transport.MessageText, transport.MessageBinary, transport.MessageText},
				publish(t, p, raw.New(nil), binary, raw.New(nil)))
		})
	})
	t.Run("not comparable", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			sp := &testProtocol{formed: true}
			publish(t, NewPublication(deliver("x")), oddProtocol{testProtocol: sp}, oddProtocol{testProtocol: sp})
			require.Equal(t, 2, sp.appends)
		})
	})
	t.Run("the same for two endpoints", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			sp := &testProtocol{formed: true}
			publish(t, NewPublication(deliver("x")), sp, sp)
			require.Equal(t, 1, sp.appends)
		})
	})
}

// TestSendAllocations: once a publication is encoded a delivery allocates nothing, nor does a
// message of its own, and Senders change nothing about that.
func TestSendAllocations(t *testing.T) {
	// Not parallel: it counts the process's allocations.
	pass := func(next Sender) Sender { return SenderFunc(func(o Outgoing) (Status, error) { return next.Send(o) }) }
	for _, opts := range [][]Option{nil, {WithOutbound(pass)}} {
		e := newFake(t, nothing, append(opts, WithQueue(Limits{4, 1 << 20}), WithOverflow(DropOldest()))...)
		s, r := open(t, e, &fakeConn{room: 0})
		p := NewPublication(deliver("hello"))
		m := deliver("hello")
		m.Kind = 0
		n := testing.AllocsPerRun(1000, func() {
			if status, err := s.Publish(p, "", ""); status != Queued {
				t.Error(status, err)
			}
			if status, err := s.Send(m); status != Queued {
				t.Error(status, err)
			}
		})
		if !raceEnabled {
			require.Zero(t, n)
		}
		r.Closed(nil)
	}
}

// TestTraffic: what the sessions of one sub-protocol send and receive is counted under the name
// that was announced.
func TestTraffic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := NewEndpoint(fakeTransport{}, HandlerFunc(nothing),
			WithSubProtocols(&testProtocol{names: []string{"a", "b"}}, &testProtocol{names: []string{"c"}}))
		for i, name := range []string{"a", "b", "c", ""} {
			h := handshake()
			if name != "" {
				h.SubProtocols = []string{name}
			}
			a, err := e.Accept(h)
			require.NoError(t, err)
			r := a.Open(&fakeConn{room: -1})
			for range i + 1 {
				r.Receive(transport.Message{Type: transport.MessageText, Data: []byte("SEND")})
			}
			_, err = (*Session)(r.(*receiver)).Send(deliver("x"))
			require.NoError(t, err)
			synctest.Wait()
			got := e.Traffic(name)
			require.EqualValues(t, i+1, got.MessagesIn)
			require.EqualValues(t, 4*(i+1), got.BytesIn)
			require.EqualValues(t, 1, got.MessagesOut)
			require.Equal(t, uint64(len("[,]x")), got.BytesOut)
			r.Closed(nil)
		}
		require.EqualValues(t, 10, e.Stats().MessagesIn)
		require.EqualValues(t, 4, e.Stats().MessagesOut)
		require.Zero(t, e.Traffic("d"))
	})
}
