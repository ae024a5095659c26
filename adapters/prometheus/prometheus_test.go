package prometheus

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, nil)
		a, z := s.dial(envelope.NewJSON(nil)), s.dial(stomp.New(nil))
		for _, c := range []*client.Client{a, z} {
			sub, err := c.Subscribe(t.Context(), "/topic/news", nil, func(context.Context, *client.Delivery) {})
			require.NoError(t, err)
			require.NotNil(t, sub)
		}
		synctest.Wait()
		send(t, a, "/topic/news", `"12345"`)
		send(t, a, "/app/slow", `1`)
		send(t, a, "/app/fail", `1`)
		send(t, a, "/nowhere/at/all", `1`)
		time.Sleep(3 * time.Second)
		const js, st = "subprotocol=v1.json.weft", "subprotocol=v12.stomp"
		got := s.scrape()
		requireValues(t, map[string]float64{
			"weft_received_messages_total{class=none,kind=CONNECT,result=ok," + js + "}":     1,
			"weft_received_messages_total{class=none,kind=CONNECT,result=ok," + st + "}":     1,
			"weft_received_messages_total{class=/topic,kind=SUBSCRIBE,result=ok," + js + "}": 1,
			"weft_received_messages_total{class=/topic,kind=SEND,result=ok," + js + "}":      1,
			"weft_received_messages_total{class=/app,kind=SEND,result=ok," + js + "}":        1,
			"weft_received_messages_total{class=/app,kind=SEND,result=failed," + js + "}":    1,
			"weft_received_messages_total{class=other,kind=SEND,result=refused," + js + "}":  1,
			"weft_received_body_bytes_total{class=/topic," + js + "}":                        7,
			"weft_sent_messages_total{class=/topic,kind=DELIVER,status=queued," + js + "}":   1,
			"weft_sent_messages_total{class=/topic,kind=DELIVER,status=queued," + st + "}":   1,
			"weft_sent_messages_total{class=none,kind=ERROR,status=sent," + js + "}":         2,
			"weft_sent_body_bytes_total{class=/topic," + st + "}":                            7,
			"weft_handler_duration_seconds_count{class=/app," + js + "}":                     2,
			"weft_handler_duration_seconds_sum{class=/app," + js + "}":                       2,
			"weft_subscriptions{class=/topic," + js + "}":                                    1,
			"weft_subscriptions{class=/topic," + st + "}":                                    1,
			"weft_open_sessions{" + js + "}":                                                 1,
			"weft_connected_sessions":                                                        2,
			"weft_admitted_sessions":                                                         2,
			"weft_sampled_sessions":                                                          2,
			"weft_handshakes_accepted_total":                                                 2,
			"weft_sessions_opened_total{" + st + "}":                                         1,
			"weft_transport_received_messages_total{" + js + "}":                             6,
			"weft_classes": 2,
			"weft_unclassified_messages_total{reason=too_many}": 0,
			"weft_broker_subscriptions{broker=main}":            2,
			"weft_queued_messages{" + js + "}":                  0,
			"weft_session_queue_depth_count{" + js + "}":        1,
		}, got)
		require.NotContains(t, got, "weft_subscriptions{class=/nowhere,"+js+"}")

		send(t, a, "/app/panic", "1")
		synctest.Wait()
		<-a.Done()
		requireValues(t, map[string]float64{
			"weft_received_messages_total{class=/app,kind=SEND,result=failed," + js + "}":   2,
			"weft_received_messages_total{class=none,kind=DISCONNECT,result=ok," + js + "}": 1,
			"weft_panics_total": 1,
			"weft_sessions_closed_total{cause=internal,code=1011," + js + "}": 1,
			"weft_open_sessions{" + js + "}":                                  0,
		}, s.scrape())
	})
}

