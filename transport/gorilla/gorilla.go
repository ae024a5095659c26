// Package gorilla is WebSocket (RFC 6455) on github.com/gorilla/websocket: its upgrade,
// its dialer and its frames, with weft's own limits and without its waiting.
//
// # Use
//
// [New] makes a transport that serves requests of net/http, and that dials:
//
//	ep := handler.NewEndpoint(gorilla.New(nil), h, handler.WithSubProtocols(raw.New(nil)))
//	http.Handle("/ws", ep)
//
// The gobwas transport behaves alike and costs less; this one is for those who trust
// the engine that they know.
//
// # Options
//
// [Options] bounds what a peer may ask for and how long it may take. nil and zero
// fields mean the defaults; every limit is on by default, compression is off.
//
// # Semantics
//
// Each connection has one goroutine, which reads; no buffer for writing is kept while
// nothing is written. gorilla encodes into memory, and whoever sends writes that
// without waiting, a batch in one system call; a goroutine exists only while the peer
// takes less than was sent. A publication is encoded once, as a
// websocket.PreparedMessage. Control frames are answered at once, also between
// the fragments of a message. Text is checked as it comes, after inflating, and fails at the
// first byte that no continuation could mend. Bytes that arrive together with the
// handshake are the first that are read.
//
// TLS through transport.NewTLSListener works the same way. On a TLS connection that
// net/http has made by itself (ServeTLS, ListenAndServeTLS) and on systems without
// non-blocking system calls a goroutine of that one connection waits while bytes leave;
// a Write may then find no room although the peer has read everything.
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
// With [Options].Compression set, permessage-deflate (RFC 7692) is agreed on as
// gorilla does it: each message by itself, in windows of 32 KiB. A server takes the
// first offer that it can answer:
//
//	permessage-deflate                    taken
//	... server_no_context_takeover        taken
//	... client_no_context_takeover        taken
//	... client_max_window_bits            taken, the window stays as large as the client likes
//	... client_max_window_bits=8 to 15    the same
//	... server_max_window_bits=8 to 15    declined: a promise that gorilla can't keep
//	... repeated, unknown or malformed    declined
//	no offer taken                        the connection is opened without compression
//
// The answer is always "permessage-deflate; server_no_context_takeover;
// client_no_context_takeover", which is also what Dial offers. It accepts that,
// with server_max_window_bits too, or no compression; anything else fails the dial.
//
// # Limits
//
// A message is bounded over all its fragments and after inflating: what inflates to
// more ends the connection at the first byte too many. On the wire a compressed
// message may take a sixty-fourth and 1 KiB more than that. A peer that does not read
// holds at most one message in this process, besides the bytes that the kernel keeps.
// Under net/http the server's ReadHeaderTimeout and MaxHeaderBytes bound the request.
//
// Unlike gobwas it
//   - does not serve bare listeners, only requests of net/http;
//   - sends what a dialer writes in several frames if it is over 64 KiB, and so what it
//     compresses to; a publication is compressed in frames of about 4 KiB;
//   - keeps no context between messages, has no smaller window for the server, and
//     sends compressed what does not get smaller by it;
//   - reports the rules that gorilla checks in gorilla's words;
//   - copies each message that comes in, and allocates twice for an echo.
package gorilla

import (
	"compress/flate"
	"fmt"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/duplex"
)

// Options are the settings of a Transport. For each duration and size 0 means the
// default; a negative one means no limit, where the comment says so.
type Options struct {
	// MaxMessageSize bounds an incoming message in bytes, over all its fragments
	// and after inflating; a longer one ends the connection with
	// StatusMessageTooBig. The default is 64 KiB, and 1 MiB on connections that were
	// dialed, as what a server passes on is larger than what it took; negative means no
	// limit: a single peer can then use all memory.
	MaxMessageSize int

	// HandshakeTimeout bounds a handshake, TLS of Dial included. The default is
	// 10 s.
	HandshakeTimeout time.Duration

	// MaxHeaderBytes bounds the answer that Dial reads. The default is 8 KiB. What a
	// server reads is bounded by http.Server.MaxHeaderBytes.
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

	// Compression turns permessage-deflate (RFC 7692) on; nil means that it is
	// neither offered nor accepted.
	Compression *Compression
}

// Compression are the settings of permessage-deflate. It costs time on both sides,
// and while a message is made smaller or larger a few hundred kilobytes. A message
// that mixes a secret with what an attacker chose tells its length (CRIME).
type Compression struct {
	// Level is that of compress/flate: from 1, the fastest, to 9, the smallest, -1 for
	// a middle one, -2 for Huffman coding alone. 0 means the default, 1.
	Level int

	// Threshold is the number of bytes from which a message is compressed. 0 means the
	// default, 512; negative means that every message is.
	Threshold int
}

// Transport is the gorilla transport. It is immutable and safe for concurrent use.
type Transport struct {
	opts   Options
	limits duplex.Limits // what opts says of them, with defaults
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Dialer    = (*Transport)(nil)
)

// New returns a transport with a copy of opts; nil means the defaults. It panics if
// Compression.Level is out of range.
func New(opts *Options) *Transport {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Compression != nil {
		c := *o.Compression
		if c.Level < flate.HuffmanOnly || c.Level > flate.BestCompression {
			panic(fmt.Sprintf("gorilla: Compression.Level is %d, want %d to %d", c.Level, flate.HuffmanOnly, flate.BestCompression))
		}
		if c.Level == 0 {
			c.Level = flate.BestSpeed
		}
		duplex.Default(&c.Threshold, 512, 0)
		o.Compression = &c
	}
	return &Transport{opts: o, limits: duplex.Limits{
		Name:             "gorilla",
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

// Name returns "gorilla".
func (t *Transport) Name() string { return "gorilla" }

// Features reports messages with boundaries, text and binary, on connections taken over.
func (t *Transport) Features() transport.Features {
	return transport.Features{Boundaries: true, Text: true, Binary: true, Upgrade: true}
}
