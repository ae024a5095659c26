package client_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// Whatever a server says, split into messages at 0xff, the client neither panics nor hangs:
// it closes.
func FuzzServer(f *testing.F) {
	for _, seed := range []string{
		"MESSAGE\nsubscription:a\nmessage-id:1\nack:1\ndestination:/a\n\nbody\x00",
		"RECEIPT\nreceipt-id:r1\n\n\x00RECEIPT\nreceipt-id:r2\n\n\x00",
		"ERROR\nmessage:no\nreceipt-id:r1\n\nbody\x00",
		"MESSAGE\nsubscription:a\xff\nmessage-id:1\ndestination:/a\n\nbody\x00\n\n\n",
		"CONNECTED\nversion:1.2\n\n\x00",
		"\xffNONSENSE\n\n\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &script{answer: func(conn transport.Conn, got string) string {
			switch {
			case strings.HasPrefix(got, "CONNECT\n"):
				return hello
			case !strings.HasPrefix(got, "SUBSCRIBE\n"):
				return ""
			}
			for part := range bytes.SplitSeq(data, []byte{0xff}) {
				conn.Write([]transport.Message{{Type: transport.MessageBinary, Data: part}})
			}
			return ""
		}}
		p := pipe.New(nil)
		p.Bind(s)
		c := client.New(url, p, protocols["stomp"], &client.Options{
			CloseTimeout: time.Millisecond, Reconnect: client.Reconnect{Disabled: true},
		})
		_, err := c.Subscribe(t.Context(), "/a", &client.SubscribeOptions{ID: "a", AckMode: subprotocol.AckClient},
			func(ctx context.Context, d *client.Delivery) { _ = d.Ack(ctx) })
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Connect(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_ = c.SendReceipt(ctx, text("/a", "x"))
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
