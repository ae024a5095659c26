package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/adapters/prometheus"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/pipe"
)

// server is a broker behind three endpoints: over gobwas and gorilla, and over a pipe whose
// clients can be made not to read.
type server struct {
	t       *testing.T
	metrics *prometheus.Metrics
	url     string // of the sockets, without their paths
	page    string
	pipe    *pipe.Transport
	feed    *handler.Endpoint
}

func start(t *testing.T) *server {
	s := &server{t: t, metrics: prometheus.New(nil), pipe: pipe.New(nil)}
	registry := prom.NewPedanticRegistry()
	registry.MustRegister(s.metrics)
	b := broker.New(&broker.Options{MaxDeliveries: 2, RedeliveryDelay: time.Millisecond, DeadLetter: "/queue/dead", MaxBacklog: 4})
	s.metrics.Broker("main", b)
	opts := []handler.Option{
		handler.WithSubProtocols(envelope.NewJSON(nil), envelope.NewMsgpack(nil), stomp.New(nil)),
		handler.WithShutdownSpread(0), handler.WithSlowHandler(2 * time.Millisecond),
		handler.WithHeartbeat(time.Second, 200*time.Millisecond), handler.WithConnectTimeout(time.Second),
		handler.WithAccept(func(_ context.Context, _ *handler.Session, h *transport.Handshake) error {
			if h.Query == "refuse" {
				return errors.New("as asked")
			}
			return nil
		}),
		handler.WithQueue(handler.Limits{Messages: 32, Bytes: 64 << 10}), handler.WithOverflow(handler.DropOldest()),
	}
	ws := &gobwas.Options{PingInterval: 200 * time.Millisecond, PongTimeout: patience}
	fast := s.metrics.Endpoint("chat", gobwas.New(ws), application(b), opts...)
	other := s.metrics.Endpoint("chat", gorilla.New(nil), application(b), append(opts, handler.WithMaxSessions(2))...)
	s.feed = s.metrics.Endpoint("feed", s.pipe, application(b), opts...)
	mux := http.NewServeMux()
	mux.Handle("/fast", fast)
	mux.Handle("/other", other)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	srv := httptest.NewServer(mux)
	s.url, s.page = "ws"+strings.TrimPrefix(srv.URL, "http"), srv.URL+"/metrics"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for _, ep := range []*handler.Endpoint{fast, other, s.feed} {
			require.NoError(t, ep.Shutdown(ctx))
		}
		b.Close()
		http.DefaultClient.CloseIdleConnections()
		srv.Close()
	})
	return s
}

// application publishes, and does what a panel is about.
func application(b *broker.Broker) handler.Handler {
	mux := handler.NewMux()
	for _, pattern := range []string{"SEND /topic/", "SUBSCRIBE /topic/", "SEND /queue/", "SUBSCRIBE /queue/"} {
		mux.Route(pattern, b)
	}
	on := func(name string, f func(ctx context.Context, r handler.Request) error) {
		mux.Route("SEND /app/"+name, handler.HandlerFunc(f))
	}
	on("echo", func(_ context.Context, r handler.Request) error {
		_, err := r.Reply(&subprotocol.Message{Body: r.Message.Body})
		return err
	})
	on("fail", func(context.Context, handler.Request) error { return errors.New("as asked") })
	on("panic", func(context.Context, handler.Request) error { panic("as asked") })
	on("slow", func(ctx context.Context, _ handler.Request) error {
		// Until the next messages have filled the window, which is what is slow for the others.
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		<-ctx.Done()
		return nil
	})
	mux.Route("CONNECT", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		if r.Message.Header.Get("login") == "nobody" {
			return &subprotocol.Error{Code: "denied", Text: "nobody may connect", Fatal: true}
		}
		return nil
	}))
	return mux
}

// scrape adds to st what a scrape finds, as if it were at a time.
func (s *server) scrape(st *store, at time.Time) {
	s.t.Helper()
	resp, err := http.Get(s.page)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, resp.StatusCode, "%s", text)
	st.add(s.t, at, resp.Header.Get("Content-Type"), text)
}

