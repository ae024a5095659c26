package broker

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// session is the only session of s.
func (s *server) session() *handler.Session {
	synctest.Wait()
	for x := range s.ep.Sessions().All() {
		return x
	}
	s.t.Fatal("there is no session")
	return nil
}

// code is that of the error that a client is shown, "" for none.
func code(t testing.TB, err error) string {
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*subprotocol.Error](err)
	require.True(t, ok, "%v", err)
	require.False(t, e.Fatal)
	require.NotEmpty(t, e.Text)
	return e.Code
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(&Options{MaxDestinations: 3, MaxSubscriptions: 4, MaxQueueMessages: 2, MaxQueueBytes: 1200, MaxBytes: 1800})
		s := serve(t, b)
		a := s.join("")
		session := s.session()
		sub, unsub, send, ack, nack := subprotocol.KindSubscribe, subprotocol.KindUnsubscribe, subprotocol.KindSend, subprotocol.KindAck, subprotocol.KindNack
		long := "/topic/" + strings.Repeat("x", maxDestination-len("/topic/"))
		big := strings.Repeat("x", 1000)
		for i, tt := range []struct {
			kind            subprotocol.Kind
			id, destination string
			mode            subprotocol.AckMode
			field, value    string
			want            string
		}{
			{sub, "1", "", 0, "", "", "not-found"},
			{sub, "1", "/topic", 0, "", "", "not-found"},
			{sub, "1", "/topic/", 0, "", "", "not-found"},
			{sub, "1", "/elsewhere/a", 0, "", "", "not-found"},
			{sub, "1", long + "x", 0, "", "", "bad-destination"},
			{sub, "1", "/topic/a*", 0, "", "", "bad-destination"},
			{sub, "1", "/topic" + strings.Repeat("/a", maxPattern-2) + "/*", 0, "", "", "bad-destination"},
			{sub, "1", "/queue/*", 0, "", "", "bad-destination"},
			{sub, "1", "/user/queue/**", 0, "", "", "bad-destination"},
			{sub, "1", "/topic/a", 0, "selector", "a = 1", "bad-header"},
			{sub, "1", "/topic/a", 1, "prefetch-count", "0", "bad-header"},
			{sub, "1", "/topic/a", 1, "prefetch-count", "-1", "bad-header"},
			{sub, "1", "/topic/a", 1, "prefetch-count", "99999999999999999999", "bad-header"},
			{sub, "1", "/topic/a", 1, "prefetch-count", "999999999", ""},
			{sub, "1", "/topic/b", 0, "", "", "subscription-exists"},
			{sub, "2", "/topic/**", 0, "", "", ""},
			{sub, "3", long, 2, "", "", ""},
			{sub, "4", "/queue/a", 2, "", "", ""},
			{sub, "5", "/topic/a", 0, "", "", "too-many-subscriptions"},
			{send, "", "/queue/b", 0, "", "", "too-many-destinations"},
			{send, "", "/topic/c", 0, "", "", ""},
			{send, "x", "/topic/c", 0, "retain", "true", "too-many-destinations"},
			{unsub, "5", "", 0, "", "", "no-subscription"},
			{unsub, "3", "", 0, "", "", ""},
			{unsub, "3", "", 0, "", "", "no-subscription"},
			{unsub, "2", "", 0, "", "", ""},
			{send, "", "/topic/*", 0, "", "", "bad-destination"},
			{send, "", "/topic/a*", 0, "", "", "bad-destination"},
			{send, "", "/topic/c", 0, "ttl", "1s", "bad-header"},
			{send, "", "/topic/c", 0, "ttl", "0", "bad-header"},
			{send, "", "/topic/c", 0, "ttl", "9223372036854775807", "bad-header"},
			{send, "", "/topic/c", 0, "expires", "-1", "bad-header"},
			{send, "", "/topic/c", 0, "expires", "9223372036854775807", "bad-header"},
			{send, "", "/topic/c", 0, "expires", "0", ""},
			{send, "", "/user/ann", 0, "", "", "bad-destination"},
			{send, "", "/user//queue/x", 0, "", "", "bad-destination"},
			{send, "", "/user/%/queue/x", 0, "", "", "bad-destination"},
			{send, "", "/user/ann/", 0, "", "", "bad-destination"},
			{send, "", "/user/ann/*", 0, "", "", "bad-destination"},
			{send, "", "/user/ann/queue", 0, "", "", ""},
			{send, big, "/queue/b", 0, "", "", "queue-full"},
			{send, "", "/queue/b", 0, "", "", ""},
			{send, "", "/queue/b", 0, "", "", ""},
			{send, "", "/queue/b", 0, "", "", "queue-full"},
			{send, "", "/queue/a", 0, "", "", ""},
			{send, "", "/queue/a", 0, "", "", ""},
			{send, "", "/queue/a", 0, "", "", "queue-full"},
			{ack, "1", "", 0, "", "", "unknown-ack"},
			{ack, "9", "", 0, "", "", "unknown-ack"},
			{nack, "4", "", 0, "", "", "unknown-ack"},
			{subprotocol.KindConnect, "", "", 0, "", "", ""},
			{subprotocol.KindDisconnect, "", "", 0, "", "", ""},
		} {
			m := &subprotocol.Message{Kind: tt.kind, Subscription: tt.id, ID: "zz", Destination: tt.destination, AckMode: tt.mode}
			if tt.field != "" {
				m.Header = subprotocol.Header{{Name: tt.field, Value: tt.value}}
			}
			if tt.kind == send {
				m.Body = []byte(tt.id)
			}
			require.Equal(t, tt.want, code(t, b.Handle(t.Context(), handler.Request{Session: session, Message: m})), "%d %+v", i, tt)
		}
		_ = a.all()
		b.Close()
		require.ErrorIs(t, b.Publish(t.Context(), "/topic/a", body("1")), net.ErrClosed)
		require.ErrorIs(t, b.PublishToUser(t.Context(), "a", "/x", body("1")), net.ErrClosed)
		require.ErrorIs(t, b.PublishToSession(t.Context(), session, "/x", body("1")), net.ErrClosed)
		a.send("/topic/a", "1")
		require.Equal(t, "closed", a.codes())
		a.leave()
		synctest.Wait()
		require.Zero(t, b.subscriptions.Load())
		require.ErrorIs(t, ErrClosed, net.ErrClosed)
	})
}

