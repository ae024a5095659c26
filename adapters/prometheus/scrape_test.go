package prometheus

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport/pipe"
)

// TestCollectorIsAway: while nobody scrapes, or who does goes away in the middle, messages are
// handled and counted, and the next scrape has them all.
func TestCollectorIsAway(t *testing.T) {
	t.Parallel()
	m, p := New(nil), pipe.New(nil)
	registry := prom.NewPedanticRegistry()
	registry.MustRegister(m)
	ep := m.Endpoint("chat", p, handler.HandlerFunc(func(context.Context, handler.Request) error { return nil }),
		handler.WithSubProtocols(envelope.NewJSON(nil)), handler.WithShutdownSpread(0))
	srv := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer srv.Close()

	const clients, each = 4, 500
	stop := make(chan struct{})
	var scrapers sync.WaitGroup
	for range 2 {
		scrapers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := net.Dial("tcp", srv.Listener.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
				_, _ = bufio.NewReaderSize(conn, 16).ReadByte() // gone in the middle of the answer
				conn.Close()
			}
		})
	}
	var senders sync.WaitGroup
	for range clients {
		senders.Go(func() {
			c, err := client.Dial(t.Context(), "pipe://localhost/", p, envelope.NewJSON(nil), nil)
			if err != nil {
				t.Error(err)
				return
			}
			for range each {
				if err := c.SendReceipt(t.Context(), &subprotocol.Message{Destination: "/app/a", Body: []byte("1")}); err != nil {
					t.Error(err)
					return
				}
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	senders.Wait()
	close(stop)
	scrapers.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, ep.Shutdown(ctx))

	resp, err := http.Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	http.DefaultClient.CloseIdleConnections()
	const js = "subprotocol=v1.json.weft"
	got := scrape(t, registry)
	requireValues(t, map[string]float64{
		"weft_received_messages_total{class=/app,kind=SEND,result=ok," + js + "}": clients * each,
		"weft_handler_duration_seconds_count{class=/app," + js + "}":              clients * each,
		"weft_sessions_opened_total{" + js + "}":                                  clients,
		"weft_open_sessions{" + js + "}":                                          0,
	}, got)
	const receipts = "weft_sent_messages_total{class=none,kind=RECEIPT,status="
	require.Equal(t, clients*(each+1), int(got[receipts+"sent,"+js+"}"]+got[receipts+"queued,"+js+"}"]))
	before := testutil.CollectAndCount(m)
	require.Equal(t, before, testutil.CollectAndCount(m))
}