// load keeps clients at work until ctx ends, and returns when they have gone.
func (s *server) load(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait() // of those that work if another can't begin
	again := func(every time.Duration, f func(i int) error) {
		wg.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				if err := f(i); err != nil {
					s.fine(ctx, err)
					return
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	json, msgpack, st := envelope.NewJSON(nil), envelope.NewMsgpack(nil), stomp.New(nil)
	type peer struct {
		dialer transport.Dialer
		url    string
		sp     subprotocol.SubProtocol
	}
	ws := gobwas.New(nil)
	for _, p := range []peer{
		{ws, s.url + "/fast", json}, {ws, s.url + "/fast", msgpack}, {ws, s.url + "/fast", st},
		{ws, s.url + "/other", json}, {s.pipe, "pipe://localhost/", st},
	} {
		c := s.dial(ctx, p.dialer, p.url, p.sp)
		if c == nil {
			return
		}
		defer func() { _ = c.Close(context.Background()) }()
		_, err := c.Subscribe(ctx, "/topic/news", nil, func(context.Context, *client.Delivery) {})
		s.fine(ctx, err)
		again(20*time.Millisecond, func(i int) (err error) {
			for range 1 + i/20%4 {
				err = errors.Join(err, c.Send(ctx, &subprotocol.Message{Destination: "/topic/news", Body: []byte(`"hello, everybody"`)}))
			}
			if p.sp != st && err == nil {
				_, err = c.Request(ctx, &subprotocol.Message{Destination: "/app/echo", Body: []byte(`"hello"`)})
			}
			return why(c, err)
		})
	}

	// Queues: a consumer that refuses some, one that takes its time, and nobody for the rest.
	worker := s.dial(ctx, ws, s.url+"/fast", json)
	if worker == nil {
		return
	}
	defer func() { _ = worker.Close(context.Background()) }()
	_, err := worker.Subscribe(ctx, "/queue/jobs", &client.SubscribeOptions{AckMode: subprotocol.AckClientIndividual},
		func(ctx context.Context, d *client.Delivery) {
			if len(d.Body)%3 == 0 {
				s.fine(ctx, d.Nack(ctx))
			} else {
				s.fine(ctx, d.Ack(ctx))
			}
		})
	s.fine(ctx, err)
	for _, destination := range []string{"/queue/slow", "/topic/news"} {
		// It never acknowledges: one delivery stays unsettled, the others wait.
		_, err = worker.Subscribe(ctx, destination, &client.SubscribeOptions{
			AckMode: subprotocol.AckClientIndividual, Header: subprotocol.Header{{Name: "prefetch-count", Value: "1"}},
		}, func(context.Context, *client.Delivery) {})
		s.fine(ctx, err)
	}
	again(20*time.Millisecond, func(i int) error {
		body := []byte(`"` + strings.Repeat("x", i%7) + `"`)
		for _, destination := range []string{"/queue/jobs", "/topic/nobody/listens", "/queue/slow"} {
			if err := worker.Send(ctx, &subprotocol.Message{Destination: destination, Body: body}); err != nil {
				return why(worker, err)
			}
		}
		return why(worker, worker.Send(ctx, &subprotocol.Message{
			Destination: "/queue/nobody", Header: subprotocol.Header{{Name: "ttl", Value: "50"}}, Body: body,
		}))
	})

	// Clients that make trouble, each for itself.
	again(100*time.Millisecond, func(i int) error {
		trouble := [...]string{"/app/fail", "/app/slow", "/nowhere", "/app/panic"}
		c := s.dial(ctx, ws, s.url+"/fast", json)
		if c == nil {
			return nil
		}
		for range 40 {
			_ = c.Send(ctx, &subprotocol.Message{Destination: trouble[i%len(trouble)], Body: []byte("1")})
		}
		if i%8 == 1 {
			// The pause of a full window is over when all that was sent is handled.
			_ = c.SendReceipt(ctx, &subprotocol.Message{Destination: "/app/fail", Body: []byte("1")})
		}
		_ = c.Close(ctx)
		return nil
	})
	again(100*time.Millisecond, func(i int) error { s.strangers(ctx, ws, i); return nil })
	wg.Go(func() { s.reader(ctx) })
	wg.Wait()
}

// fine reports an error that is not the end of ctx.
func (s *server) fine(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.t.Error(err)
	}
}

func (s *server) dial(ctx context.Context, d transport.Dialer, url string, sp subprotocol.SubProtocol) *client.Client {
	c, err := client.Dial(ctx, url, d, sp, &client.Options{Reconnect: client.Reconnect{Disabled: true}})
	s.fine(ctx, err)
	return c
}

// why adds to err how c has ended.
func why(c *client.Client, err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(err, c.Err())
}

// strangers are handshakes that are refused, and clients that say nothing, or nonsense.
func (s *server) strangers(ctx context.Context, ws *gobwas.Transport, i int) {
	open := func(url string, cfg *transport.DialConfig, frames ...string) transport.Conn {
		if cfg == nil {
			cfg = &transport.DialConfig{SubProtocols: []string{"v1.json.weft"}}
		}
		c, err := ws.Dial(ctx, url, cfg, func(transport.Conn) transport.Receiver { return deaf{} })
		if err != nil {
			return nil
		}
		for _, f := range frames {
			_, _ = c.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(f)}})
		}
		return c
	}
	const connect = `{"type":"connect","heartbeat":[200,0]}`
	fast := s.url + "/fast"
	switch i % 8 {
	case 0:
		open(fast, &transport.DialConfig{SubProtocols: []string{"v9.unknown"}})
	case 1:
		open(fast, &transport.DialConfig{Header: http.Header{"Origin": {"https://elsewhere.example"}}})
	case 2:
		open(fast+"?refuse", nil)
	case 3:
		open(fast, nil) // no Connect
	case 4:
		open(fast, nil, connect) // no heartbeat
	case 5:
		open(fast, nil, connect, "nonsense", "more of it")
	case 6:
		open(fast, nil, `{"type":"connect","header":[["login","nobody"]]}`)
	case 7:
		for range 3 { // one more than there is room for
			if c := open(s.url+"/other", nil, `{"type":"connect"}`); c != nil {
				_ = c.Close(4000, "")
			}
		}
	}
}

type deaf struct{}

func (deaf) Receive(transport.Message) {}
func (deaf) Writable()                 {}
func (deaf) Closed(error)              {}

// reader gets the news over the pipe and reads in turns only, so that its queue fills.
func (s *server) reader(ctx context.Context) {
	conn, err := s.pipe.Dial(ctx, "pipe://localhost/", &transport.DialConfig{SubProtocols: []string{"v1.json.weft"}},
		func(transport.Conn) transport.Receiver { return deaf{} })
	if err != nil {
		s.fine(ctx, err)
		return
	}
	defer func() { _ = conn.Close(transport.StatusNormalClosure, "") }()
	for _, f := range []string{`{"type":"connect"}`, `{"type":"subscribe","subscription":"s","destination":"/topic/news"}`} {
		_, err := conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(f)}})
		s.fine(ctx, err)
	}
	tick := time.NewTicker(700 * time.Millisecond)
	defer tick.Stop()
	for full := true; ctx.Err() == nil; full = !full {
		for ses := range s.feed.Sessions().All() {
			if c, ok := transport.As[*pipe.Conn](ses.Conn()); ok && ses.SubProtocol() == "v1.json.weft" {
				c.SetFull(full)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
