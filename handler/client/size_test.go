package client_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
)

// The largest message that a server takes from one client reaches another one, although there
// is more around it then.
func TestLargestSendIsDelivered(t *testing.T) {
	t.Parallel()
	for _, tr := range []interface {
		transport.Transport
		transport.Dialer
	}{gobwas.New(nil), gorilla.New(nil)} {
		t.Run(tr.Name(), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			ep := handler.NewEndpoint(tr, broker.New(nil), handler.WithSubProtocols(stomp.New(nil)))
			srv := httptest.NewServer(ep)
			defer srv.Close()
			defer func() { _ = ep.Shutdown(ctx) }()
			c, err := client.Dial(ctx, "ws"+strings.TrimPrefix(srv.URL, "http"), tr, stomp.New(nil), nil)
			require.NoError(t, err)
			defer func() { _ = c.Close(ctx) }()
			got := make(chan int, 1)
			_, err = c.Subscribe(ctx, "/topic/a", nil, func(_ context.Context, d *client.Delivery) { got <- len(d.Body) })
			require.NoError(t, err)
			body := make([]byte, 64<<10-100)
			require.NoError(t, c.SendReceipt(ctx, &subprotocol.Message{Destination: "/topic/a", Body: body}))
			require.Len(t, body, <-got)
		})
	}
}
