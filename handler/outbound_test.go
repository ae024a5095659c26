package handler

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func TestOutboundSeesEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var seen []string
		note := func(who string) func(Sender) Sender {
			return func(next Sender) Sender {
				return SenderFunc(func(o Outgoing) (Status, error) {
					seen = append(seen, who+" "+o.Message.Kind.String()+" "+string(o.Message.Body))
					return next.Send(o)
				})
			}
		}
		s, say, _ := talk(t, func(_ context.Context, r Request) error {
			switch string(r.Message.Body) {
			case "reply":
				status, err := r.Reply(&subprotocol.Message{Body: []byte("answer")})
				require.Equal(t, Sent, status)
				return err
			case "fail":
				return errors.New("no")
			}
			return nil
		}, WithOutbound(note("a"), note("b")), WithHeartbeat(10*time.Second, 0))
		require.Equal(t, []string{"CONNECTED"}, say("CONNECT want=10000"))
		require.Equal(t, []string{"REPLY|answer", "RECEIPT r=1", "ERROR internal"}, say("SEND|reply", "SEND r=1", "SEND|fail"))
		_, err := s.Send(&subprotocol.Message{Body: []byte("sent")})
		require.NoError(t, err)
		require.NoError(t, s.SendContext(t.Context(), &subprotocol.Message{Body: []byte("waited")}))
		_, err = s.Publish(NewPublication(&subprotocol.Message{Body: []byte("published")}), "s1", "7")
		require.NoError(t, err)
		require.Equal(t, []string{"DELIVER|sent", "DELIVER|waited", "DELIVER i=7 s=s1|published"}, say())
		var want []string
		for _, m := range []string{
			"CONNECTED ", "REPLY answer", "RECEIPT ", "ERROR ", "DELIVER sent", "DELIVER waited", "DELIVER published",
		} {
			want = append(want, "a "+m, "b "+m)
		}
		require.Equal(t, want, seen)
		time.Sleep(10 * time.Second)
		require.Equal(t, []string{"HEARTBEAT"}, say(), "heartbeats pass by")
		require.Equal(t, want, seen)
	})
}

// TestOutboundChanges: a changed clone is for one session alone; the others still
// share one encoding.
func TestOutboundChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &testProtocol{formed: true, split: true}
		e := NewEndpoint(fakeTransport{}, HandlerFunc(nothing), WithSubProtocols(p), WithOutbound(func(next Sender) Sender {
			return SenderFunc(func(o Outgoing) (Status, error) {
				switch o.Session.User() {
				case "ann":
					o.Message = o.Message.Clone()
					o.Message.Body = []byte("for ann")
				case "bob":
					return Dropped, nil
				}
				return next.Send(o)
			})
		}))
		conns := map[string]*fakeConn{}
		var all []*Session
		for _, user := range []string{"", "ann", "bob", "cid"} {
			c := &fakeConn{room: -1}
			s, r := open(t, e, c)
			defer r.Closed(nil)
			s.SetUser(user)
			conns[user] = c
			all = append(all, s)
		}
		pub := NewPublication(deliver("news"))
		for _, s := range all {
			_, err := s.Publish(pub, "s", "1")
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, []string{"[s,1]news"}, conns[""].messages())
		require.Equal(t, []string{"[s,1]news"}, conns["cid"].messages())
		require.Equal(t, []string{"[s,1]for ann"}, conns["ann"].messages())
		require.Empty(t, conns["bob"].messages())
		require.Equal(t, 2, p.appends, "the shared tail, and what ann alone gets")
		require.Equal(t, "news", string(pub.msg.Body))
	})
}

func TestOutboundWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newFake(t, nothing, WithQueue(Limits{1, 1 << 20}), WithOutbound(func(next Sender) Sender {
			return SenderFunc(func(o Outgoing) (Status, error) { return next.Send(o) })
		}))
		c := &fakeConn{}
		s, r := open(t, e, c)
		require.NoError(t, s.SendContext(t.Context(), deliver("1")))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.SendContext(ctx, deliver("2")), context.DeadlineExceeded)
		go func() {
			time.Sleep(time.Second)
			c.setRoom(-1)
			r.Writable()
		}()
		require.NoError(t, s.SendContext(t.Context(), deliver("3")))
		synctest.Wait()
		require.Equal(t, []string{"1", "3"}, c.messages())
		r.Closed(nil)
	})
}

// TestReadyBeforeTheClientKnows: who hears from the client that it is connected can send
// to it.
func TestReadyBeforeTheClientKnows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, say, c := talk(t, nothing)
		c.onWrite = func(batch []transport.Message) {
			if string(batch[0].Data) != "CONNECTED" {
				return
			}
			require.Same(t, s, s.endpoint.Sessions().Get(s.ID()))
			status, err := s.Send(deliver("at once"))
			require.NoError(t, err)
			require.Equal(t, Queued, status)
		}
		require.Equal(t, []string{"CONNECTED", "DELIVER|at once"}, say("CONNECT"))
	})
}