// TestPlaces: what the application's own middleware refuses is counted, and what its Senders
// change is counted as it goes out; its hooks are told.
func TestPlaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		opened := 0
		s := serve(t, nil,
			handler.WithMiddleware(func(next handler.Handler) handler.Handler {
				return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
					if r.Message.Kind == subprotocol.KindSend {
						r.Message.Destination, r.Message.Body = "/changed", nil
						return &subprotocol.Error{Code: "no", Text: "no"}
					}
					return next.Handle(ctx, r)
				})
			}),
			handler.WithOutbound(func(next handler.Sender) handler.Sender {
				return handler.SenderFunc(func(o handler.Outgoing) (handler.Status, error) {
					if o.Message.Kind == subprotocol.KindDeliver {
						o.Message = o.Message.Clone()
						o.Message.Body = []byte(`"1234567"`)
					}
					return next.Send(o)
				})
			}),
			handler.WithHooks(handler.Hooks{Open: func(*handler.Session) { opened++ }}))
		c := s.dial(envelope.NewJSON(nil))
		_, err := c.Subscribe(t.Context(), "/topic/a", nil, func(context.Context, *client.Delivery) {})
		require.NoError(t, err)
		send(t, c, "/topic/a", "123")
		synctest.Wait()
		for ses := range s.endpoint.Sessions().All() {
			_, err := ses.Send(&subprotocol.Message{Destination: "/topic/a", Subscription: "1", Body: []byte("1")})
			require.NoError(t, err)
		}
		synctest.Wait()
		const js = "subprotocol=v1.json.weft"
		requireValues(t, map[string]float64{
			"weft_received_messages_total{class=/topic,kind=SEND,result=refused," + js + "}": 1,
			"weft_received_body_bytes_total{class=/topic," + js + "}":                        3,
			"weft_sent_body_bytes_total{class=/topic," + js + "}":                            9,
		}, s.scrape())
		require.Equal(t, 1, opened)
	})
}

func TestSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		refuse := false
		s := serve(t, nil, handler.WithHeartbeat(time.Second, time.Second), handler.WithMaxSessions(4),
			handler.WithAccept(func(context.Context, *handler.Session, *transport.Handshake) error {
				if refuse {
					return errors.New("no")
				}
				return nil
			}))
		quiet := s.open("v1.json.weft")
		say(t, quiet, `{'type':'connect','heartbeat':[1000,1000]}`)
		s.open("v1.json.weft") // says nothing at all
		leaving := s.open("v12.stomp")
		local := s.open("v1.json.weft")
		say(t, local, `{'type':'connect'}`)
		synctest.Wait()
		_, err := s.pipe.Dial(t.Context(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return deaf{} })
		require.Error(t, err)
		require.NoError(t, leaving.Close(4321, "gone"))
		time.Sleep(20 * time.Second)
		refuse = true
		_, err = s.pipe.Dial(t.Context(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return deaf{} })
		require.Error(t, err)
		_, err = s.pipe.Dial(t.Context(), "pipe://localhost/", &transport.DialConfig{SubProtocols: []string{"unknown"}},
			func(transport.Conn) transport.Receiver { return deaf{} })
		require.Error(t, err)
		_, err = s.pipe.Dial(t.Context(), "pipe://localhost/", &transport.DialConfig{Header: http.Header{"Origin": {"https://elsewhere.example"}}},
			func(transport.Conn) transport.Receiver { return deaf{} })
		require.Error(t, err)
		for ses := range s.endpoint.Sessions().All() {
			require.NoError(t, ses.Close(3003, ""))
		}
		synctest.Wait()
		const js, st = "subprotocol=v1.json.weft", "subprotocol=v12.stomp"
		requireValues(t, map[string]float64{
			"weft_heartbeats_missed_total{" + js + "}":                            1,
			"weft_sessions_closed_total{cause=no_heartbeat,code=1008," + js + "}": 1,
			"weft_sessions_closed_total{cause=no_connect,code=1008," + js + "}":   1,
			"weft_sessions_closed_total{cause=peer,code=4xxx," + st + "}":         1,
			"weft_sessions_closed_total{cause=local,code=3xxx," + js + "}":        1,
			"weft_connect_timeouts_total":                                         1,
			"weft_handshakes_refused_total{reason=limit}":                         1,
			"weft_handshakes_refused_total{reason=hook}":                          1,
			"weft_handshakes_refused_total{reason=subprotocol}":                   1,
			"weft_handshakes_refused_total{reason=origin}":                        1,
			"weft_handshakes_refused_total{reason=shutdown}":                      0,
			"weft_open_sessions{" + js + "}":                                      0,
			"weft_sessions_opened_total{" + js + "}":                              3,
		}, s.scrape())
	})
}

