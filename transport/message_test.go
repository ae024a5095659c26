package transport_test

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

func TestMessageType(t *testing.T) {
	t.Parallel()
	for typ, want := range map[transport.MessageType]string{
		0: "none", transport.MessageText: "text", transport.MessageBinary: "binary", 3: "none",
	} {
		require.Equal(t, want, typ.String())
	}
}

func TestSharedMessage(t *testing.T) {
	t.Parallel()
	data := []byte("shared")
	s := transport.NewShared(transport.MessageText, data)
	m := s.Message([]byte("head"))
	require.Equal(t, transport.MessageText, m.Type)
	require.Equal(t, "head", string(m.Head))
	require.Same(t, &data[0], &m.Data[0], "the bytes are not copied")
	require.Same(t, s, m.Shared)
	require.Equal(t, 10, m.Len())
	require.Zero(t, new(transport.Message).Len())
}

type formKey struct{ n int }

func TestFormIsEncodedOnce(t *testing.T) {
	t.Parallel()
	s := transport.NewShared(transport.MessageBinary, []byte("data"))
	var encoded [6]atomic.Int32
	form := func(n int) any {
		return s.Form(formKey{n}, func(key any, typ transport.MessageType, data []byte) any {
			encoded[key.(formKey).n].Add(1)
			return append([]byte{byte(n), byte(typ)}, data...)
		})
	}
	want := func(n int) []byte { return append([]byte{byte(n), byte(transport.MessageBinary)}, "data"...) }

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range 4 {
				if got := form(n).([]byte); !bytes.Equal(got, want(n)) {
					t.Errorf("form %d is %q", n, got)
				}
			}
		})
	}
	wg.Wait()
	for n := range 4 {
		require.EqualValues(t, 1, encoded[n].Load(), "form %d", n)
	}
	first := form(0).([]byte)
	require.Same(t, &first[0], &form(0).([]byte)[0])

	// A fifth key finds no room, is encoded at every call and drives nobody out.
	for range 3 {
		require.Equal(t, want(4), form(4))
	}
	require.EqualValues(t, 3, encoded[4].Load())
	require.Equal(t, want(0), form(0))
	require.EqualValues(t, 1, encoded[0].Load())
}

// A hit costs no allocation: it is on the way of every delivery of a publication.
func TestFormHitDoesNotAllocate(t *testing.T) {
	s := transport.NewShared(transport.MessageText, []byte("data"))
	key := any(formKey{1})
	encode := func(any, transport.MessageType, []byte) any { return "form" }
	s.Form(key, encode)
	require.Zero(t, testing.AllocsPerRun(100, func() { s.Form(key, encode) }))
}

func TestFormOfNilIsKept(t *testing.T) {
	t.Parallel()
	s := transport.NewShared(transport.MessageText, nil)
	n := 0
	for range 2 {
		require.Nil(t, s.Form(formKey{0}, func(any, transport.MessageType, []byte) any { n++; return nil }))
	}
	require.Equal(t, 1, n)
}

// An encode that panics must leave the lock free for those who come later.
func TestFormAfterPanic(t *testing.T) {
	t.Parallel()
	s := transport.NewShared(transport.MessageText, nil)
	require.Panics(t, func() {
		s.Form(formKey{0}, func(any, transport.MessageType, []byte) any { panic("x") })
	})
	require.Equal(t, 1, s.Form(formKey{0}, func(any, transport.MessageType, []byte) any { return 1 }))
}
