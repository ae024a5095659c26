// Package enginetest has the cases that hold for every WebSocket engine, whoever reads
// and writes its frames: stalled peers, timers, handshakes and answers that are broken.
package enginetest

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// Engine is what the cases know of an engine.
type Engine struct {
	Name string

	// Kinds are the ways to be served: "bare" and "bare-tls" on a listener, "http",
	// "https" with weft's TLS listener, "https-own" with that of net/http. The first
	// one is plain.
	Kinds []string

	// New makes a transport with these limits, nil for the defaults, that speaks TLS on
	// bare listeners if config is not nil.
	New func(l *duplex.Limits, config *tls.Config) Transport
}

// Transport is what a transport of an engine can do.
type Transport interface {
	transport.Transport
	transport.Dialer
}

// Conn is a connection of an engine: it embeds a duplex.WebSocket.
type Conn interface {
	transport.Conn
	transport.Yielder
	transport.Pauser
	transport.Pinger
	transport.RoundTripTimer

	Held() int
	BeginWrite()
	EndWrite()
	LetGo()
	TakeBack()
	Room(t transport.MessageType) (bool, error)
	Cause() error
}

// Run runs all cases. It must not run beside other tests of the engine: one counts
// goroutines.
func Run(t *testing.T, e *Engine) {
	t.Run("Goroutines", e.testGoroutines)
	t.Run("Stalled", e.testStalled)
	t.Run("StalledDelayNobody", e.testStalledDelayNobody)
	t.Run("StalledBatch", e.testStalledBatch)
	t.Run("LargeCut", e.testLargeCut)
	t.Run("PingFlood", e.testPingFlood)
	t.Run("CloseBesideWrite", e.testCloseBesideWrite)
	t.Run("CloseBetweenSystemCalls", e.testCloseBetweenSystemCalls)
	t.Run("Yield", e.testYield)
	t.Run("Pause", e.testPause)
	t.Run("PingContext", e.testPingContext)
	t.Run("KeepAlive", e.testKeepAlive)
	t.Run("KeepAliveInReceive", e.testKeepAliveInReceive)
	t.Run("MessageTimeout", e.testMessageTimeout)
	t.Run("WriteTimeout", e.testWriteTimeout)
	t.Run("CloseTimeout", e.testCloseTimeout)
	t.Run("BadRequests", e.testBadRequests)
	t.Run("Pipelined", e.testPipelined)
	t.Run("RefusedAccept", e.testRefusedAccept)
	t.Run("HandshakeContext", e.testHandshakeContext)
	t.Run("ResponseWriters", e.testResponseWriters)
	t.Run("HalfAMessage", e.testHalfAMessage)
	t.Run("BadAnswers", e.testBadAnswers)
	t.Run("DialNeverAnswered", e.testDialNeverAnswered)
	t.Run("DialConfig", e.testDialConfig)
	t.Run("KeyIsFresh", e.testKeyIsFresh)
	t.Run("Echo", e.testEcho)
	t.Run("ReceiveEndsItsGoroutine", e.testReceiveEndsItsGoroutine)
}

// plain are the Kinds without TLS.
func (e *Engine) plain() []string {
	return slices.DeleteFunc(slices.Clone(e.Kinds), func(kind string) bool { return strings.Contains(kind, "tls") || strings.HasPrefix(kind, "https") })
}