func TestPatternLength(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkLength("/topic"+strings.Repeat("/a", maxPattern-3)+"/*", '/'))
	require.NoError(t, checkLength("/topic/"+strings.Repeat("a.", maxPattern-2)+"*", '.'))
	require.ErrorContains(t, checkLength("/topic/"+strings.Repeat("a.", maxPattern-1)+"*", '.'), "more than 16 segments")
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]*Options{
		"broker: Options has a negative limit":                                       {MaxBytes: -1},
		"broker: Options.Separator is neither '/' nor '.'":                           {Separator: ':'},
		"broker: Options.Prefetch is over MaxPrefetch":                               {Prefetch: 2, MaxPrefetch: 1},
		`broker: prefix "topic" does not begin and end with a slash`:                 {TopicPrefixes: []string{"topic"}},
		`broker: prefixes "/a/" and "/a/b/" have destinations in common`:             {TopicPrefixes: []string{"/a/"}, QueuePrefixes: []string{"/a/b/"}},
		`broker: Options.DeadLetter "/dead" is neither a topic nor a queue`:          {DeadLetter: "/dead"},
		`broker: Options.DeadLetter "/topic/*" is neither a topic nor a queue`:       {DeadLetter: "/topic/*"},
		`broker: Options.DeadLetter "/user/a/topic" is neither a topic nor a queue`:  {DeadLetter: "/user/a/topic"},
		`broker: Options.DeadLetter "/queue/dead" is neither a topic nor a queue`:    {DeadLetter: "/queue/dead", QueuePrefixes: []string{}},
		`broker: prefixes "/topic/" and "/topic/users/" have destinations in common`: {UserPrefix: "/topic/users/"},
	} {
		require.PanicsWithValue(t, want, func() { New(o) })
	}
	o := Options{TopicPrefixes: []string{"/exchange/"}}
	b := New(&o)
	o.TopicPrefixes[0] = "/changed/"
	require.Equal(t, isTopic, b.opts.kindOf("/exchange/a"))
	require.Equal(t, isNothing, b.opts.kindOf("/topic/a"))
}

// TestExpiry: what is too old is not delivered, and leaves the memory by itself.
func TestExpiry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var expired atomic.Int64
		b := New(&Options{TTL: time.Minute, Hooks: Hooks{Expired: func(string, *subprotocol.Message) { expired.Add(1) }}})
		s := serve(t, b)
		a := s.join("")
		send := func(destination, name, value, text string) {
			m := body(text)
			if name != "" {
				m.Header = subprotocol.Header{{Name: name, Value: value}}
			}
			require.NoError(t, b.Publish(t.Context(), destination, m))
		}
		ready := func() int {
			st, _ := b.Queue("/queue/a")
			return st.Ready
		}
		send("/queue/a", "ttl", "1", "1")
		send("/queue/a", "ttl", "100000", "2")
		send("/queue/a", "expires", fmt.Sprint(time.Now().Add(time.Millisecond).UnixMilli()), "3")
		send("/queue/a", "expires", fmt.Sprint(time.Now().UnixMilli()), "4")
		send("/topic/a", "expires", fmt.Sprint(time.Now().UnixMilli()), "5")
		send("/queue/a", "", "", "6")
		require.EqualValues(t, 2, expired.Load())
		require.Equal(t, 4, ready())
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, 2, ready())
		require.EqualValues(t, 4, expired.Load())
		// Those that follow within a second wait for each other, unless somebody asks.
		send("/queue/a", "ttl", "1", "7")
		send("/queue/a", "ttl", "2", "8")
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, 4, ready())
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 2, ready())
		send("/queue/a", "ttl", "1", "9")
		time.Sleep(2 * time.Millisecond)
		a.subscribe("q", "/queue/a", "client-individual", "prefetch-count", "1")
		require.Equal(t, "2", a.bodies())
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, ready())
		require.EqualValues(t, 8, expired.Load())
		require.EqualValues(t, 8, b.Stats().Expired)
		a.settle("ack", "q", "1")
		require.Empty(t, a.codes())
		a.leave()
		synctest.Wait()
		b.requireEmpty(t)
		require.True(t, b.alarms.at.IsZero())
	})
}

