package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/tcp"
)

// site is a way to somebody else's broker for weft's client.
type site struct {
	url     string
	dialer  transport.Dialer
	version string
	vhost   string
	tls     *tls.Config

	textOnly   bool                // it sends no bodies but text
	deadLetter string              // what stands before a queue's name where a Nack moves messages to, "" for nowhere
	refused    subprotocol.Message // a SEND or SUBSCRIBE that it answers with an ERROR
}

var destinations atomic.Int64

// destination is one that no other case uses.
func destination(kind string) string {
	return fmt.Sprintf("/%s/weft-%d", kind, destinations.Add(1))
}

// timeout bounds everything that one case waits for.
func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// options are what every client of the site has.
func (s site) options() *client.Options {
	return &client.Options{
		Connect: func(_ context.Context, _ http.Header, m *subprotocol.Message) error {
			m.Header = subprotocol.Header{{Name: "host", Value: s.vhost}, {Name: "login", Value: "guest"}, {Name: "passcode", Value: "guest"}}
			return nil
		},
		TLS:       s.tls,
		MaxFrame:  2 << 20,
		Reconnect: client.Reconnect{FirstDelay: 50 * time.Millisecond, MaxDelay: 200 * time.Millisecond},
		Heartbeat: subprotocol.Heartbeat{Send: -1, Receive: -1},
	}
}

func (s site) protocol() subprotocol.SubProtocol {
	if s.version == "1.2" {
		return stomp.New(nil) // offers all, and this is the newest
	}
	return stomp.New(&stomp.Options{Versions: []string{s.version}})
}

