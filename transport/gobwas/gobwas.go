// Package gobwas is WebSocket (RFC 6455) on the wire types, the masking and the upgrader of
// github.com/gobwas/ws, with weft's own reading and writing of frames.
//
// # Use
//
// [New] makes a transport that serves requests of net/http and bare listeners, and
// that dials:
//
//	ep := handler.NewEndpoint(gobwas.New(nil), h, handler.WithSubProtocols(raw.New(nil)))
//	http.Handle("/ws", ep)
//
// # Options
//
// [Options] bounds what a peer may ask for and how long it may take. nil and zero
// fields mean the defaults; every limit is on by default.
//
// # Semantics
//
// Each connection has one goroutine, which reads; it holds no buffer while nothing
// comes. There is none for writing: whoever sends writes without waiting, header
// and data in one system call, and a goroutine exists only while the peer takes
// less than was sent. Control frames are answered at once, also between the
// fragments of a message. Text is checked as it comes, and fails at the first byte
// that no continuation could mend. Bytes that arrive together with the handshake
// are the first that are read.
//
// TLS through [Options.TLS], or through transport.NewTLSListener under net/http,
// works the same way. On a TLS connection that net/http has made by itself (ServeTLS,
// ListenAndServeTLS) and on systems without non-blocking system calls a
// goroutine of that one connection waits while bytes leave; a Write may then find
// no room although the peer has read everything.
//
// A connection ends with a *transport.CloseError if the peer sent a close frame, else with
// a *transport.EndError: StatusProtocolError, StatusInvalidPayloadData and
// StatusMessageTooBig for broken rules, StatusPolicyViolation for a message that
// took too long, StatusAbnormalClosure for a lost connection. What a peer
// sends after Close was called on this side is dropped. A server ends its half
// after the close frames and waits for the client to end the other, for CloseTimeout
// at most, so that no frame is lost to a reset. A connection that is paused reads
// nothing, and sees neither a close frame nor the end before Resume.
//
// Conns have Yield, Pause, Ping and RoundTrip.
//
// # Compression
//
// [Options.Compression] turns permessage-deflate (RFC 7692) on. By default nothing is
// kept between messages, neither here nor, as was agreed, by the peer: compressors and
// inflaters come from pools and an idle connection has none. A compressor of level 1 has 0.8
// MiB, of other levels up to 1.4 MiB, an inflater 45 KiB; there are about as many as run at
// once, one more inflater for each peer that is in the middle of a compressed message.
//
// A message is compressed if it is not under the threshold and gets smaller. One that
// many connections of a server send alike is compressed once for all windows of 32 KiB,
// and once, with a window of 256 bytes, for all smaller ones. With [Compression.ContextTakeover] each of them
// compresses it anew, since it refers to what that one has sent before.
//
// The first offer that is not declined is accepted. In this table pmd is permessage-deflate,
// snct server_no_context_takeover, cnct client_no_context_takeover, smwb
// server_max_window_bits and cmwb client_max_window_bits:
//
//	offer                          answer                     answer with ContextTakeover
//	pmd                            pmd; snct; cnct            pmd
//	pmd; snct                      pmd; snct; cnct            pmd; snct
//	pmd; cnct                      pmd; snct; cnct            pmd; cnct
//	pmd; snct; cnct                pmd; snct; cnct            pmd; snct; cnct
//	pmd; cmwb                      pmd; snct; cnct            pmd
//	pmd; cmwb=9                    pmd; snct; cnct; cmwb=9    pmd; cmwb=9
//	pmd; cmwb="15"                 pmd; snct; cnct; cmwb=15   pmd; cmwb=15
//	pmd; smwb=15                   pmd; snct; cnct; smwb=15   pmd; smwb=15
//	pmd; smwb=8                    pmd; snct; cnct; smwb=8    pmd; smwb=8
//	pmd; smwb=10; cmwb=8; snct     pmd; snct; cnct; smwb=10; cmwb=8  pmd; snct; smwb=10; cmwb=8
//	pmd; smwb=7, pmd; smwb=9, pmd  pmd; snct; cnct; smwb=9    pmd; smwb=9
//	x-other; a="b c", pmd          declined                   a quoted value is a token (RFC 6455 section 9.1)
//	x-other; a=b, pmd; cnct        pmd; snct; cnct            pmd; cnct
//	pmd; unknown                   declined                   no such parameter
//	pmd; cnct; cnct                declined                   a parameter is repeated
//	pmd; snct=1                    declined                   a value where there is none
//	pmd; cnct="true"               declined                   a value where there is none
//	pmd; smwb                      declined                   no value
//	pmd; smwb=16                   declined                   windows have 8 to 15 bits
//	pmd; smwb=010                  declined                   a leading zero
//	pmd; cmwb=7                    declined                   windows have 8 to 15 bits
//	pmd; cmwb=                     declined                   not in the syntax of the header
//	x-webkit-deflate-frame         declined                   another extension
//
// A server window under 32 KiB is kept to, by a compressor of one fixed level. A header
// that breaks the syntax of RFC 6455 section 9.1 declines all that stands in it.
// Without an answer the connection goes on, not compressed.
//
// A dialer offers pmd; snct; cnct; cmwb, with ContextTakeover pmd; cmwb. It accepts
// no answer, and one that has snct if that was offered; windows and cnct are up to the
// server. Any other answer fails the dial.
//
// On the way in the limit of a message counts inflated bytes, as they appear, so that a bomb
// ends with StatusMessageTooBig when it has unpacked that many. Twice the limit and 1 KiB
// bound what one message may have on the wire: blocks without content end there.
// Data that can't be inflated ends the connection with StatusInvalidPayloadData, as
// text does that is not UTF-8 once it is inflated. More than 256 final blocks in
// one message are a StatusPolicyViolation.
//
// # Limits
//
// A message is bounded over all its fragments. A peer that does not read holds at
// most one message in this process, besides the bytes that the kernel keeps. The
// upgrade on a bare listener bounds the header's size and time; under net/http
// the server's ReadHeaderTimeout and MaxHeaderBytes do. How many connections may be
// in their handshake at once is bounded by that time alone.
package gobwas