func TestSelectors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(&Options{Selectors: true})
		s := serve(t, b)
		a, z := s.join(""), s.join("")
		a.subscribe("t", "/topic/a", "auto", "selector", "n > 2")
		a.subscribe("q", "/queue/a", "client-individual", "selector", "n > 2", "prefetch-count", "1")
		a.say(`{'type':'subscribe','subscription':'x','destination':'/topic/a','header':[['selector','n >']]}`)
		require.Equal(t, "bad-header", a.codes())
		for _, d := range []string{"/topic/a", "/queue/a"} {
			for i := range 6 {
				m := body(fmt.Sprint(i))
				m.Header = subprotocol.Header{{Name: "n", Value: fmt.Sprint(i)}}
				require.NoError(t, b.Publish(t.Context(), d, m))
			}
		}
		require.Equal(t, "3 4 5 3", a.bodies())
		z.subscribe("q", "/queue/a", "client-individual", "prefetch-count", "4")
		require.Equal(t, "0 1 2 4", z.bodies())
		a.settle("ack", "q", "1")
		require.Equal(t, "5", a.bodies())
		z.settle("nack", "q", "2", "5")
		require.Empty(t, z.bodies())
		a.settle("ack", "q", "6")
		require.Equal(t, "4", a.bodies())
		time.Sleep(time.Second)
		require.Equal(t, "0", z.bodies(), "nobody else wants it")
		a.leave()
		z.leave()
	})
}

// TestCloseSubscription: the server may end a subscription; the client is told.
func TestCloseSubscription(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ends := 0
		b := New(&Options{Hooks: Hooks{Unsubscribed: func(Subscription) { ends++ }}})
		s := serve(t, b)
		a := s.join("")
		a.subscribe("t", "/topic/a", "auto")
		a.subscribe("u", "/queue/a", "client")
		session := s.session()
		require.NoError(t, b.CloseSubscription(session, "t"))
		require.Equal(t, "no-subscription", code(t, b.CloseSubscription(session, "t")))
		fs := a.frames()
		require.Len(t, fs, 1)
		require.Equal(t, "unsubscribe", fs[0].Type)
		require.Equal(t, "t", fs[0].Subscription)
		a.subscribe("t", "/topic/a", "auto")
		require.Equal(t, 1, ends)
		var all []string
		for sub := range b.Subscriptions() {
			all = append(all, sub.ID+" "+sub.Destination+" "+sub.AckMode.String())
		}
		require.ElementsMatch(t, []string{"t /topic/a auto", "u /queue/a client"}, all)
		n := 0
		for range b.SubscriptionsOfUser("") {
			n++
		}
		for sub := range b.SubscriptionsOf(session) {
			require.NoError(t, b.CloseSubscription(sub.Session, sub.ID))
			break
		}
		for q := range b.Queues() {
			require.Equal(t, "/queue/a", q.Destination)
			n++
		}
		require.LessOrEqual(t, n, 3)
		a.leave()
		synctest.Wait()
		require.Equal(t, 3, ends)
		b.requireEmpty(t)
	})
}

// TestBusy: publishers of one topic wait for the one that delivers, but not for ever.
func TestBusy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := New(nil)
		hold := make(chan struct{})
		s := serve(t, b, handler.WithOutbound(func(next handler.Sender) handler.Sender {
			return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
				if string(o.Message.Body) == "-1" {
					<-hold
				}
				return next.Send(o)
			})
		}))
		a := s.join("")
		a.subscribe("t", "/topic/a", "auto")
		go func() { _ = b.Publish(t.Context(), "/topic/a", body("-1")) }()
		synctest.Wait()
		for i := range maxInbox {
			require.NoError(t, b.Publish(t.Context(), "/topic/a", body(fmt.Sprint(i))))
		}
		begin := time.Now()
		require.Equal(t, "busy", code(t, b.Publish(t.Context(), "/topic/a", body("1"))))
		require.Equal(t, maxWait, time.Since(begin))
		require.EqualValues(t, 1, b.Stats().Busy)
		done := make(chan error)
		go func() { done <- b.Publish(t.Context(), "/topic/a", body("1000")) }()
		synctest.Wait()
		require.NoError(t, b.Publish(t.Context(), "/topic/b", body("1")), "other topics go on")
		close(hold)
		require.NoError(t, <-done)
		require.Len(t, a.all(), 1+maxInbox+1)
		a.leave()
		synctest.Wait()
		b.requireEmpty(t)
	})
}
