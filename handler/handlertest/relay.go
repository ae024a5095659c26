package handlertest

import (
	"io"
	"net"
	"sync"
)

// relay carries the bytes of a client's TCP connections, so that they can be broken from
// outside whatever transport is on them.
type relay struct {
	ln net.Listener

	mu    sync.Mutex
	conns []*net.TCPConn
	broke bool
}

func newRelay(target string) (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{ln: ln}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			if r.keep(client) {
				go r.run(client, target)
			}
		}
	}()
	return r, nil
}

func (r *relay) addr() string { return r.ln.Addr().String() }

func (r *relay) run(client net.Conn, target string) {
	server, err := net.Dial("tcp", target)
	if err != nil || !r.keep(server) {
		client.Close()
		return
	}
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[1], pair[0])
			_ = pair[1].(*net.TCPConn).CloseWrite()
		})
	}
	wg.Wait()
	client.Close()
	server.Close()
}

// keep lets cut find nc. It reports false, and closes nc, if cut was there first.
func (r *relay) keep(nc net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broke {
		nc.Close()
		return false
	}
	r.conns = append(r.conns, nc.(*net.TCPConn))
	return true
}

// cut resets all connections, and takes no more. A second one does nothing.
func (r *relay) cut() {
	r.ln.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broke = true
	for _, nc := range r.conns {
		_ = nc.SetLinger(0)
		nc.Close()
	}
}
