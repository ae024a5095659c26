package handlertest

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/codec/msgpackcodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/pipe"
	"github.com/weftws/weft/transport/sockjs"
	"github.com/weftws/weft/transport/tcp"
)

// MaxMessageSize is the limit for one incoming message, in bytes, that every
// stack has on both sides.
const MaxMessageSize = 64 << 10

// closeTimeout is the transports'. It is far under Timeout, so that an end which
// needs it is no failure.
const closeTimeout = 2 * time.Second

// writeTimeout keeps a peer that a test stalls from being ended on a slow machine.
const writeTimeout = 2 * Timeout

// Stack is one row of the table. It is immutable; Start may be called any number of
// times and from any goroutine that may fail the test.
type Stack struct {
	// Name is Carrier, sub-protocol and codec with slashes between them:
	// "gobwas-tls/raw/none". It is unique and constant.
	Name string

	// Carrier names the transport and the way that it is mounted: "pipe" inside the
	// process, "gobwas" and "gobwas-tls" under net/http (the latter on
	// transport.NewTLSListener), "gobwas-https" under net/http with TLS of its own,
	// "gobwas-bare" and "gobwas-bare-tls" on a listener without net/http,
	// "gobwas-deflate" with compression of every message; and so for "gorilla". "tcp" and
	// "tcp-tls" are listeners without WebSocket. "sockjs" is SockJS over gobwas's WebSocket,
	// "sockjs-streaming" and "sockjs-polling" over requests.
	Carrier string

	// Format names the sub-protocol and the first codec: "raw/none", "json/json",
	// "stomp/json".
	Format string

	// TLS reports that clients connect over TLS.
	TLS bool

	// Stream reports that the transport is a stream of bytes: there is no handshake
	// that names sub-protocols, has headers or can be refused in words, and no close
	// status for the other end.
	Stream bool

	// HTTP reports that net/http serves the row, so that Served can have another server
	// do it.
	HTTP bool

	// Requests reports that messages travel in HTTP requests: the handshake names no
	// sub-protocols, nobody can be pinged, and the server does not learn with which status a
	// client closes.
	Requests bool

	// Text reports that bodies must be text: the transport carries nothing else, and the
	// sub-protocol has no other form for them.
	Text bool

	// SubProtocol is what the endpoint gets first, and Dial speaks.
	SubProtocol subprotocol.SubProtocol

	// Codecs are the endpoint's.
	Codecs []codec.Codec

	// MaxBody is how long a body may be, in bytes, to fit into a message of
	// MaxMessageSize.
	MaxBody int

	carrier carrier
}

// carrier is a transport and a way to mount it.
type carrier struct {
	name   string
	tls    bool
	all    bool // has every format; the others are there for their own way alone
	new    func(serverTLS *tls.Config) side
	mount  func(s *Server) error
	stream bool                            // has the formats that find their own frames
	listen func(net.Listener) net.Listener // of those under net/http: what it serves on
	asks   bool                            // has requests for messages
}

// side is what a row needs of a transport.
type side interface {
	transport.Transport
	transport.Dialer
}

// carriers are one half of the table.
func carriers() []carrier {
	return []carrier{
		{"pipe", false, true, newPipe, inProcess, false, nil, false},
		{"gobwas", false, true, newGobwas, overHTTP, false, plain, false},
		{"gobwas-tls", true, true, newGobwas, overHTTP, false, weftTLS, false},
		{"gobwas-https", true, false, newGobwas, overHTTP, false, ownTLS, false},
		{"gobwas-bare", false, false, newGobwas, overListener, false, nil, false},
		{"gobwas-bare-tls", true, false, newGobwasTLS, overListener, false, nil, false},
		{"gobwas-deflate", false, false, newGobwasDeflate, overHTTP, false, plain, false},
		{"gorilla", false, true, newGorilla, overHTTP, false, plain, false},
		{"gorilla-tls", true, true, newGorilla, overHTTP, false, weftTLS, false},
		{"gorilla-https", true, false, newGorilla, overHTTP, false, ownTLS, false},
		{"gorilla-deflate", false, false, newGorillaDeflate, overHTTP, false, plain, false},
		{"tcp", false, false, newTCP, overListener, true, nil, false},
		{"tcp-tls", true, false, newTCPTLS, overListener, true, nil, false},
		{"sockjs", false, false, newSockJS("websocket"), overSockJS, false, nil, false},
		{"sockjs-streaming", false, false, newSockJS("xhr-streaming"), overSockJS, false, nil, true},
		{"sockjs-polling", false, false, newSockJS("xhr-polling"), overSockJS, false, nil, true},
	}
}

// format is what travels on a carrier.
type format struct {
	name        string
	subProtocol subprotocol.SubProtocol
	codecs      []codec.Codec
	maxBody     int
	all         bool // on every carrier
	stream      bool // on streams too
	wraps       bool // any bytes are text in it
}