import (
	"crypto/tls"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// Options are the settings of a Transport. For each duration and size 0 means the
// default; a negative one means no limit, where the comment says so.
type Options struct {
	// MaxMessageSize bounds an incoming message in bytes, over all its fragments;
	// a longer one ends the connection with StatusMessageTooBig. The default is
	// 64 KiB, and 1 MiB on connections that were dialed, as what a server passes on is
	// larger than what it took; negative means no limit: a single peer can then use all memory.
	MaxMessageSize int

	// HandshakeTimeout bounds a handshake, TLS included. The default is 10 s.
	HandshakeTimeout time.Duration

	// MaxHeaderBytes bounds the request on a bare listener, and the answer that Dial reads. The default
	// is 8 KiB.
	MaxHeaderBytes int

	// MessageTimeout bounds the time from a message's first byte to its last. The
	// default is 30 s, negative means no limit: a peer can then hold a part of
	// a message for ever.
	MessageTimeout time.Duration

	// WriteTimeout is how long a peer may take nothing of what was sent to it. The
	// default is 10 s, negative means no limit.
	WriteTimeout time.Duration

	// CloseTimeout bounds the end of a connection, from Close or from the peer's
	// close frame. The default is 5 s.
	CloseTimeout time.Duration

	// PingInterval is the time between pings of the keep-alive. The default is
	// 25 s, negative means none: a peer that vanishes is then noticed only by a
	// failed write.
	PingInterval time.Duration

	// PongTimeout is how long the peer may be silent after such a ping. The
	// default is 10 s.
	PongTimeout time.Duration

	// NotSentLowat bounds the bytes that the kernel keeps unsent for one
	// connection, where it can (TCP_NOTSENT_LOWAT). The default is 16 KiB,
	// negative leaves it to the kernel, which may then hold megabytes for each peer
	// that does not read.
	NotSentLowat int

	// TLS makes Serve speak TLS on the listener that it is given. nil means plain.
	TLS *tls.Config

	// Compression offers permessage-deflate when dialing, and accepts offers
	// when serving. The default, nil, does neither: compression costs more time than all
	// else together, and 0.8 MiB or more for each message that is being compressed.
	Compression *Compression
}

// Transport is the gobwas transport. It is immutable and safe for concurrent use.
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
	o.Compression = o.Compression.withDefaults()
	return &Transport{opts: o, limits: duplex.Limits{
		Name:             "gobwas",
		MaxMessageSize:   o.MaxMessageSize,
		HandshakeTimeout: o.HandshakeTimeout,
		MaxHeaderBytes:   o.MaxHeaderBytes,
		MessageTimeout:   o.MessageTimeout,
		WriteTimeout:     o.WriteTimeout,
		CloseTimeout:     o.CloseTimeout,
		PingInterval:     o.PingInterval,
		PongTimeout:      o.PongTimeout,
		NotSentLowat:     o.NotSentLowat,
	}.WithDefaults()}
}

// Name returns "gobwas".
func (t *Transport) Name() string { return "gobwas" }

// Features reports messages with boundaries, text and binary, on connections taken over.
func (t *Transport) Features() transport.Features {
	return transport.Features{Boundaries: true, Text: true, Binary: true, Upgrade: true}
}
