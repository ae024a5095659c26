package main

import (
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
)

// carrier is how bytes travel, and where the endpoint is mounted.
type carrier struct {
	name      string
	transport func(c *certificate) side
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

func carriers() []carrier {
	return []carrier{
		{"pipe", func(*certificate) side { return pipe.New(nil) }, inProcess},
		{"gobwas", func(*certificate) side { return gobwas.New(nil) }, overHTTP},
		{"gobwas-tls", func(*certificate) side { return gobwas.New(nil) }, overTLSListener},
		{"gobwas-https", func(*certificate) side { return gobwas.New(nil) }, overHTTPS},
		{"gobwas-bare", func(*certificate) side { return gobwas.New(nil) }, overListener},
		{"gobwas-bare-tls", func(c *certificate) side { return gobwas.New(&gobwas.Options{TLS: c.server}) }, overSecureListener},
		{"gobwas-deflate", func(*certificate) side {
			return gobwas.New(&gobwas.Options{Compression: &gobwas.Compression{Threshold: -1}})
		}, overHTTP},
		{"gorilla", func(*certificate) side { return gorilla.New(nil) }, overHTTP},
		{"gorilla-tls", func(*certificate) side { return gorilla.New(nil) }, overTLSListener},
		{"gorilla-https", func(*certificate) side { return gorilla.New(nil) }, overHTTPS},
		{"gorilla-deflate", func(*certificate) side {
			return gorilla.New(&gorilla.Options{Compression: &gorilla.Compression{Threshold: -1}})
		}, overHTTP},
	}
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

// rows are every carrier with every format.
func rows() []row {
	var all []row
	for _, c := range carriers() {
		for _, f := range formats() {
			all = append(all, row{c, f})
		}
	}
	return all
}