// connect returns a client that is closed with the test, if it is not before.
func (s site) connect(t *testing.T, change ...func(*client.Options)) *client.Client {
	t.Helper()
	o := s.options()
	for _, f := range change {
		f(o)
	}
	c, err := client.Dial(timeout(t), s.url, s.dialer, s.protocol(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

// watched is connect, and all changes of the client's state.
func (s site) watched(t *testing.T, change ...func(*client.Options)) (*client.Client, <-chan client.StateChange) {
	t.Helper()
	changes := make(chan client.StateChange, 1000)
	return s.connect(t, append(change, func(o *client.Options) {
		o.Hooks.State = func(ch client.StateChange) { changes <- ch }
	})...), changes
}

func until(t *testing.T, changes <-chan client.StateChange, state client.State) client.StateChange {
	t.Helper()
	for {
		if ch := wait(t, changes); ch.State == state {
			return ch
		}
	}
}

// relayed puts a relay in front of the site.
func (s *site) relayed(t *testing.T) *relay {
	t.Helper()
	scheme, rest, _ := strings.Cut(s.url, "://")
	addr, path, found := strings.Cut(rest, "/")
	r := newRelay(t, addr)
	s.url = scheme + "://" + r.addr
	if found {
		s.url += "/" + path
	}
	return r
}

func send(t *testing.T, c *client.Client, m subprotocol.Message) {
	t.Helper()
	require.NoError(t, c.SendReceipt(timeout(t), &m))
}

func sendTexts(t *testing.T, c *client.Client, dest string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		send(t, c, subprotocol.Message{Destination: dest, Body: []byte(text)})
	}
}

func subscribe(t *testing.T, c *client.Client, dest string, mode subprotocol.AckMode) *client.Subscription {
	t.Helper()
	s, err := c.Subscribe(timeout(t), dest, &client.SubscribeOptions{AckMode: mode}, nil)
	require.NoError(t, err)
	return s
}

// take returns the next n deliveries.
func take(t *testing.T, s *client.Subscription, n int) (ds []*client.Delivery) {
	t.Helper()
	for d, err := range s.Messages(timeout(t)) {
		require.NoError(t, err, "after %d of %d messages", len(ds), n)
		if ds = append(ds, d); len(ds) == n {
			break
		}
	}
	return ds
}

func texts(ds []*client.Delivery) (all []string) {
	for _, d := range ds {
		all = append(all, string(d.Body))
	}
	return all
}

// rest ends a subscription with nothing in it: a message that is sent to it now is the
// next one.
func rest(t *testing.T, c *client.Client, s *client.Subscription) {
	t.Helper()
	sendTexts(t, c, s.Destination(), "marker")
	require.Equal(t, []string{"marker"}, texts(take(t, s, 1)))
	require.NoError(t, s.Unsubscribe(timeout(t)))
}

func leave(t *testing.T, c *client.Client) {
	t.Helper()
	require.NoError(t, c.Close(timeout(t)))
	require.Equal(t, client.Closed, c.State())
}

// siteCases are what weft's client does at a broker that stays up.
var siteCases = map[string]func(t *testing.T, s site){
	"greeting": func(t *testing.T, s site) {
		c := s.connect(t)
		require.Equal(t, client.Connected, c.State())
		require.NotEmpty(t, c.Greeting().ID, "a session")
		if s.version != "1.0" {
			require.Equal(t, s.version, c.Greeting().Version)
		}
		leave(t, c)
	},

	"a wrong passcode": func(t *testing.T, s site) {
		o := s.options()
		right := o.Connect
		o.Connect = func(ctx context.Context, h http.Header, m *subprotocol.Message) error {
			err := right(ctx, h, m)
			m.Header.Set("passcode", "mistaken")
			return err
		}
		o.Reconnect.First = true // a refusal ends the client all the same
		c := client.New(s.url, s.dialer, s.protocol(), o)
		err := c.Connect(timeout(t))
		var refusal *client.ServerError
		require.ErrorAs(t, err, &refusal)
		require.True(t, refusal.Refused)
		require.NotEmpty(t, refusal.Message.Error.Text)
		require.NotContains(t, err.Error(), "mistaken")
		require.Equal(t, client.Closed, c.State())
	},

	"a topic": func(t *testing.T, s site) {
		a, b, dest := s.connect(t), s.connect(t), destination("topic")
		got := make(chan *client.Delivery, 10)
		_, err := a.Subscribe(timeout(t), dest, nil, func(_ context.Context, d *client.Delivery) { got <- d })
		require.NoError(t, err)
		sub := subscribe(t, b, dest, subprotocol.AckAuto)
		const body = "Grüße, 世界 🧵"
		send(t, a, subprotocol.Message{
			Destination: dest, ContentType: "text/plain;charset=utf-8", Body: []byte(body),
			Header: subprotocol.Header{{Name: "colour", Value: "blue"}},
		})
		for _, d := range []*client.Delivery{wait(t, got), take(t, sub, 1)[0]} {
			require.Equal(t, body, string(d.Body))
			require.Equal(t, dest, d.Destination)
			require.Equal(t, "text/plain;charset=utf-8", d.ContentType)
			require.Equal(t, "blue", d.Header.Get("colour"))
			require.ErrorIs(t, d.Ack(timeout(t)), client.ErrNoAck)
		}
		rest(t, b, sub)
		require.Equal(t, "marker", string(wait(t, got).Body))
		require.Empty(t, got)
	},

	"all bytes": func(t *testing.T, s site) {
		if s.textOnly {
			return // see the site
		}
		c, dest := s.connect(t), destination("queue")
		sub := subscribe(t, c, dest, subprotocol.AckAuto)
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for _, body := range [][]byte{all, {0}, {0, '\n', 0}} {
			send(t, c, subprotocol.Message{Destination: dest, ContentType: "application/octet-stream", Body: body})
			require.Equal(t, body, take(t, sub, 1)[0].Body)
		}
	},

	"a large body": func(t *testing.T, s site) {
		c, dest := s.connect(t), destination("queue")
		sub := subscribe(t, c, dest, subprotocol.AckAuto)
		body := strings.Repeat("0123456789abcdef", 1<<16)
		sendTexts(t, c, dest, body)
		if body != string(take(t, sub, 1)[0].Body) {
			t.Error("another body came")
		}
	},

	"headers": func(t *testing.T, s site) {
		c, dest := s.connect(t), destination("queue")
		value := "plain"
		if s.version != "1.0" {
			value = "colon : backslash \\ newline \n not one \\n grüße"
		}
		sub := subscribe(t, c, dest, subprotocol.AckAuto)
		send(t, c, subprotocol.Message{Destination: dest, Header: subprotocol.Header{{Name: "value", Value: value}}})
		require.Equal(t, value, take(t, sub, 1)[0].Header.Get("value"))
	},

	"order, taken slowly": func(t *testing.T, s site) {
		c, dest := s.connect(t), destination("queue")
		sub, err := c.Subscribe(timeout(t), dest, &client.SubscribeOptions{BufferMessages: 4}, nil)
		require.NoError(t, err)
		const n = 500
		for i := range n {
			m := &subprotocol.Message{Destination: dest, Body: fmt.Append(nil, i)}
			require.NoError(t, c.Send(timeout(t), m))
		}
		for i, d := range take(t, sub, n) {
			require.Equal(t, fmt.Sprint(i), string(d.Body))
		}
		rest(t, c, sub)
	},

	"ack client": func(t *testing.T, s site) {
		a, dest := s.connect(t), destination("queue")
		sendTexts(t, a, dest, "0", "1", "2", "3")
		ds := take(t, subscribe(t, a, dest, subprotocol.AckClient), 4)
		require.NoError(t, ds[1].Ack(timeout(t)))
		leave(t, a)
		require.ErrorIs(t, ds[2].Ack(timeout(t)), client.ErrClosed)

		b := s.connect(t)
		sub := subscribe(t, b, dest, subprotocol.AckClient)
		ds = take(t, sub, 2)
		require.Equal(t, []string{"2", "3"}, texts(ds))
		require.Equal(t, "true", ds[0].Header.Get("redelivered"))
		require.NoError(t, ds[1].Ack(timeout(t)))
		rest(t, b, sub)
	},

	"ack client-individual": func(t *testing.T, s site) {
		if s.version == "1.0" {
			return // has no such mode
		}
		a, dest := s.connect(t), destination("queue")
		sendTexts(t, a, dest, "0", "1", "2")
		ds := take(t, subscribe(t, a, dest, subprotocol.AckClientIndividual), 3)
		require.NoError(t, ds[1].Ack(timeout(t)))
		leave(t, a)

		b := s.connect(t)
		sub := subscribe(t, b, dest, subprotocol.AckAuto)
		require.Equal(t, []string{"0", "2"}, texts(take(t, sub, 2)))
		rest(t, b, sub)
	},

	"nack": func(t *testing.T, s site) {
		if s.version == "1.0" {
			return // has none
		}
		c, dest := s.connect(t), destination("queue")
		sub := subscribe(t, c, dest, subprotocol.AckClientIndividual)
		sendTexts(t, c, dest, dest)
		d := take(t, sub, 1)[0]
		require.NoError(t, d.Nack(timeout(t)))
		if s.deadLetter == "" {
			d = take(t, sub, 1)[0]
			require.Equal(t, dest, string(d.Body))
			require.Equal(t, "true", d.Header.Get("redelivered"))
			require.NoError(t, d.Ack(timeout(t)))
			return
		}
		_, name, _ := strings.Cut(strings.TrimPrefix(dest, "/"), "/")
		dead := subscribe(t, c, s.deadLetter+name, subprotocol.AckAuto)
		require.Equal(t, []string{dest}, texts(take(t, dead, 1)))
	},

	"transactions": func(t *testing.T, s site) {
		a, b, dest := s.connect(t), s.connect(t), destination("queue")
		work := destination("queue")
		sendTexts(t, a, work, "one", "two")
		ds := take(t, subscribe(t, a, work, subprotocol.AckClient), 2)
		sub := subscribe(t, b, dest, subprotocol.AckAuto)

		tx, err := a.Begin(timeout(t))
		require.NoError(t, err)
		require.NoError(t, tx.Send(timeout(t), &subprotocol.Message{Destination: dest, Body: []byte("aborted")}))
		require.NoError(t, tx.Ack(timeout(t), ds[1]))
		require.NoError(t, tx.Abort(timeout(t)))

		tx, err = a.Begin(timeout(t))
		require.NoError(t, err)
		require.NoError(t, tx.Send(timeout(t), &subprotocol.Message{Destination: dest, Body: []byte("committed")}))
		require.NoError(t, tx.Ack(timeout(t), ds[0]))
		sendTexts(t, a, dest, "before")
		require.NoError(t, tx.Commit(timeout(t)))
		require.Equal(t, []string{"before", "committed"}, texts(take(t, sub, 2)))
		rest(t, b, sub)
		leave(t, a)

		again := subscribe(t, b, work, subprotocol.AckAuto)
		require.Equal(t, []string{"two"}, texts(take(t, again, 1)))
		rest(t, b, again)
	},

	"unsubscribe": func(t *testing.T, s site) {
		c, dest := s.connect(t), destination("queue")
		sub := subscribe(t, c, dest, subprotocol.AckAuto)
		sendTexts(t, c, dest, "one")
		require.Equal(t, []string{"one"}, texts(take(t, sub, 1)))
		require.NoError(t, sub.Unsubscribe(timeout(t)))
		sendTexts(t, c, dest, "two")
		again := subscribe(t, c, dest, subprotocol.AckAuto)
		require.Equal(t, []string{"two"}, texts(take(t, again, 1)))
	},

	"a SEND that is refused, and back with the subscriptions": func(t *testing.T, s site) {
		s.refusal(t, func(c *client.Client) error {
			m := s.refused
			m.Header = nil
			return c.SendReceipt(timeout(t), &m)
		})
	},

	"a SUBSCRIBE that is refused, and back with the others": func(t *testing.T, s site) {
		s.refusal(t, func(c *client.Client) error {
			_, err := c.Subscribe(timeout(t), s.refused.Destination, &client.SubscribeOptions{Header: s.refused.Header}, nil)
			return err
		})
	},

	"heart-beats": func(t *testing.T, s site) {
		if s.version == "1.0" {
			return // has none
		}
		r := s.relayed(t)
		const beat = 500 * time.Millisecond
		c, changes := s.watched(t, func(o *client.Options) {
			o.Heartbeat = subprotocol.Heartbeat{Send: beat, Receive: beat}
		})
		until(t, changes, client.Connected)
		require.NotZero(t, c.Greeting().Heartbeat.Send)
		// Either side would have given up by now.
		select {
		case ch := <-changes:
			require.Fail(t, "the connection did not last", "%v: %v", ch.State, ch.Err)
		case <-time.After(5 * beat):
		}
		r.freeze()
		require.ErrorIs(t, until(t, changes, client.Waiting).Err, transport.ErrTimeout)
		r.thaw()
		until(t, changes, client.Connected)
		leave(t, c)
	},

	"a connection that is cut": func(t *testing.T, s site) {
		r := s.relayed(t)
		c, changes := s.watched(t)
		dest := destination("queue")
		sendTexts(t, c, dest, "work")
		sub := subscribe(t, c, dest, subprotocol.AckClient)
		d := take(t, sub, 1)[0]
		require.NotEqual(t, "true", d.Header.Get("redelivered"))

		r.freeze()
		select {
		case <-r.up:
		default:
		}
		lost := make(chan error, 1)
		go func() { lost <- c.SendReceipt(t.Context(), &subprotocol.Message{Destination: destination("queue")}) }()
		wait(t, r.up)
		r.cut()
		r.thaw()
		require.ErrorIs(t, wait(t, lost), client.ErrConnectionLost)
		until(t, changes, client.Waiting)
		require.ErrorIs(t, d.Ack(timeout(t)), client.ErrStale)

		d = take(t, sub, 1)[0]
		require.Equal(t, "work", string(d.Body))
		require.Equal(t, "true", d.Header.Get("redelivered"))
		require.NoError(t, d.Ack(timeout(t)))
		rest(t, c, sub)
	},
}

// refusal wants do to fail because of an ERROR, and the client to come back after it.
func (s site) refusal(t *testing.T, do func(*client.Client) error) {
	t.Helper()
	c, changes := s.watched(t)
	dest := destination("topic")
	sub := subscribe(t, c, dest, subprotocol.AckAuto)
	until(t, changes, client.Connected)
	var said *client.ServerError
	require.ErrorAs(t, do(c), &said)
	require.NotEmpty(t, said.Message.Error.Text)
	require.False(t, said.Refused)
	require.ErrorAs(t, until(t, changes, client.Waiting).Err, &said)
	until(t, changes, client.Connected)
	sendTexts(t, c, dest, "after")
	require.Equal(t, []string{"after"}, texts(take(t, sub, 1)))
	require.Empty(t, changes, "it was refused once")
}

// run runs all cases in each version.
func (s site) run(t *testing.T, versions ...string) {
	for _, v := range versions {
		s := s
		s.version = v
		for name, f := range siteCases {
			t.Run(v+" "+name, func(t *testing.T) {
				t.Parallel()
				f(t, s)
			})
		}
	}
}

// tcpSite is the broker behind a TCP port.
func tcpSite(addr, vhost string) site {
	return site{url: "tcp://" + addr, dialer: tcp.New(nil), vhost: vhost}
}

// overTLS is the same site behind another port.
func (s site) overTLS(addr string, config *tls.Config) site {
	s.url, s.tls = "tls://"+addr, config
	return s
}

// roots trusts nobody but id.
func (id identity) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	cert, err := x509.ParseCertificate(id.config.Certificates[0].Certificate[0])
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}
