package main

import (
	"net"
	"runtime"
)

// The floor of servers with a goroutine for each connection: no WebSocket, no HTTP,
// bytes come back as they are read. It is no floor of memory: a silent connection holds
// its buffer. A publication has the length that it has as a WebSocket frame, header
// included.
var tcp = row{
	Name: "tcp", Library: "net", Version: runtime.Version(), Kind: "echo", Framing: "tcp", TLS: true,
	URL:   "https://pkg.go.dev/net#example-Listener",
	Limit: "none",
	Note:  "a floor, not a server; publishes a text frame of 4+128 bytes; a silent connection holds 32 KiB",
	start: startTCP,
}

var tcpPublication = append([]byte{0x81, 126, 0, byte(len(message))}, message...)

func startTCP(s site) (*server, error) {
	var all conns[net.Conn]
	addr, err := s.serve(func(nc net.Conn) {
		all.add(nc)
		defer all.remove(nc)
		buf := make([]byte, 32<<10)
		for {
			n, err := nc.Read(buf)
			if err != nil {
				return
			}
			if _, err := nc.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	return &server{addr: addr, publish: func() error {
		all.each(func(nc net.Conn) { _, _ = nc.Write(tcpPublication) })
		return nil
	}}, err
}