// TestEndings: how a session ended is one of few values, whatever a client says.
func TestEndings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err         error
		code, cause string
	}{
		{nil, "other", "lost"},
		{&transport.CloseError{Code: 1001}, "1001", "peer"},
		{&transport.CloseError{Code: 2999}, "other", "peer"},
		{&transport.CloseError{Code: 65535}, "other", "peer"},
		{&transport.EndError{Code: 1006, Err: errors.New("reset")}, "1006", "lost"},
		{&transport.EndError{Code: 1000, Err: handler.ErrDisconnected}, "1000", "disconnect"},
		{&transport.EndError{Code: 1008, Err: handler.ErrQueueFull}, "1008", "queue_full"},
		{&transport.EndError{Code: 1008, Err: handler.ErrFrameTimeout}, "1008", "frame_timeout"},
		{&transport.EndError{Code: 1001, Err: handler.ErrShutdown}, "1001", "shutdown"},
		{&transport.EndError{Code: 1006, Err: transport.ErrTimeout}, "1006", "timeout"},
		{&transport.EndError{Code: 1009, Err: transport.ErrMessageTooBig}, "1009", "too_big"},
		{&transport.EndError{Code: 1002, Err: &subprotocol.Error{Code: "bad"}}, "1002", "error"},
		{&transport.EndError{Code: 1007, Err: errors.New("not UTF-8")}, "1007", "error"},
		{&transport.EndError{Code: 1011, Err: errors.New("a handler panicked")}, "1011", "internal"},
	} {
		require.Equal(t, tt.code, codeName(tt.err), tt.err)
		require.Equal(t, tt.cause, causeName(tt.err), tt.err)
	}
	values := make(map[string]bool)
	for code := range 1 << 16 {
		values[codeName(&transport.CloseError{Code: transport.StatusCode(code)})] = true
	}
	require.Len(t, values, 16+3)
}

func TestDropsAndQueues(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, nil, handler.WithQueue(handler.Limits{Messages: 10, Bytes: 1 << 20}), handler.WithOverflow(handler.DropNewest()))
		slow := s.open("v1.json.weft")
		say(t, slow, `{'type':'connect'}`, `{'type':'subscribe','subscription':'s','destination':'/topic/a'}`,
			`{'type':'subscribe','subscription':'q','destination':'/queue/a','ack':'client-individual'}`)
		synctest.Wait()
		var ses *handler.Session
		for ses = range s.endpoint.Sessions().All() {
		}
		conn, ok := transport.As[*pipe.Conn](ses.Conn())
		require.True(t, ok)
		conn.SetFull(true)
		writer := s.dial(stomp.New(nil))
		for range 12 {
			send(t, writer, "/topic/a", `"x"`)
		}
		synctest.Wait()
		const js, st = "subprotocol=v1.json.weft", "subprotocol=v12.stomp"
		requireValues(t, map[string]float64{
			"weft_dropped_messages_total{reason=newest," + js + "}":                         2,
			"weft_dropped_messages_total{reason=closed," + js + "}":                         0,
			"weft_sent_messages_total{class=/topic,kind=DELIVER,status=queued," + js + "}":  10,
			"weft_sent_messages_total{class=/topic,kind=DELIVER,status=dropped," + js + "}": 2,
			"weft_queued_messages{" + js + "}":                                              10,
			"weft_queued_messages{" + st + "}":                                              0,
			"weft_session_queue_depth_sum{" + js + "}":                                      10,
		}, s.scrape())
		require.Positive(t, s.scrape()["weft_queued_bytes"])
		require.Positive(t, s.scrape()["weft_dropped_bytes_total{reason=newest,"+js+"}"])
		conn.SetFull(false)
		send(t, writer, "/queue/a", `"x"`)
		time.Sleep(2 * time.Second)
		conn.SetDelay(3 * time.Millisecond)
		_, err := conn.Ping(t.Context())
		require.NoError(t, err)
		got := s.scrape()
		requireValues(t, map[string]float64{
			"weft_queued_messages{" + js + "}":                 0,
			"weft_queued_bytes":                                0,
			"weft_broker_unsettled_deliveries{broker=main}":    1,
			"weft_broker_accepted_messages_total{broker=main}": 1,
			"weft_broker_deliveries_total{broker=main}":        1,
			"weft_broker_queues{broker=main}":                  1,
			"weft_subscriptions{class=/queue," + js + "}":      1,
			"weft_round_trip_seconds_count{" + js + "}":        1,
			"weft_round_trip_seconds_count{" + st + "}":        0,
			"weft_session_queue_depth_count{" + js + "}":       2,
		}, got)
	})
}

