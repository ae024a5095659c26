package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"testing"

	"github.com/go-stomp/stomp/v3/frame"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
)

// What these numbers mean: how long the formats of STOMP alone take, without sockets,
// for the same frames: a client's SEND is read, a MESSAGE to a subscriber is written. The
// reader of go-stomp takes a stream, which costs it a copy, and it makes a map-like
// header and a body of each frame; weft's hands on a message that lies in the bytes that
// came, and checks more: UTF-8, required headers, limits. The header that go-stomp
// writes is made once, outside of the loop.

// codecSizes are those of bodies.
var codecSizes = []int{64, 1 << 10, 16 << 10}

func sendFrame(size int) []byte {
	return fmt.Appendf(nil, "SEND\ndestination:/topic/news\ncontent-type:text/plain\nreceipt:r-1\ncontent-length:%d\n\n%s\x00", size, body(size))
}

// framer is one of weft's, for a server and a client of version 1.2.
func framer(tb testing.TB) subprotocol.Framer {
	tb.Helper()
	f := stomp.New(nil).NewFramer(stomp.V12, subprotocol.FramerConfig{})
	connect := transport.Message{Type: transport.MessageText, Data: []byte("CONNECT\naccept-version:1.2\n\n\x00")}
	require.NoError(tb, f.Decode(connect, &emitted{}))
	_, _, err := f.Append(nil, &subprotocol.Message{Kind: subprotocol.KindConnected, Version: "1.2"})
	require.NoError(tb, err)
	return f
}

// emitted counts, and checks that all of a message is there.
type emitted struct {
	messages int
	size     int
}

func (e *emitted) Emit(m *subprotocol.Message) error {
	e.messages++
	if m.Kind == subprotocol.KindSend && (len(m.Body) != e.size || m.Destination != "/topic/news" || m.Receipt != "r-1") {
		return errors.New("not what was sent")
	}
	return nil
}

// endless is a stream of the same frame.
type endless struct {
	frame []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.frame[e.at:])
	e.at = (e.at + n) % len(e.frame)
	return n, nil
}

func readGoStomp(r *frame.Reader, size int) error {
	f, err := r.Read()
	if err == nil && (f == nil || len(f.Body) != size || f.Header.Get("destination") != "/topic/news" || f.Header.Get("receipt") != "r-1") {
		err = errors.New("not what was sent")
	}
	return err
}

func delivery(size int) *subprotocol.Message {
	return &subprotocol.Message{
		Kind: subprotocol.KindDeliver, Subscription: "sub-1", ID: "m-1", Destination: "/topic/news", ContentType: "text/plain", Body: body(size),
	}
}

func deliveryOfGoStomp(size int) *frame.Frame {
	f := frame.New("MESSAGE", "subscription", "sub-1", "message-id", "m-1", "ack", "3.m-1sub-1", "destination", "/topic/news",
		"content-type", "text/plain", "content-length", strconv.Itoa(size))
	f.Body = body(size)
	return f
}

// BenchmarkSTOMP is named by what is done, size and library.
func BenchmarkSTOMP(b *testing.B) {
	for _, size := range codecSizes {
		in := sendFrame(size)
		b.Run(fmt.Sprintf("decode/%dB/weft", size), func(b *testing.B) {
			f, sink := framer(b), &emitted{size: size}
			m := transport.Message{Type: transport.MessageText, Data: in}
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if err := f.Decode(m, sink); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("decode/%dB/go-stomp", size), func(b *testing.B) {
			r := frame.NewReader(&endless{frame: in})
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if err := readGoStomp(r, size); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, size := range codecSizes {
		b.Run(fmt.Sprintf("append/%dB/weft", size), func(b *testing.B) {
			f, m := framer(b), delivery(size)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if buf, _, err = f.Append(buf[:0], m); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(buf)))
		})
		b.Run(fmt.Sprintf("append/%dB/go-stomp", size), func(b *testing.B) {
			f := deliveryOfGoStomp(size)
			var buf bytes.Buffer
			w := frame.NewWriter(&buf)
			b.ReportAllocs()
			for b.Loop() {
				buf.Reset()
				if err := w.Write(f); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(buf.Len()))
		})
	}
}

// Both do the same work in the benchmark: what the one writes is what the other writes,
// header for header, and what they read is the same.
func TestCodecsAgree(t *testing.T) {
	t.Parallel()
	for _, size := range codecSizes {
		in := sendFrame(size)
		sink := &emitted{size: size}
		require.NoError(t, framer(t).Decode(transport.Message{Type: transport.MessageText, Data: in}, sink))
		require.Equal(t, 1, sink.messages)
		require.NoError(t, readGoStomp(frame.NewReader(&endless{frame: in}), size))

		ours, _, err := framer(t).Append(nil, delivery(size))
		require.NoError(t, err)
		var theirs bytes.Buffer
		require.NoError(t, frame.NewWriter(&theirs).Write(deliveryOfGoStomp(size)))
		a, err := frame.NewReader(bytes.NewReader(ours)).Read()
		require.NoError(t, err)
		b, err := frame.NewReader(&theirs).Read()
		require.NoError(t, err)
		require.Equal(t, b.Command, a.Command)
		require.Equal(t, b.Body, a.Body)
		require.Equal(t, b.Header.Len(), a.Header.Len())
		for i := range b.Header.Len() {
			k, v := b.Header.GetAt(i)
			require.Equal(t, v, a.Header.Get(k), k)
		}
		_, err = frame.NewReader(bytes.NewReader(nil)).Read()
		require.ErrorIs(t, err, io.EOF)
	}
}
