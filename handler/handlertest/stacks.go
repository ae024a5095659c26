package handlertest

import (
	"crypto/tls"
	"time"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/pipe"
)

// MaxMessageSize is the limit for one incoming message, in bytes, that every
// stack has on both sides.
const MaxMessageSize = 64 << 10

// closeTimeout is the transports'. It is far under Timeout, so that an end which
// needs it is no failure.
const closeTimeout = 2 * time.Second

// Stack is one row of the table. It is immutable; Start may be called any number of
// times and from any goroutine that may fail the test.
type Stack struct {
	// Name is Carrier, sub-protocol and codec with slashes between them:
	// "gobwas-tls/raw/none". It is unique and constant.
	Name string

	// Carrier names the transport and the way that it is mounted: "pipe" inside the
	// process, "gobwas" and "gobwas-tls" under net/http (the latter on
	// transport.NewTLSListener), "gobwas-https" under net/http with TLS of its own,
	// "gobwas-bare" and "gobwas-bare-tls" on a listener without net/http.
	Carrier string

	// Format names the sub-protocol and the codec: "raw/none".
	Format string

	// TLS reports that clients connect over TLS.
	TLS bool

	// SubProtocol is what the endpoint gets first, and Dial speaks.
	SubProtocol subprotocol.SubProtocol

	// Codec is the endpoint's, nil for none.
	Codec codec.Codec

	carrier carrier
}

// carrier is a transport and a way to mount it.
type carrier struct {
	name  string
	tls   bool
	new   func(serverTLS *tls.Config) side
	mount func(s *Server) error
}

// side is what a row needs of a transport.
type side interface {
	transport.Transport
	transport.Dialer
}

// carriers are one half of the table.
func carriers() []carrier {
	return []carrier{
		{"pipe", false, newPipe, inProcess},
		{"gobwas", false, newGobwas, overHTTP},
		{"gobwas-tls", true, newGobwas, overTLSListener},
		{"gobwas-https", true, newGobwas, overHTTPS},
		{"gobwas-bare", false, newGobwas, overListener},
		{"gobwas-bare-tls", true, newGobwasTLS, overListener},
	}
}

// format is what travels on a carrier.
type format struct {
	name        string
	subProtocol subprotocol.SubProtocol
	codec       codec.Codec
}

// formats are the other half of the table.
func formats() []format {
	return []format{
		{"raw/none", raw.New(nil), nil},
	}
}

// Stacks returns the table: every carrier with every format, in a constant order.
// The slice is the caller's.
func Stacks() []Stack {
	var stacks []Stack
	for _, c := range carriers() {
		for _, f := range formats() {
			stacks = append(stacks, Stack{
				Name: c.name + "/" + f.name, Carrier: c.name, Format: f.name, TLS: c.tls,
				SubProtocol: f.subProtocol, Codec: f.codec, carrier: c,
			})
		}
	}
	return stacks
}

func newPipe(*tls.Config) side {
	return pipe.New(&pipe.Options{MaxMessageSize: MaxMessageSize, CloseTimeout: closeTimeout})
}

func newGobwas(*tls.Config) side { return newGobwasTLS(nil) }

func newGobwasTLS(config *tls.Config) side {
	return gobwas.New(&gobwas.Options{
		MaxMessageSize: MaxMessageSize, CloseTimeout: closeTimeout, TLS: config,
		WriteTimeout: 2 * Timeout, // a peer that a test stalls is not ended by a slow machine
	})
}
