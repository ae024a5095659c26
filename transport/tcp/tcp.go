// Package tcp is a byte stream over TCP or TLS, for sub-protocols that find their own
// frames, such as STOMP.
//
// # Use
//
// [New] makes a transport that serves listeners, plain and TLS, and that dials:
//
//	ep := handler.NewEndpoint(tcp.New(nil), h, handler.WithSubProtocols(stomp.New(nil)))
//	ln, err := net.Listen("tcp", ":"+tcp.DefaultPort)
//	...
//	err = ep.Serve(ctx, ln)
//
// STOMP's ports are [DefaultPort] and, for TLS, [DefaultTLSPort]. A request that comes
// through HTTP is answered with 501.
//
// # Options
//
// [Options] bounds how long a peer may take. nil and zero fields mean the defaults;
// every limit is on by default. The size of a frame is the sub-protocol's to bound,
// and the session's: see handler.WithFrameTimeout and its neighbours.
//
// # Semantics
//
// There are no boundaries: Receive gets chunks of at most 32 KiB, cut anywhere, of
// type transport.MessageBinary. Write accepts text and binary messages, checks
// neither, and sends Head and Data without anything around them; a message without
// bytes is taken and leaves no trace.
//
// Nothing is negotiated either. The first byte on the wire is the sub-protocol's, so a
// handshake has no path, no header and no sub-protocols, and an endpoint speaks the
// first one that it has. A dialer's Conn names the first of DialConfig.SubProtocols,
// since the peer is never asked; DialConfig.Header is ignored. An acceptor that refuses
// can't say why: the connection ends, after a Dial that has succeeded.
//
// Each connection has one goroutine, which reads; on a plain socket it holds no buffer
// while nothing comes, TLS keeps one of its own. There is none for writing: whoever
// sends writes without waiting, and a goroutine exists only while the peer takes less
// than was sent. TLS through [Options.TLS], or through transport.NewTLSListener, works
// the same way. On connections of another TLS listener, on those that are no sockets,
// and on systems without non-blocking system calls a goroutine of that one connection
// waits while bytes leave; where it is not TLS, a silent one holds a buffer of 32 KiB.
//
// Close has no frame to send: its code stays on this side, its reason is dropped. What
// was taken is sent, then this half of the connection is ended (over TLS with a
// close-notify), and what the peer sends is dropped until it ends the other half, for
// CloseTimeout at most. Closed always gets a *transport.EndError: with the code of Close
// and transport.ErrLocalClose on the side that called it, else with
// StatusAbnormalClosure, and io.EOF if the peer ended its half (crypto/tls says so also
// where its close-notify is missing). Then too what was taken is sent before the
// connection ends, for CloseTimeout at most. A connection that is paused reads nothing,
// and does not see the end before Resume.
//
// Conns have Yield and Pause. There is no Ping: the sub-protocol's heartbeats notice
// a silent peer, and TCP's keep-alive one that is gone.
//
// # Limits
//
// A peer that does not read holds at most one message in this process, besides the
// bytes that the kernel keeps. A peer that vanishes while it owes an acknowledgement
// for bytes in the kernel is noticed by the kernel's own retransmissions alone, which
// may take a quarter of an hour; heartbeats or a full socket end it sooner.
package tcp

import (
	"crypto/tls"
	"math"
	"net/http"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// The ports at which STOMP is served by custom, and which a dialed URL may leave out.
const (
	DefaultPort    = "61613" // tcp and stomp
	DefaultTLSPort = "61614" // tls and stomp+ssl
)

// Options are the settings of a Transport. For each of them 0 means the default; a
// negative one means no limit, where the comment says so.
type Options struct {
	// HandshakeTimeout bounds the time from the beginning of a connection until it is
	// admitted: the TLS handshake, and what the acceptor does. It bounds Dial too. The
	// default is 10 s.
	HandshakeTimeout time.Duration

	// MaxHandshakes bounds the connections of one Serve that are not yet admitted;
	// others wait in the listener's backlog. The default is 1000, negative means no
	// limit: peers that connect and say nothing then cost a goroutine and a TLS
	// handshake each.
	MaxHandshakes int

	// WriteTimeout is how long a peer may take nothing of what was sent to it. The
	// default is 10 s, negative means no limit.
	WriteTimeout time.Duration

	// CloseTimeout bounds the end of a connection, from Close or from the peer's end.
	// The default is 5 s.
	CloseTimeout time.Duration

	// KeepAlive is how long a connection is silent before the kernel asks whether the
	// peer is still there (SO_KEEPALIVE); after three questions without an answer, that
	// far apart, it ends. The default is 25 s, negative leaves it as the listener, or
	// net.Dialer, has set it.
	KeepAlive time.Duration

	// NotSentLowat bounds the bytes that the kernel keeps unsent for one
	// connection, where it can (TCP_NOTSENT_LOWAT). The default is 16 KiB,
	// negative leaves it to the kernel, which may then hold megabytes for each peer
	// that does not read.
	NotSentLowat int

	// TLS makes Serve speak TLS on the listener that it is given, unless that does so
	// already. nil means plain.
	TLS *tls.Config
}

// Transport is the tcp transport. It is immutable and safe for concurrent use.
type Transport struct {
	opts   Options
	limits duplex.Limits // what opts says of them, with defaults
}

var (
	_ transport.Transport      = (*Transport)(nil)
	_ transport.ListenerServer = (*Transport)(nil)
	_ transport.Dialer         = (*Transport)(nil)
)

// New returns a transport with a copy of opts; nil means the defaults.
func New(opts *Options) *Transport {
	var o Options
	if opts != nil {
		o = *opts
	}
	duplex.Default(&o.MaxHandshakes, 1000, math.MaxInt)
	duplex.Default(&o.KeepAlive, 25*time.Second, 0)
	return &Transport{opts: o, limits: duplex.Limits{
		Name:             "tcp",
		HandshakeTimeout: o.HandshakeTimeout,
		WriteTimeout:     o.WriteTimeout,
		CloseTimeout:     o.CloseTimeout,
		NotSentLowat:     o.NotSentLowat,
	}.WithDefaults()}
}

// Name returns "tcp".
func (t *Transport) Name() string { return "tcp" }

// Features reports text and binary messages without boundaries.
func (t *Transport) Features() transport.Features {
	return transport.Features{Text: true, Binary: true}
}

// ServeHTTP answers 501: there is no way from HTTP to a bare stream.
func (t *Transport) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ transport.Acceptor) {
	http.Error(w, "this endpoint is served on a TCP listener of its own, not through HTTP", http.StatusNotImplemented)
}
