package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each delivery in a payload gets its ACK, which names what the server has named.
func TestAppendAcks(t *testing.T) {
	t.Parallel()
	const one = "MESSAGE\nsubscription:1\nack:3.a\\cb1\nmessage-id:a\n\n{}\x00"
	for payload, want := range map[string][]string{
		one:                         {`3.a\cb1`},
		one + "\n" + one:            {`3.a\cb1`, `3.a\cb1`},
		"RECEIPT\nreceipt-id:1\n\n": nil,
		"\n":                        nil,
	} {
		got, n := appendAcks(nil, []byte(payload))
		require.Equal(t, len(want), n)
		var all []byte
		for _, id := range want {
			all = append(all, maskedFrame(stompMessage("ACK\nid:%s\n\n", id))...)
		}
		require.Equal(t, all, got)
	}
}

func TestReadPayload(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 125, 126, 65535, 65536} {
		body := bytes.Repeat([]byte("x"), n)
		frame := maskedFrame(message{Type: "text", Data: body})
		head := len(frame) - n - 4
		frame = append(frame[:head:head], body...) // servers mask nothing
		frame[1] &^= 0x80
		in := bufio.NewReader(bytes.NewReader(append(frame, frame...)))
		for range 2 {
			got, err := readPayload(in, nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got))
		}
		_, err := readPayload(in, nil)
		require.ErrorIs(t, err, io.EOF)
	}
	_, err := readPayload(bufio.NewReader(strings.NewReader("\x81\x7f\x00\x00\x00\x00\xff\x00\x00\x00")), nil)
	require.ErrorContains(t, err, "a frame of 4278190080 bytes")
}
