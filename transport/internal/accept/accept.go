// Package accept takes connections from a listener, and watches each of them while it is
// decided whether to admit it.
package accept

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/weftws/weft/transport/internal/wire"
)

// Loop calls serve for each connection of ln, on a goroutine of its own, until ctx is
// done, and waits until all of these calls have returned; it closes ln. While most of them are
// running, others wait in the listener's backlog. A temporary failure of Accept, such
// as too many open files, is waited out; any other is returned, with the name of the
// transport.
func Loop(ctx context.Context, name string, ln net.Listener, most int, serve func(net.Conn)) error {
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var serving sync.WaitGroup
	defer serving.Wait()
	room := make(chan struct{}, most)
	var delay time.Duration
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		nc, err := ln.Accept()
		if err == nil {
			delay = 0
			serving.Go(func() {
				defer func() { <-room }()
				serve(nc)
			})
			continue
		}
		<-room
		switch {
		case ctx.Err() != nil:
			return nil
		case isTemporary(err):
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(delay):
			case <-ctx.Done():
			}
		default:
			return fmt.Errorf("%s: accept: %w", name, err)
		}
	}
}

// isTemporary reports what net/http waits out too; the method has no successor for
// errors of Accept.
func isTemporary(err error) bool {
	ne, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && ne.Temporary()
}

// Watch calls gone when the peer goes away, until stop is called: like net/http it reads
// one byte ahead, which stop returns.
func Watch(nc net.Conn, gone func()) (stop func() []byte) {
	ahead, done := make([]byte, 1), make(chan struct{})
	go func() {
		defer close(done)
		n, err := nc.Read(ahead)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			gone()
		}
		ahead = ahead[:n]
	}()
	return func() []byte {
		_ = nc.SetReadDeadline(wire.Past)
		<-done
		_ = nc.SetReadDeadline(time.Time{})
		return ahead
	}
}
