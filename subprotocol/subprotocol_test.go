package subprotocol_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKindString(t *testing.T) {
	t.Parallel()
	want := map[subprotocol.Kind]string{
		0:                              "none",
		subprotocol.KindConnect:        "CONNECT",
		subprotocol.KindConnected:      "CONNECTED",
		subprotocol.KindSend:           "SEND",
		subprotocol.KindReply:          "REPLY",
		subprotocol.KindDeliver:        "DELIVER",
		subprotocol.KindSubscribe:      "SUBSCRIBE",
		subprotocol.KindUnsubscribe:    "UNSUBSCRIBE",
		subprotocol.KindAck:            "ACK",
		subprotocol.KindNack:           "NACK",
		subprotocol.KindBegin:          "BEGIN",
		subprotocol.KindCommit:         "COMMIT",
		subprotocol.KindAbort:          "ABORT",
		subprotocol.KindReceipt:        "RECEIPT",
		subprotocol.KindError:          "ERROR",
		subprotocol.KindHeartbeat:      "HEARTBEAT",
		subprotocol.KindDisconnect:     "DISCONNECT",
		subprotocol.KindDisconnect + 1: "unknown",
		255:                            "unknown",
	}
	for k, s := range want {
		require.Equal(t, s, k.String())
	}
	for k := range subprotocol.Kind(255) {
		if _, ok := want[k]; !ok {
			require.Equal(t, "unknown", k.String(), "%d", uint8(k))
		}
	}
}

func TestHeaderFirstWins(t *testing.T) {
	t.Parallel()
	var h subprotocol.Header
	require.Empty(t, h.Get("a"))
	require.Empty(t, h.Values("a"))
	h.Add("a", "1")
	h.Add("b", "2")
	h.Add("a", "3")
	require.Equal(t, "1", h.Get("a"))
	require.Equal(t, []string{"1", "3"}, h.Values("a"))
	require.Empty(t, h.Get("A"), "names are compared exactly")
}

func TestHeaderSet(t *testing.T) {
	t.Parallel()
	f := func(pairs ...string) subprotocol.Header {
		var h subprotocol.Header
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	for _, tt := range []struct{ before, after subprotocol.Header }{
		{f(), f("a", "x")},
		{f("b", "1"), f("b", "1", "a", "x")},
		{f("a", "1"), f("a", "x")},
		{f("a", "1", "a", "2", "a", "3"), f("a", "x")},
		{f("b", "1", "a", "2", "c", "3", "a", "4", "d", "5", "a", "6"), f("b", "1", "a", "x", "c", "3", "d", "5")},
	} {
		h := tt.before
		h.Set("a", "x")
		require.Equal(t, tt.after, h)
	}
}

func TestHeaderDel(t *testing.T) {
	t.Parallel()
	h := subprotocol.Header{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}, {Name: "a", Value: "3"}}
	h.Del("none")
	require.Len(t, h, 3)
	h.Del("a")
	require.Equal(t, subprotocol.Header{{Name: "b", Value: "2"}}, h)
	h.Del("b")
	require.Empty(t, h)
	h.Del("b")
	require.Empty(t, h)
}

func TestPathValue(t *testing.T) {
	t.Parallel()
	var m subprotocol.Message
	require.Empty(t, m.PathValue("room"))
	m.SetPathValue("room", "blue")
	m.SetPathValue("id", "7")
	m.SetPathValue("room", "red")
	require.Equal(t, "red", m.PathValue("room"))
	require.Equal(t, "7", m.PathValue("id"))
	require.Empty(t, m.PathValue("other"))
}

func full() *subprotocol.Message {
	m := &subprotocol.Message{
		Kind:         subprotocol.KindError,
		Type:         transport.MessageBinary,
		NeedReply:    true,
		Destination:  "/d",
		ID:           "i",
		Subscription: "s",
		Receipt:      "r",
		Transaction:  "t",
		Version:      "v",
		ContentType:  "text/plain",
		Header:       subprotocol.Header{{Name: "a", Value: "1"}},
		Body:         []byte("body"),
		Error:        &subprotocol.Error{Code: "c", Text: "x", Fatal: true},
	}
	m.SetPathValue("room", "blue")
	return m
}

func TestMessageReset(t *testing.T) {
	t.Parallel()
	m := full()
	header := m.Header
	m.Reset()
	require.Empty(t, header[0], "a reset Message holds no string of its past")
	require.Equal(t, cap(header), cap(m.Header), "the room is kept")
	require.Empty(t, m.PathValue("room"))
	require.Empty(t, m.Header)
	require.Nil(t, m.Body)

	// Whatever field comes later must be empty too.
	m.Header = nil
	*m = *m.Clone()
	require.Equal(t, fmt.Sprintf("%+v", subprotocol.Message{}), fmt.Sprintf("%+v", *m))
}

func TestMessageResetDoesNotAllocate(t *testing.T) {
	m := full()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		m.Reset()
		m.Header.Add("a", "1")
		m.SetPathValue("room", "blue")
	}))
}

func TestMessageClone(t *testing.T) {
	t.Parallel()
	m := full()
	c := m.Clone()
	require.Equal(t, m, c)

	m.Header[0].Value = "2"
	m.Body[0] = 'B'
	m.Error.Text = "changed"
	m.SetPathValue("room", "red")
	require.Equal(t, full(), c, "a clone shares nothing that can change")

	m = full()
	c = m.Clone()
	m.Reset()
	require.Equal(t, full(), c)
}

func TestMessageCloneOfEmpty(t *testing.T) {
	t.Parallel()
	require.Equal(t, &subprotocol.Message{}, (&subprotocol.Message{}).Clone())
}

func TestError(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("reading: %w", &subprotocol.Error{Code: "malformed", Text: "The frame has no end.", Receipt: "secret"})
	require.EqualError(t, err, "reading: subprotocol: malformed: The frame has no end.")
	se, ok := errors.AsType[*subprotocol.Error](err)
	require.True(t, ok)
	require.Equal(t, "malformed", se.Code)
}
