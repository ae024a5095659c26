package interop

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
)

// restart is what weft's client does when the broker goes and comes back.
func (s site) restart(t *testing.T, b *debianBroker) {
	for name, end := range map[string]func(*testing.T){"stopped": b.stop, "killed": b.kill} {
		t.Run(name, func(t *testing.T) {
			s.version = "1.2"
			c, changes := s.watched(t)
			dest := destination("topic")
			sub := subscribe(t, c, dest, subprotocol.AckAuto)
			until(t, changes, client.Connected)

			end(t)
			until(t, changes, client.Waiting)
			for i := range 3 {
				require.NoError(t, c.Send(timeout(t), &subprotocol.Message{Destination: dest, Body: fmt.Append(nil, i)}))
			}
			b.start(t)
			until(t, changes, client.Connected)
			require.Equal(t, []string{"0", "1", "2"}, texts(take(t, sub, 3)))
			rest(t, c, sub)
			leave(t, c)
		})
	}
}
