package transport

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

// A Transport carries messages between this process and its peers. It owns the
// I/O and the goroutines that do it; what a message means is decided above.
//
// A Transport is immutable once made and safe for concurrent use. One value may
// serve many endpoints, except a [Binder].
type Transport interface {
	// Name is the short, constant name by which statistics and messages call
	// this transport: "gobwas", "pipe".
	Name() string

	// Features says what the transport keeps and carries. It is constant.
	Features() Features

	// ServeHTTP answers one HTTP request. A request that the transport takes
	// over becomes a connection: the handshake is shown to a, and when a admits
	// it the answer is written, the Conn is opened, and ServeHTTP returns while
	// the connection lives on; nothing of w or r is kept. Any other request gets
	// an HTTP status and a text that says why.
	//
	// A transport that is not reached through HTTP answers 501.
	ServeHTTP(w http.ResponseWriter, r *http.Request, a Acceptor)
}

// Features are what a transport keeps and carries.
type Features struct {
	// Boundaries reports that one Write of a message arrives as one Receive.
	// Without it Receive is called with chunks of a byte stream, and only
	// sub-protocols that find their own frames may stand on top.
	Boundaries bool

	// Text and Binary report which message types the transport carries.
	Text, Binary bool

	// Upgrade reports that ServeHTTP takes over the connection of a request or refuses it
	// with one answer, and needs of an http.ResponseWriter no more than Header,
	// WriteHeader, Write and Hijack. Then servers that are not net/http can carry it too.
	Upgrade bool
}

// An Acceptor decides about handshakes. Transports call it from many goroutines
// at once. A transport may tell the clients of one Acceptor from those of another by
// comparing them, so that whoever wraps one hands down the same value each time.
type Acceptor interface {
	// Accept sees a handshake before any answer is written. It returns the
	// admission, or an error that refuses it: a *Refusal is shown to the
	// client with its status and text, any other error as 500 without its text.
	//
	// It may wait for as long as the transport's handshake time allows. h is
	// valid until Accept returns.
	Accept(h *Handshake) (Admission, error)
}

// An OriginChecker is an Acceptor that tells apart from Accept whether pages of the
// origin in h.Header may talk to it. A transport that answers requests besides its
// handshakes (SockJS) asks it for each of them, so that there is one list of origins.
type OriginChecker interface {
	// CheckOrigin returns nil if they may, or if h.Header has no Origin, else the
	// error that refuses the request, as Accept does. It must not wait.
	CheckOrigin(h *Handshake) error
}

// An Admission is a handshake that was accepted and not yet answered. The
// transport calls exactly one of Open and Abort, exactly once.
type Admission interface {
	// SubProtocol is the sub-protocol to announce in the answer, "" for none. It is
	// constant.
	SubProtocol() string

	// Open hands over the connection after the answer was written and before
	// the first read; it returns who receives. Writing to c and closing it is
	// allowed from here on. It must not wait for the peer, but it runs application
	// code and may take long: no other connection may wait for it.
	Open(c Conn) Receiver

	// Abort says that the connection ended before it was open: the answer could
	// not be written. It releases whatever Accept had set aside.
	Abort(err error)
}

// Handshake is what a client said when it asked for a connection. It belongs to
// the transport and is valid during Accept; strings may be kept.
type Handshake struct {
	// Transport is the Name of the transport that asks.
	Transport string

	// Host, Path and Query are those of the request, Path decoded, Query as it
	// came. All are "" for a transport without URLs.
	Host, Path, Query string

	// Secure reports that the client reached this process over TLS.
	Secure bool

	// TLS describes that TLS connection, nil without one.
	TLS *tls.ConnectionState

	// RemoteAddr and LocalAddr are the ends of the connection. Behind a proxy
	// RemoteAddr is the proxy's.
	RemoteAddr, LocalAddr net.Addr

	// Header is the request's header; never nil. Whether it still has the fields of
	// the handshake itself (Upgrade, Connection, Host, Sec-WebSocket-...) is the
	// transport's choice.
	Header Header

	// SubProtocols are those that the client offers, in its order of preference.
	SubProtocols []string

	// Context carries the values that HTTP middleware or the listener's owner
	// attached, and ends when the client goes away during the handshake.
	// A connection does not descend from it.
	Context context.Context
}

// Header reads a request's header. Names are matched without regard to case,
// Get returns the first value or "". http.Header is a Header.
type Header interface {
	Get(name string) string
	Values(name string) []string
}

// A ListenerServer is a Transport that can be served on a bare listener, without
// net/http.
type ListenerServer interface {
	// Serve accepts connections until ctx is done or ln fails, and closes ln.
	// It returns nil when ctx ended it, else the listener's error, and waits for
	// handshakes under way, not for connections that are open. ctx is what
	// Handshake.Context descends from.
	Serve(ctx context.Context, ln net.Listener, a Acceptor) error
}

// A Binder is a Transport whose connections come from inside the process and that
// must therefore be told its acceptor: an endpoint binds itself when it is made.
type Binder interface {
	// Bind sets the acceptor of later connections; nil refuses them. The latest
	// call counts.
	Bind(a Acceptor)
}

// A Dialer is the client's half of a transport.
type Dialer interface {
	// Dial connects to rawURL. When the peer has accepted, and before the first
	// read, open gets the Conn and returns who receives; it may write to the Conn
	// and close it, and must not wait for the peer. Dial returns the same Conn.
	//
	// ctx bounds Dial alone, not the connection. A peer that answers with a
	// refusal gives a *Refusal. A nil cfg is the zero DialConfig.
	Dial(ctx context.Context, rawURL string, cfg *DialConfig, open func(Conn) Receiver) (Conn, error)
}

// DialConfig is what a client says in its handshake.
type DialConfig struct {
	// SubProtocols are offered in this order. The peer's choice is
	// Conn.SubProtocol; a peer that answers with another one is refused.
	SubProtocols []string

	// Header is sent with the request. The fields of the handshake itself are
	// the transport's and are refused.
	Header http.Header

	// TLS is used for URLs that ask for TLS; nil means the defaults.
	TLS *tls.Config
}

// As finds the first value of type T in v and in what v wraps. Wrappers of a Conn, a
// Transport or an Acceptor have a method Unwrap that returns the wrapped one; every
// optional interface of this package is looked up with As, so that a wrapper
// hides none of them by accident. A wrapper that must not be gone around has the
// method itself, or no Unwrap.
func As[T, W any](v W) (T, bool) {
	for {
		if t, ok := any(v).(T); ok {
			return t, true
		}
		u, ok := any(v).(interface{ Unwrap() W })
		if !ok {
			var zero T
			return zero, false
		}
		v = u.Unwrap()
	}
}