// TestSampling: a scrape looks at some sessions, and estimates; many scrapes at once
// look once.
func TestSampling(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, &Options{MaxSampled: 10})
		for range 40 {
			c := s.open("v1.json.weft")
			say(t, c, `{'type':'connect'}`, `{'type':'subscribe','subscription':'s','destination':'/topic/a'}`)
		}
		synctest.Wait()
		const js = "subprotocol=v1.json.weft"
		want := map[string]float64{
			"weft_connected_sessions":                     40,
			"weft_sampled_sessions":                       10,
			"weft_subscriptions{class=/topic," + js + "}": 40,
			"weft_session_queue_depth_count{" + js + "}":  10,
			"weft_round_trip_seconds_count{" + js + "}":   0,
		}
		requireValues(t, want, s.scrape())
		requireValues(t, want, s.scrape())
		time.Sleep(sampleEvery)
		want["weft_session_queue_depth_count{"+js+"}"] = 20
		requireValues(t, want, s.scrape())
	})
}

func TestLint(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, nil)
		send(t, s.dial(envelope.NewJSON(nil)), "/topic/news", `1`)
		synctest.Wait()
		problems, err := testutil.GatherAndLint(s.registry)
		require.NoError(t, err)
		require.Empty(t, problems)
		n := 0
		for range drain(s.metrics.Describe) {
			n++
		}
		require.Equal(t, len(descs), n)
	})
}

func drain(describe func(chan<- *prom.Desc)) <-chan *prom.Desc {
	ch := make(chan *prom.Desc, len(descs))
	describe(ch)
	close(ch)
	return ch
}

// TestMisuse: what is wrong at set-up panics and says what.
func TestMisuse(t *testing.T) {
	t.Parallel()
	h := handler.HandlerFunc(func(context.Context, handler.Request) error { return nil })
	sp := handler.WithSubProtocols(raw.New(nil))
	for text, f := range map[string]func(m *Metrics){
		"Options.MaxClasses is negative":                   func(*Metrics) { New(&Options{MaxClasses: -1}) },
		"Options.MaxSampled is negative":                   func(*Metrics) { New(&Options{MaxSampled: -1}) },
		"must be positive and ascending":                   func(*Metrics) { New(&Options{Buckets: []float64{1, 1}}) },
		"must be positive and ascending, and a nanosecond": func(*Metrics) { New(&Options{Buckets: []float64{-1}}) },
		"65 are more than 64":                              func(*Metrics) { New(&Options{Buckets: make([]float64, 65)}) },
		"ByPrefix without prefixes":                        func(*Metrics) { ByPrefix() },
		`the name "" is empty`:                             func(m *Metrics) { m.Endpoint("", pipe.New(nil), h, sp) },
		`the name "\xff" is empty`:                         func(m *Metrics) { m.Endpoint("\xff", pipe.New(nil), h, sp) },
		"over 64 bytes":                                    func(m *Metrics) { m.Broker(strings.Repeat("x", 65), broker.New(nil)) },
		"Endpoint without a transport":                     func(m *Metrics) { m.Endpoint("x", nil, h, sp) },
		"Broker without a broker":                          func(m *Metrics) { m.Broker("x", nil) },
		`two endpoints "chat" on transport "pipe"`:         func(m *Metrics) { m.Endpoint("chat", pipe.New(nil), h, sp) },
		`two brokers "main"`:                               func(m *Metrics) { m.Broker("main", broker.New(nil)) },
	} {
		m := New(nil)
		m.Endpoint("chat", pipe.New(nil), h, sp)
		m.Broker("main", broker.New(nil))
		func() {
			defer func() {
				v := recover()
				require.NotNil(t, v, text)
				require.Contains(t, v, text)
				require.True(t, strings.HasPrefix(v.(string), "prometheus: "))
			}()
			f(m)
		}()
	}
}
