package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
	"github.com/weftws/weft/transport/tcp"
)

// script is a server that answers every message with what answer says, and may say
// something first. It is acceptor, admission and, for each connection, receiver.
type script struct {
	first  string
	answer func(conn transport.Conn, data string) string // "" for nothing

	mu   sync.Mutex
	seen []string
}

type scripted struct {
	*script
	conn transport.Conn
}

func (s *script) Accept(*transport.Handshake) (transport.Admission, error) { return s, nil }
func (s *script) SubProtocol() string                                      { return "" }
func (s *script) Abort(error)                                              {}

func (s *script) Open(c transport.Conn) transport.Receiver {
	say(c, s.first)
	return &scripted{s, c}
}

func say(c transport.Conn, data string) {
	if data != "" {
		c.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(data)}})
	}
}

func (s *scripted) Receive(m transport.Message) {
	data := string(m.Data)
	s.mu.Lock()
	s.seen = append(s.seen, data)
	s.mu.Unlock()
	if s.answer != nil {
		say(s.conn, s.answer(s.conn, data))
	}
}
func (s *scripted) Writable()    {}
func (s *scripted) Closed(error) {}

// all is what the server got.
func (s *script) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.seen, "\n")
}

// dialScript connects to a script and closes the client with the test.
func dialScript(t *testing.T, s *script, sp subprotocol.SubProtocol, opts *client.Options) (*client.Client, error) {
	p := pipe.New(nil)
	p.Bind(s)
	c, err := client.Dial(t.Context(), url, p, sp, opts)
	if err == nil {
		t.Cleanup(func() { c.Close(context.Background()) })
	}
	return c, err
}

const hello = "CONNECTED\nversion:1.2\n\n\x00"

// frames answers CONNECT as a server should and others as it says.
func frames(answer func(data string) string) func(transport.Conn, string) string {
	return func(_ transport.Conn, data string) string {
		if strings.HasPrefix(data, "CONNECT\n") {
			return hello
		}
		return answer(data)
	}
}

func TestServerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := dialScript(t, &script{}, stomp.New(nil), nil)
		require.ErrorIs(t, err, transport.ErrTimeout)
		require.Equal(t, client.DefaultConnectTimeout, time.Since(start))
	})
}

func TestAnswersToConnectThatAreNone(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{
		"no frame":          "HTTP/1.1 200 OK\r\n\r\n",
		"too early":         "MESSAGE\nsubscription:a\nmessage-id:1\ndestination:/a\n\nx\x00",
		"unknown version":   "CONNECTED\nversion:9.9\n\n\x00",
		"large":             "CONNECTED\nversion:1.2\nx:" + strings.Repeat("x", 60000),
		"receipt":           "RECEIPT\nreceipt-id:r1\n\n\x00",
		"frame of a client": "SEND\ndestination:/a\n\n\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{answer: func(transport.Conn, string) string { return first }}
				_, err := dialScript(t, s, stomp.New(nil), nil)
				require.Error(t, err)
			})
		})
	}
}

func TestRefusalIsNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(transport.Conn, string) string {
			return "ERROR\nmessage:Bad CONNECT\ncontent-type:text/plain\n\nAccess refused for user 'x'\n\x00"
		}}
		_, err := dialScript(t, s, stomp.New(nil), &client.Options{Reconnect: client.Reconnect{First: true}})
		var said *client.ServerError
		require.ErrorAs(t, err, &said)
		require.True(t, said.Refused)
		require.Contains(t, string(said.Message.Body), "Access refused")
		require.Equal(t, 1, strings.Count(s.all(), "CONNECT"))
	})
}

// The application may know better, and an attempt may fail a few times alone.
func TestRetryDecides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(transport.Conn, string) string { return "ERROR\nmessage:not yet\n\n\x00" }}
		_, err := dialScript(t, s, stomp.New(nil), &client.Options{
			Reconnect: client.Reconnect{First: true, MaxAttempts: 3, Retry: func(error) bool { return true }},
		})
		require.ErrorContains(t, err, "not yet")
		require.Equal(t, 3, strings.Count(s.all(), "CONNECT"))
	})
}