// formats are the other half of the table.
func formats() []format {
	const (
		head     = 512 // what an envelope, or a frame of STOMP, has besides the body is far less
		inBinary = MaxMessageSize - head
		inText   = inBinary / 4 * 3 // as base64
	)
	jsonCodec, msgpackCodec := jsoncodec.New(nil), msgpackcodec.New(nil)
	return []format{
		{"raw/none", raw.New(nil), nil, MaxMessageSize, true, false, false},
		{"raw/json", raw.New(nil), []codec.Codec{jsonCodec}, MaxMessageSize, false, false, false},
		{"raw/msgpack", raw.New(nil), []codec.Codec{msgpackCodec}, MaxMessageSize, false, false, false},
		{"json/json", envelope.NewJSON(nil), []codec.Codec{jsonCodec, msgpackCodec}, inText, true, false, true},
		{"json/msgpack", envelope.NewJSON(nil), []codec.Codec{msgpackCodec, jsonCodec}, inText, false, false, true},
		{"msgpack/msgpack", envelope.NewMsgpack(nil), []codec.Codec{msgpackCodec, jsonCodec}, inBinary, false, false, false},
		{"msgpack/json", envelope.NewMsgpack(nil), []codec.Codec{jsonCodec, msgpackCodec}, inBinary, false, false, false},
		{"stomp/json", stomp.New(nil), []codec.Codec{jsonCodec, msgpackCodec}, inBinary, true, true, false},
	}
}

// Stacks returns the table, in a constant order: pipe and both engines, plain and over
// TLS, with every format, the other WebSockets and SockJS with three, and streams with STOMP. The
// slice is the caller's.
func Stacks() []Stack {
	var stacks []Stack
	for _, c := range carriers() {
		text := !c.new(nil).Features().Binary
		for _, f := range formats() {
			binary := f.subProtocol.NewFramer("", subprotocol.FramerConfig{}).Features().Binary
			if !c.all && !f.all || c.stream && !f.stream || text && binary {
				continue
			}
			stacks = append(stacks, Stack{
				Name: c.name + "/" + f.name, Carrier: c.name, Format: f.name, TLS: c.tls, Stream: c.stream, HTTP: c.listen != nil,
				Requests: c.asks, Text: text && !f.wraps,
				SubProtocol: f.subProtocol, Codecs: f.codecs, MaxBody: f.maxBody, carrier: c,
			})
		}
	}
	return stacks
}

// Served is the row on another server than net/http's own: serve is given an endpoint that
// is to be reached at the path "/test", and a listener, which speaks TLS where the row does.
// It returns once it serves, with a function that ends it; an error fails Start. name comes to stand
// before the Carrier and the Name, as in "gin-gobwas-tls/raw/none". Served panics unless HTTP is set.
func (st Stack) Served(name string, serve func(ep *handler.Endpoint, ln net.Listener) (stop func() error, err error)) Stack {
	if !st.HTTP {
		panic("handlertest: Served of " + st.Name + ", which net/http does not serve")
	}
	st.Carrier, st.Name = name+"-"+st.Carrier, name+"-"+st.Name
	st.carrier.mount = func(s *Server) error {
		ln, err := s.bind()
		if err != nil {
			return err
		}
		stop, err := serve(s.Endpoint, st.carrier.listen(ln))
		if err != nil {
			ln.Close()
			return err
		}
		s.stop = append(s.stop, stop)
		return nil
	}
	return st
}

func newPipe(*tls.Config) side {
	return pipe.New(&pipe.Options{MaxMessageSize: MaxMessageSize, CloseTimeout: closeTimeout})
}

func newGobwas(*tls.Config) side { return newGobwasTLS(nil) }

func newGobwasTLS(config *tls.Config) side {
	return gobwas.New(&gobwas.Options{
		MaxMessageSize: MaxMessageSize, CloseTimeout: closeTimeout, TLS: config, WriteTimeout: writeTimeout,
	})
}

func newGobwasDeflate(*tls.Config) side {
	return gobwas.New(&gobwas.Options{
		MaxMessageSize: MaxMessageSize, CloseTimeout: closeTimeout, WriteTimeout: writeTimeout,
		Compression: &gobwas.Compression{Threshold: -1},
	})
}

func newGorilla(*tls.Config) side {
	return gorilla.New(&gorilla.Options{
		MaxMessageSize: MaxMessageSize, CloseTimeout: closeTimeout, WriteTimeout: writeTimeout,
	})
}

func newGorillaDeflate(*tls.Config) side {
	return gorilla.New(&gorilla.Options{
		MaxMessageSize: MaxMessageSize, CloseTimeout: closeTimeout, WriteTimeout: writeTimeout,
		Compression: &gorilla.Compression{Threshold: -1},
	})
}

func newTCP(*tls.Config) side { return newTCPTLS(nil) }

func newTCPTLS(config *tls.Config) side {
	return tcp.New(&tcp.Options{CloseTimeout: closeTimeout, TLS: config, WriteTimeout: writeTimeout})
}

// sockJS is both halves of SockJS.
type sockJS struct {
	*sockjs.Transport
	*sockjs.Dialer
}

// newSockJS makes the half of a client that has one of the protocol's transports.
func newSockJS(name string) func(*tls.Config) side {
	return func(*tls.Config) side {
		const quoted = 6 * MaxMessageSize // and what is around it
		ws := gobwas.New(&gobwas.Options{MaxMessageSize: 2 * quoted, CloseTimeout: closeTimeout, WriteTimeout: writeTimeout})
		return sockJS{
			sockjs.New(ws, &sockjs.Options{
				MaxMessageSize: MaxMessageSize, MaxBodyBytes: 2 * quoted, CloseTimeout: closeTimeout, WriteTimeout: writeTimeout,
			}),
			sockjs.NewDialer(ws, &sockjs.DialerOptions{
				Transports: []string{name}, MaxMessageSize: MaxMessageSize, AttemptTimeout: Timeout, CloseTimeout: closeTimeout,
			}),
		}
	}
}
