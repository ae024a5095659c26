package main

import (
	"unicode/utf8"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/codec/msgpackcodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/gobwas"
	"github.com/weftws/weft/transport/gorilla"
	"github.com/weftws/weft/transport/pipe"
	"github.com/weftws/weft/transport/sockjs"
)

// carrier is how bytes travel, and where the endpoint is mounted.
type carrier struct {
	name      string
	transport side
	mount     func(ep *handler.Endpoint, c *certificate) (url string, stop func() error, err error)
}

// side is a transport that can also dial, as all of weft's can.
type side interface {
	transport.Transport
	transport.Dialer
}

// format is how bytes become messages, and bodies values.
type format struct {
	name        string
	subProtocol subprotocol.SubProtocol
	codec       codec.Codec
}

// row is one stack.
type row struct {
	carrier carrier
	format  format
}

func (r row) name() string { return r.carrier.name + "/" + r.format.name }

func carriers(c *certificate) []carrier {
	return []carrier{
		{"pipe", pipe.New(nil), inProcess},
		{"gobwas", gobwas.New(nil), overHTTP},
		{"gobwas-tls", gobwas.New(nil), overTLSListener},
		{"gobwas-https", gobwas.New(nil), overHTTPS},
		{"gobwas-bare", gobwas.New(nil), overListener},
		{"gobwas-bare-tls", gobwas.New(&gobwas.Options{TLS: c.server}), overSecureListener},
		{"gobwas-deflate", gobwas.New(&gobwas.Options{Compression: &gobwas.Compression{Threshold: -1}}), overHTTP},
		{"gorilla", gorilla.New(nil), overHTTP},
		{"gorilla-tls", gorilla.New(nil), overTLSListener},
		{"gorilla-https", gorilla.New(nil), overHTTPS},
		{"gorilla-deflate", gorilla.New(&gorilla.Options{Compression: &gorilla.Compression{Threshold: -1}}), overHTTP},
		{"sockjs", newSockJS("websocket"), overSockJS},
		{"sockjs-streaming", newSockJS("xhr-streaming"), overSockJS},
		{"sockjs-polling", newSockJS("xhr-polling"), overSockJS},
	}
}

// sockJS has a type for each side.
type sockJS struct {
	*sockjs.Transport
	*sockjs.Dialer
}

// newSockJS leaves the client only one way, in place of the first that works.
func newSockJS(name string) side {
	ws := gobwas.New(nil)
	return sockJS{sockjs.New(ws, nil), sockjs.NewDialer(ws, &sockjs.DialerOptions{Transports: []string{name}})}
}

func formats() []format {
	return []format{
		{"raw/json", raw.New(nil), jsoncodec.New(nil)},
		{"raw/msgpack", raw.New(nil), msgpackcodec.New(nil)},
		{"json/json", envelope.NewJSON(nil), jsoncodec.New(nil)},
		{"json/msgpack", envelope.NewJSON(nil), msgpackcodec.New(nil)},
		{"msgpack/msgpack", envelope.NewMsgpack(nil), msgpackcodec.New(nil)},
		{"msgpack/json", envelope.NewMsgpack(nil), jsoncodec.New(nil)},
	}
}

// carries reports whether f can travel on t: some carry only text, and raw has bodies as the
// codec makes them.
func carries(t transport.Transport, f format) bool {
	features := f.subProtocol.NewFramer("", subprotocol.FramerConfig{}).Features()
	body, err := f.codec.Append(nil, true)
	return t.Features().Binary || !features.Binary && (features.Subscriptions || err == nil && utf8.Valid(body))
}

// rows are every carrier with every format that it carries.
func rows(c *certificate) []row {
	var all []row
	for _, f := range formats() {
		for _, carrier := range carriers(c) { // new ones: a pipe leads to one endpoint
			if carries(carrier.transport, f) {
				all = append(all, row{carrier, f})
			}
		}
	}
	return all
}
