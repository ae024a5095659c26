//go:build unix

package benchmarks

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// The budgets. What happens once in a while, such as a pool that the garbage
// collector has emptied, is a fraction of an allocation for each message.
const (
	echoBudget = 0.05 // of a message
	// A publication costs a few allocations, whatever the number of sessions: its
	// copy of the message, the bytes, their wire form.
	publicationBudget = 24
	deliveryBudget    = 0.02 // of a session beyond those
)

// mallocs counts the allocations of the process while f runs, after a warm-up run. It
// is the least of three: what the runtime allocates beside f on a busy machine is
// not f's.
func mallocs(f func()) float64 {
	f()
	least := math.Inf(1)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs))
	}
	return least
}

func skipUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector allocates, and has pools forget on purpose")
	}
}

// stack returns a row of the table.
func stack(t *testing.T, name string) handlertest.Stack {
	t.Helper()
	all := handlertest.Stacks()
	i := slices.IndexFunc(all, func(st handlertest.Stack) bool { return st.Name == name })
	require.GreaterOrEqual(t, i, 0, "the table has no row %s", name)
	return all[i]
}

// The tests of this file are not parallel: they count the allocations of the process.

func TestEchoAllocations(t *testing.T) {
	skipUnderRace(t)
	const n = 5000
	for _, name := range []string{"gobwas/raw/none", "gobwas-bare/raw/none"} {
		for _, size := range []int{64, 1 << 10, 16 << 10} {
			t.Run(fmt.Sprintf("%s/%dB", name, size), func(t *testing.T) {
				s := stack(t, name).Start(t, handler.HandlerFunc(handlertest.Echo))
				nc := dialRaw(t, s.Addr)
				conns := []net.Conn{nc}
				frame := maskedFrame(ws.OpBinary, make([]byte, size))
				answer := len(appendFrame(nil, ws.OpBinary, make([]byte, size)))
				// The client's few allocations are those of each call, not of each message.
				per := mallocs(func() { echoRounds(t, conns, frame, answer, n) }) / n
				t.Logf("%.4f allocations for each message", per)
				require.Less(t, per, echoBudget)
				nc.Close()
			})
		}
	}
}

// Over pipe both ends are weft's, so both must allocate nothing.
func TestPipeEchoAllocations(t *testing.T) {
	skipUnderRace(t)
	const n = 5000
	s := stack(t, "pipe/raw/none").Start(t, handler.HandlerFunc(handlertest.Echo))
	back := make(chan struct{}, 1)
	c, err := s.DialWith(&handlertest.DialOptions{OnMessage: func(*subprotocol.Message) { back <- struct{}{} }})
	require.NoError(t, err)
	m := &subprotocol.Message{Type: transport.MessageBinary, Body: make([]byte, 64)}
	per := mallocs(func() {
		for range n {
			if err := c.Send(m); err != nil {
				t.Fatal(err)
			}
			<-back
		}
	}) / n
	t.Logf("%.4f allocations for each message", per)
	require.Less(t, per, echoBudget)
}

// libraryBudget is what the libraries under a carrier allocate in a round trip, at both
// ends together: crypto/tls for its records, gorilla for its readers and writers. SockJS has
// a list for the strings of each array.
func libraryBudget(carrier string) float64 {
	budget := 0.0
	if strings.Contains(carrier, "tls") || strings.Contains(carrier, "https") {
		budget += 6
	}
	switch {
	case carrier == "gorilla-deflate":
		budget += 18
	case strings.HasPrefix(carrier, "gorilla"):
		budget += 5
	case carrier == "sockjs":
		budget += 2
	}
	return budget
}

// formatBudget is what a wire format itself makes at both ends together: of STOMP's MESSAGE
// the client gets the message-id, which is never the same text.
func formatBudget(format string) float64 {
	if strings.HasPrefix(format, "stomp/") {
		return 1
	}
	return 0
}