// Version 1.0 has servers that know subscriptions by their destinations.
func TestWhatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(_ transport.Conn, data string) string {
			if strings.HasPrefix(data, "CONNECT\n") {
				return "CONNECTED\n\n\x00"
			}
			if strings.HasPrefix(data, "SUBSCRIBE") {
				_, id, _ := strings.Cut(data, "\nreceipt:")
				id, _, _ = strings.Cut(id, "\n")
				return "RECEIPT\nreceipt-id:" + id + "\n\n\x00"
			}
			return "MESSAGE\nsubscription:other\nmessage-id:1\ndestination:/a\n\nlost\x00" +
				"RECEIPT\nreceipt-id:never\n\n\x00" +
				"MESSAGE\nmessage-id:2\ndestination:/a\n\nfound\x00"
		}}
		var unclaimed []string
		c, err := dialScript(t, s, stomp.New(&stomp.Options{Versions: []string{"1.0"}}), &client.Options{Hooks: client.Hooks{
			Unclaimed: func(m *subprotocol.Message) { unclaimed = append(unclaimed, fmt.Sprint(m.Kind, string(m.Body))) },
		}})
		require.NoError(t, err)
		sub, err := c.Subscribe(t.Context(), "/a", nil, nil)
		require.NoError(t, err, s.all())
		require.NoError(t, c.Send(t.Context(), text("/a", "x")))
		require.Equal(t, "found", string(take(t, sub, 1)[0].Body), "by its destination")
		synctest.Wait()
		require.Equal(t, []string{"DELIVERlost", "RECEIPT"}, unclaimed)
		require.Equal(t, client.Connected, c.State())
	})
}

// Garbage ends the connection, and each new attempt waits longer.
func TestGarbage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: frames(func(string) string { return "NONSENSE\n\n\x00" })}
		var at []time.Time
		c, err := dialScript(t, s, stomp.New(nil), &client.Options{
			Reconnect: client.Reconnect{Jitter: -1, FirstDelay: time.Second, MaxDelay: 4 * time.Second},
			Hooks: client.Hooks{State: func(ch client.StateChange) {
				if ch.State == client.Waiting {
					at = append(at, time.Now())
				}
			}},
		})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
		defer cancel()
		_, err = c.Subscribe(ctx, "/a", nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait()
		var waited []int
		for i := range at[1:] {
			waited = append(waited, int(at[i+1].Sub(at[i]).Seconds()))
		}
		require.Equal(t, []int{1, 2, 4, 4, 4, 4, 4, 4}, waited)
	})
}

// A server that sends more than anybody wants is read no further.
func TestFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		var flooding sync.WaitGroup
		s := &script{}
		var sent int
		s.answer = func(conn transport.Conn, data string) string {
			if !strings.HasPrefix(data, "CONNECT") {
				return ""
			}
			flooding.Go(func() {
				m := []transport.Message{{Type: transport.MessageText, Data: []byte("MESSAGE\nsubscription:a\nmessage-id:1\ndestination:/a\n\nx\x00")}}
				for {
					n, err := conn.Write(m)
					if err != nil {
						return
					}
					if sent += n; n == 0 {
						<-stop
						return
					}
				}
			})
			return hello
		}
		p := pipe.New(nil)
		p.Bind(s)
		c := client.New(url, p, stomp.New(nil), nil)
		_, err := c.Subscribe(t.Context(), "/a", &client.SubscribeOptions{ID: "a"}, nil)
		require.NoError(t, err)
		require.NoError(t, c.Connect(t.Context()))
		synctest.Wait()
		require.Less(t, sent, 3000)
		close(stop)
		require.NoError(t, c.Close(t.Context()))
		flooding.Wait()
	})
}

