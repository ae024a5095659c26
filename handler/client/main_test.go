package client_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const url = "pipe://localhost/test"

// server is an endpoint over a pipe that answers what tests ask for.
type server struct {
	t        *testing.T
	pipe     *pipe.Transport
	endpoint *handler.Endpoint
	broker   *broker.Broker
	dialer   *dialer

	mu   sync.Mutex
	last *handler.Session
	seen []subprotocol.Message // kinds, destinations, bodies, in order
}

// dialer keeps the connections, so that a test can break the latest.
type dialer struct {
	*pipe.Transport

	mu    sync.Mutex
	conns []*pipe.Conn
	fail  error
}

func (d *dialer) Dial(
	ctx context.Context, url string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver,
) (transport.Conn, error) {
	d.mu.Lock()
	err := d.fail
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	conn, err := d.Transport.Dial(ctx, url, cfg, func(c transport.Conn) transport.Receiver {
		d.mu.Lock()
		d.conns = append(d.conns, c.(*pipe.Conn))
		d.mu.Unlock()
		return open(c)
	})
	return conn, err
}

func (d *dialer) refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// latest is the newest connection.
func (d *dialer) latest() *pipe.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns[len(d.conns)-1]
}

// serve starts a server, which is shut down at the end of the test.
func serve(t *testing.T, sp subprotocol.SubProtocol, opts ...handler.Option) *server {
	s := &server{t: t, pipe: pipe.New(nil), broker: broker.New(&broker.Options{DeadLetter: "/queue/dead"})}
	s.dialer = &dialer{Transport: s.pipe}
	opts = append([]handler.Option{handler.WithSubProtocols(sp), handler.WithShutdownSpread(0)}, opts...)
	s.endpoint = handler.NewEndpoint(s.pipe, handler.HandlerFunc(s.handle), opts...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, s.endpoint.Shutdown(ctx))
		s.broker.Close()
	})
	return s
}

// handle does what the destination says.
func (s *server) handle(ctx context.Context, r handler.Request) error {
	m := r.Message
	s.mu.Lock()
	s.last = r.Session
	s.seen = append(s.seen, subprotocol.Message{Kind: m.Kind, Destination: m.Destination, ID: m.ID, Body: append([]byte(nil), m.Body...)})
	s.mu.Unlock()
	if m.Kind == subprotocol.KindConnect {
		if m.Header.Get("login") == "wrong" {
			return &subprotocol.Error{Code: "unauthorized", Text: "who are you"}
		}
		return nil
	}
	switch m.Destination {
	case "/refuse":
		return &subprotocol.Error{Code: "refused", Text: "not here"}
	case "/fatal":
		return &subprotocol.Error{Code: "fatal", Text: "that was it", Fatal: true}
	case "/silent": // no answer to anything
		<-ctx.Done()
		return errors.New("over")
	case "/once":
		_, err := r.Reply(&subprotocol.Message{Body: []byte("the answer")})
		return err
	case "/ends": // ends the subscription when it is sent to
		if m.Kind == subprotocol.KindSend {
			_, err := r.Session.Send(&subprotocol.Message{Kind: subprotocol.KindUnsubscribe, Subscription: string(m.Body)})
			return err
		}
		return nil
	case "/ask":
		_, err := r.Session.Send(&subprotocol.Message{Kind: subprotocol.KindHeartbeat, NeedReply: true})
		return err
	case "/bye":
		_, err := r.Session.Send(&subprotocol.Message{Kind: subprotocol.KindDisconnect})
		return err
	case "/echo":
		_, err := r.Reply(&subprotocol.Message{Body: m.Body, ContentType: m.ContentType})
		return err
	}
	if m.Destination == "" {
		if m.Kind == subprotocol.KindSend {
			_, err := r.Reply(&subprotocol.Message{Body: m.Body})
			return err
		}
		return nil
	}
	return s.broker.Handle(ctx, r)
}

// vanish has the server fall silent without a word.
func (s *server) vanish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn, _ := transport.As[*pipe.Conn](s.last.Conn())
	conn.Vanish()
}

// bodies are those of the Sends that the server saw.
func (s *server) bodies() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.seen {
		if m.Kind == subprotocol.KindSend {
			all = append(all, string(m.Body))
		}
	}
	return all
}

// of are the messages of one kind that the server saw.
func (s *server) of(k subprotocol.Kind) (all []subprotocol.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.seen {
		if m.Kind == k {
			all = append(all, m)
		}
	}
	return all
}

// dial connects a client that is closed at the end of the test.
func (s *server) dial(sp subprotocol.SubProtocol, opts *client.Options) *client.Client {
	s.t.Helper()
	c, err := client.Dial(s.t.Context(), url, s.dialer, sp, opts)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func text(destination, body string) *subprotocol.Message {
	return &subprotocol.Message{Destination: destination, Body: []byte(body), ContentType: "text/plain"}
}

var jsonEnvelope = envelope.NewJSON(nil)

// protocols are those that have all that a client can do.
var protocols = map[string]subprotocol.SubProtocol{
	"json":    jsonEnvelope,
	"msgpack": envelope.NewMsgpack(nil),
	"stomp":   stomp.New(nil),
	"stomp11": stomp.New(&stomp.Options{Versions: []string{"1.1"}}),
}

// each runs f in a bubble for every protocol.
func each(t *testing.T, f func(t *testing.T, sp subprotocol.SubProtocol)) {
	t.Parallel()
	for name, sp := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { f(t, sp) })
		})
	}
}
