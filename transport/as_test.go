package transport_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

// conn is a Conn that can yield.
type conn struct{ transport.Conn }

func (*conn) Yield() bool { return true }

// wrapper hides all but the contract.
type wrapper struct{ inner transport.Conn }

func (w wrapper) Write(b []transport.Message) (int, error) { return w.inner.Write(b) }
func (w wrapper) Close(code transport.StatusCode, reason string) error {
	return w.inner.Close(code, reason)
}
func (w wrapper) SubProtocol() string    { return w.inner.SubProtocol() }
func (w wrapper) Unwrap() transport.Conn { return w.inner }

func TestAs(t *testing.T) {
	t.Parallel()
	c := new(conn)
	for _, v := range []transport.Conn{c, wrapper{c}, wrapper{wrapper{c}}} {
		y, ok := transport.As[transport.Yielder](v)
		require.True(t, ok)
		require.Same(t, c, y)
		_, ok = transport.As[transport.Pauser](v)
		require.False(t, ok)
	}
	outer, ok := transport.As[wrapper](transport.Conn(wrapper{wrapper{c}}))
	require.True(t, ok)
	require.Equal(t, wrapper{wrapper{c}}, outer, "the outermost one counts")
	_, ok = transport.As[transport.Yielder](transport.Conn(nil))
	require.False(t, ok)
	_, ok = transport.As[transport.Yielder](transport.Conn(wrapper{}))
	require.False(t, ok, "a wrapper of nothing ends the search")
}