// A server that does not do what Close asks for does not keep it from its end.
func TestCloseOfSilentServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := dialScript(t, &script{answer: frames(func(string) string { return "" })}, stomp.New(nil), nil)
		require.NoError(t, err)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			err := c.SendReceipt(context.Background(), text("/a", "x"))
			if !errors.Is(err, client.ErrConnectionLost) {
				t.Error(err)
			}
		})
		synctest.Wait()
		start := time.Now()
		require.NoError(t, c.Close(t.Context()))
		require.Equal(t, client.DefaultCloseTimeout, time.Since(start))
		waiting.Wait()
	})
}

func TestCloseInEveryState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, jsonEnvelope)
		idle := client.New(url, s.dialer, jsonEnvelope, nil)
		require.NoError(t, idle.Close(t.Context()))
		require.ErrorIs(t, idle.Connect(t.Context()), client.ErrClosed)
		require.NoError(t, idle.Close(t.Context()), "twice")
		_, err := idle.Subscribe(t.Context(), "/a", nil, nil)
		require.ErrorIs(t, err, client.ErrClosed)
		_, err = idle.Begin(t.Context())
		require.ErrorIs(t, err, client.ErrClosed)

		// While it is connecting.
		p := pipe.New(nil)
		p.Bind(&script{})
		connecting := client.New(url, p, stomp.New(nil), nil)
		done := make(chan error, 1)
		go func() { done <- connecting.Connect(t.Context()) }()
		synctest.Wait()
		require.Equal(t, client.Connecting, connecting.State())
		require.NoError(t, connecting.Close(t.Context()))
		require.ErrorIs(t, <-done, client.ErrClosed)

		// While it waits for the next attempt.
		waiting := s.dial(jsonEnvelope, nil)
		s.dialer.refuse(errors.New("not now"))
		s.dialer.latest().Cut()
		synctest.Wait()
		require.Equal(t, client.Waiting, waiting.State())
		require.NoError(t, waiting.Send(t.Context(), text("/topic/a", "x")))
		require.ErrorContains(t, waiting.Close(t.Context()), "1 messages unsent")
		s.dialer.refuse(nil)

		// From inside a function, with a range and calls that wait.
		c := s.dial(jsonEnvelope, nil)
		sub, err := c.Subscribe(t.Context(), "/topic/b", nil, nil)
		require.NoError(t, err)
		closed := make(chan error, 1)
		_, err = c.Subscribe(t.Context(), "/topic/a", nil, func(ctx context.Context, _ *client.Delivery) {
			closed <- c.Close(context.WithoutCancel(ctx))
			<-ctx.Done()
		})
		require.NoError(t, err)
		require.NoError(t, c.Send(t.Context(), text("/topic/a", "x")))
		for d, err := range sub.Messages(t.Context()) {
			require.Nil(t, d)
			require.ErrorIs(t, err, client.ErrClosed)
		}
		require.NoError(t, <-closed)
		<-c.Done()
		<-sub.Done()
		require.ErrorIs(t, sub.Err(), client.ErrClosed)
	})
}

// stubborn hides that a connection can be paused.
type stubborn struct{ *dialer }

type hidden struct{ transport.Conn }

func (s stubborn) Dial(
	ctx context.Context, url string, cfg *transport.DialConfig, open func(transport.Conn) transport.Receiver,
) (transport.Conn, error) {
	return s.dialer.Dial(ctx, url, cfg, func(c transport.Conn) transport.Receiver { return open(hidden{c}) })
}

func TestConnectionThatCannotPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, jsonEnvelope)
		c, err := client.Dial(t.Context(), url, stubborn{s.dialer}, jsonEnvelope, &client.Options{BufferMessages: 4})
		require.NoError(t, err)
		sub, err := c.Subscribe(t.Context(), "/topic/a", nil, nil)
		require.NoError(t, err)
		for range 50 {
			require.NoError(t, s.broker.Publish(t.Context(), "/topic/a", text("", "x")))
		}
		synctest.Wait()
		take(t, sub, 20)
		require.NoError(t, c.SendReceipt(t.Context(), text("/topic/b", "x")))
		take(t, sub, 10)
		require.NoError(t, c.Close(t.Context()))
	})
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	p := pipe.New(nil)
	for want, f := range map[string]func(){
		"without a Dialer":        func() { client.New(url, nil, jsonEnvelope, nil) },
		"without a SubProtocol":   func() { client.New(url, p, nil, nil) },
		"QueueBytes is negative":  func() { client.New(url, p, jsonEnvelope, &client.Options{QueueBytes: -1}) },
		"Jitter is over 1":        func() { client.New(url, p, jsonEnvelope, &client.Options{Reconnect: client.Reconnect{Jitter: 2}}) },
		"needs the boundaries of": func() { client.New("tcp://localhost", tcp.New(nil), raw.New(nil), nil) },
	} {
		var got string
		func() {
			defer func() { got = fmt.Sprint(recover()) }()
			f()
		}()
		require.Contains(t, got, "client: ")
		require.Contains(t, got, want)
	}
}

// Some servers refuse a SUBSCRIBE with an ERROR that does not say what it is about: who is
// refused by all of them must not have the client come back for ever.
func TestRefusedSubscriptionWithoutReceipt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lives int
		s := &script{}
		s.answer = frames(func(data string) string {
			switch {
			case strings.Contains(data, "destination:/good"):
				_, id, _ := strings.Cut(data, "receipt:")
				id, _, _ = strings.Cut(id, "\n")
				return "RECEIPT\nreceipt-id:" + id + "\n\n\x00"
			case strings.HasPrefix(data, "SUBSCRIBE\n"):
				lives++
				return "ERROR\nmessage:Unknown destination\n\nno\x00"
			}
			return ""
		})
		c, err := dialScript(t, s, stomp.New(nil), nil)
		require.NoError(t, err)
		good, err := c.Subscribe(t.Context(), "/good", nil, nil)
		require.NoError(t, err)
		_, err = c.Subscribe(t.Context(), "/bad", nil, nil)
		var said *client.ServerError
		require.ErrorAs(t, err, &said)
		require.False(t, said.Refused)
		time.Sleep(time.Hour)
		require.Equal(t, 1, lives, "it is not tried again")
		require.Equal(t, client.Connected, c.State())
		require.NoError(t, good.Err())
	})
}

func TestRefusalForNow(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"unavailable", "busy", "rate-exceeded", "timeout", "internal"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				refusals := 2
				s := &script{answer: frames(func(string) string { return "" })}
				connected := s.answer
				s.answer = func(conn transport.Conn, data string) string {
					if strings.HasPrefix(data, "CONNECT\n") && refusals > 0 {
						refusals--
						return "ERROR\nmessage:later\ncontent-type:text/plain\n\n" + code + ": later\x00"
					}
					return connected(conn, data)
				}
				_, err := dialScript(t, s, stomp.New(nil), nil)
				require.Error(t, err, "the first attempt is the only one")
				c, err := dialScript(t, s, stomp.New(nil), &client.Options{Reconnect: client.Reconnect{First: true}})
				require.NoError(t, err)
				require.Equal(t, client.Connected, c.State())
				require.Zero(t, refusals)
			})
		})
	}
}

func TestReceiptOfAnAnsweredRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: frames(func(data string) string {
			_, id, ok := strings.Cut(data, "\nreply-to:")
			if !ok {
				return ""
			}
			id, _, _ = strings.Cut(id, "\n")
			return "MESSAGE\nsubscription:" + id + "\nmessage-id:1\ndestination:/app\n\nyes\x00RECEIPT\nreceipt-id:" + id + "\n\n\x00"
		})}
		var unclaimed []string
		c, err := dialScript(t, s, stomp.New(nil), &client.Options{Hooks: client.Hooks{
			Unclaimed: func(m *subprotocol.Message) { unclaimed = append(unclaimed, m.Kind.String()) },
		}})
		require.NoError(t, err)
		for range 2 {
			reply, err := c.Request(t.Context(), text("/app", "?"))
			require.NoError(t, err)
			require.Equal(t, "yes", string(reply.Body))
		}
		synctest.Wait()
		require.Empty(t, unclaimed)
	})
}
