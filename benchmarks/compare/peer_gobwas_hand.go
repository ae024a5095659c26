package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"slices"

	"github.com/gobwas/ws"
)

// The README's example without wsutil, on a bare listener: its loop over ReadHeader,
// with the buffer kept between frames, a buffered reader and one write for a frame.
var gobwasHand = row{
	Name: "gobwas-hand", Library: "github.com/gobwas/ws", Kind: "echo", Framing: "websocket", TLS: true,
	URL:   "https://github.com/gobwas/ws/blob/v1.5.0/README.md#usage",
	Limit: "1 MiB",
	Note:  "refuses fragments, echoes pongs; publishes in a loop of writes, as gobwas-wsutil",
	start: startHand,
}

func startHand(s site) (*server, error) {
	var all conns[net.Conn]
	addr, err := s.serve(func(nc net.Conn) {
		if _, err := ws.Upgrade(nc); err != nil {
			return
		}
		all.add(nc)
		defer all.remove(nc)
		var (
			in   = bufio.NewReader(nc)
			data []byte
			out  bytes.Buffer
		)
		for {
			h, err := ws.ReadHeader(in)
			if err != nil || ws.CheckHeader(h, ws.StateServerSide) != nil || h.Length > 1<<20 {
				return
			}
			data = slices.Grow(data[:0], int(h.Length))[:h.Length]
			if _, err := io.ReadFull(in, data); err != nil {
				return
			}
			ws.Cipher(data, h.Mask, 0)
			out.Reset()
			if h.OpCode == ws.OpPing {
				h.OpCode = ws.OpPong
			}
			_ = ws.WriteHeader(&out, ws.Header{Fin: h.Fin, OpCode: h.OpCode, Length: h.Length})
			out.Write(data)
			if _, err := nc.Write(out.Bytes()); err != nil || h.OpCode == ws.OpClose {
				return
			}
		}
	})
	f := ws.MustCompileFrame(ws.NewTextFrame(message))
	return &server{addr: addr, publish: func() error { all.each(func(nc net.Conn) { _, _ = nc.Write(f) }); return nil }}, err
}