// Every row, both ends together: the server's side and the client's, which is built of
// the same parts. Neither raw nor the envelopes allocate anything.
func TestRowAllocations(t *testing.T) {
	skipUnderRace(t)
	const n = 2000
	for _, st := range handlertest.Stacks() {
		if st.Requests {
			continue // net/http makes a hundred and more for each request
		}
		t.Run(st.Name, func(t *testing.T) {
			s := st.Start(t, handler.HandlerFunc(handlertest.Echo))
			back := make(chan struct{}, 1)
			c, err := s.DialWith(&handlertest.DialOptions{OnMessage: func(*subprotocol.Message) { back <- struct{}{} }})
			require.NoError(t, err)
			m := &subprotocol.Message{Body: bytes.Repeat([]byte("weft "), 13)}
			per := mallocs(func() {
				for range n {
					if err := c.Send(m); err != nil {
						t.Fatal(err)
					}
					<-back
				}
			}) / n
			t.Logf("%.3f allocations for each round trip", per)
			require.Less(t, per, libraryBudget(st.Carrier)+formatBudget(st.Format)+2*echoBudget)
		})
	}
}

func TestFanoutAllocations(t *testing.T) {
	skipUnderRace(t)
	const sessions, publications = 500, 40
	s := stack(t, "gobwas/raw/none").Start(t, handler.HandlerFunc(handlertest.Echo))
	conns := make([]net.Conn, sessions)
	for i := range conns {
		conns[i] = dialRaw(t, s.Addr)
	}
	echoRounds(t, conns, maskedFrame(ws.OpBinary, nil), len(appendFrame(nil, ws.OpBinary, nil)), 1)
	all := slices.Collect(s.Endpoint.Sessions().All())
	require.Len(t, all, sessions)
	size := len(appendFrame(nil, ws.OpText, fanoutBody))
	buf := make([]byte, size)
	per := mallocs(func() {
		for range publications {
			publish(t, all)
			for _, nc := range conns {
				readFull(t, nc, buf)
			}
		}
	}) / publications
	t.Logf("%.1f allocations for each publication to %d sessions", per, sessions)
	require.Less(t, per, publicationBudget+sessions*deliveryBudget)
	for _, nc := range conns {
		nc.Close()
	}
}

// Subscribers of a broker's topic that each have an id of their own cost no allocation
// for it, nor for the message-id.
func TestTopicAllocations(t *testing.T) {
	skipUnderRace(t)
	const sessions, publications = 500, 40
	b := broker.New(nil)
	defer b.Close()
	s := stack(t, "gobwas/stomp/json").Start(t, b)
	conns := make([]net.Conn, sessions)
	for i := range conns {
		conns[i] = dialRaw(t, s.Addr)
		for _, frame := range []string{
			"CONNECT\naccept-version:1.2\n\n\x00",
			fmt.Sprintf("SUBSCRIBE\nid:subscription-%d\ndestination:/topic/news\nreceipt:1\n\n\x00", i),
		} {
			_, err := conns[i].Write(maskedFrame(ws.OpText, []byte(frame)))
			require.NoError(t, err)
			readFrame(t, conns[i])
		}
	}
	m := &subprotocol.Message{Body: fanoutBody}
	per := mallocs(func() {
		for range publications {
			if err := b.Publish(t.Context(), "/topic/news", m); err != nil {
				t.Fatal(err)
			}
			for _, nc := range conns {
				readFrame(t, nc)
			}
		}
	}) / publications
	t.Logf("%.1f allocations for each publication to %d subscribers", per, sessions)
	require.Less(t, per, publicationBudget+sessions*deliveryBudget)
	for _, nc := range conns {
		nc.Close()
	}
}

// frameBuffer is where readFrame reads to: the tests of this file are not parallel.
var frameBuffer [1024]byte

// readFrame reads one short frame of a server's.
func readFrame(t testing.TB, nc net.Conn) {
	buf := frameBuffer[:]
	readFull(t, nc, buf[:2])
	n := int(buf[1])
	if n == 126 {
		readFull(t, nc, buf[:2])
		n = int(binary.BigEndian.Uint16(buf))
	}
	readFull(t, nc, buf[:n])
}
