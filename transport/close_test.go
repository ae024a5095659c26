package transport_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

func TestCheckClose(t *testing.T) {
	t.Parallel()
	good := map[transport.StatusCode]bool{
		1000: true, 1001: true, 1002: true, 1003: true, 1007: true, 1008: true, 1009: true, 1010: true,
		1011: true, 1012: true, 1013: true, 1014: true,
	}
	for c := range transport.StatusCode(6000) {
		want := good[c] || c >= 3000 && c <= 4999
		require.Equal(t, want, c.Sendable(), "code %d", c)
		require.Equal(t, want, transport.CheckClose(c, "") == nil, "code %d", c)
	}
	require.False(t, transport.StatusCode(65535).Sendable())

	require.NoError(t, transport.CheckClose(1000, strings.Repeat("x", transport.MaxCloseReason)))
	require.ErrorContains(t, transport.CheckClose(1000, strings.Repeat("x", transport.MaxCloseReason+1)), "124")
	require.ErrorContains(t, transport.CheckClose(1000, "a\xff"), "UTF-8")
	require.NoError(t, transport.CheckClose(1000, "\u20ac"))
	// The limit counts bytes, not characters.
	require.Error(t, transport.CheckClose(1000, strings.Repeat("\u20ac", 42)))
	require.NotErrorIs(t, transport.CheckClose(0, ""), net.ErrClosed)
}

func TestCloseStatus(t *testing.T) {
	t.Parallel()
	ce := &transport.CloseError{Code: 4000, Reason: "why"}
	require.EqualValues(t, 4000, transport.CloseStatus(ce))
	require.EqualValues(t, 4000, transport.CloseStatus(fmt.Errorf("session: %w", ce)))
	require.EqualValues(t, 4000, transport.CloseStatus(errors.Join(io.EOF, ce)))
	for _, err := range []error{nil, io.EOF, net.ErrClosed, &transport.EndError{Code: 1000, Err: transport.ErrLocalClose}} {
		require.Zero(t, transport.CloseStatus(err), "%v", err)
	}
}

// What the peer said and what was found here both say that the connection is over,
// and can be told apart.
func TestErrorsUnwrap(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		&transport.CloseError{Code: 1000},
		&transport.EndError{Code: 1009, Err: transport.ErrMessageTooBig},
		&transport.EndError{Code: 1006, Err: fmt.Errorf("read: %w", io.ErrUnexpectedEOF)},
	} {
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, fmt.Errorf("wrapped: %w", err), net.ErrClosed)
	}
	require.ErrorIs(t, &transport.EndError{Err: transport.ErrTimeout}, transport.ErrTimeout)
	require.NotErrorIs(t, &transport.EndError{Err: transport.ErrTimeout}, transport.ErrLocalClose)
	require.ErrorIs(t, &transport.EndError{Err: fmt.Errorf("x: %w", io.EOF)}, io.EOF)
	var ce *transport.CloseError
	require.NotErrorAs(t, &transport.EndError{Err: io.EOF}, &ce)
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&transport.CloseError{Code: 1000}, "transport: closed by peer with status 1000"},
		{&transport.CloseError{Code: 4001, Reason: "a\nb"}, `transport: closed by peer with status 4001: "a\nb"`},
		{&transport.EndError{Code: 1009, Err: transport.ErrMessageTooBig}, "transport: ended with status 1009: message over the size limit"},
		{&transport.Refusal{Status: 403, Text: "no\r\n"}, `transport: handshake refused with status 403: "no\r\n"`},
	} {
		require.EqualError(t, tt.err, tt.want)
	}
}
