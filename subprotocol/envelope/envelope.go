package envelope

import (
	"errors"
	"fmt"
	"sync"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/internal/intern"
	"github.com/weftws/weft/transport"
)

var (
	_ subprotocol.SubProtocol = (*SubProtocol)(nil)
	_ subprotocol.Framer      = (*framer)(nil)
	_ subprotocol.Former      = (*framer)(nil)
	_ subprotocol.Splitter    = (*framer)(nil)
)

// The names of the two forms, which are their Sec-WebSocket-Protocol tokens.
const (
	JSON    = "v1.json.weft"
	Msgpack = "v1.msgpack.weft"
)

// version is the only revision of v1 that there is.
const version = "1"

// Options say how a SubProtocol behaves. The zero value is the default. All limits
// are about what comes in.
type Options struct {
	// MaxFrame bounds the bytes of one envelope, where the endpoint sets no limit of
	// its own. 0, the default, is no limit: what the transport lets through is then
	// the only bound on the memory that one message takes. A larger envelope ends
	// the connection with status 1009.
	MaxFrame int

	// MaxString bounds the bytes of each field that is a string, escapes resolved,
	// except the message of an error. The default is 1024. Identifiers and
	// destinations live in the tables of sessions and brokers: a large bound is
	// multiplied by their number.
	MaxString int

	// MaxHeaders bounds the fields of the header. The default is 64.
	MaxHeaders int

	// MaxHeaderBytes bounds the names and values of the header taken together. The
	// default is 8 KiB.
	MaxHeaderBytes int

	// MaxDepth bounds how deep arrays and objects of a JSON body may be nested; 1 is
	// one array. The default is 64, the least is 2 and the most 1000. Codecs that
	// read bodies recurse as deep. A msgpack body is bytes and has no depth.
	MaxDepth int
}

// SubProtocol makes framers of one form and one set of options. It is immutable
// and safe for concurrent use.
type SubProtocol struct {
	opts    Options
	name    string
	typ     transport.MessageType
	msgpack bool

	// pool lends what Decode needs for one message, so that a silent
	// connection holds none of it.
	pool sync.Pool
}

// NewJSON returns the JSON form, in text messages. A nil opts is the zero Options;
// opts may be changed afterwards. It panics if opts can't be used.
func NewJSON(opts *Options) *SubProtocol {
	return newSubProtocol(opts, &SubProtocol{name: JSON, typ: transport.MessageText})
}

// NewMsgpack returns the msgpack form, in binary messages. A nil opts is the zero
// Options; opts may be changed afterwards. It panics if opts can't be used.
func NewMsgpack(opts *Options) *SubProtocol {
	return newSubProtocol(opts, &SubProtocol{name: Msgpack, typ: transport.MessageBinary, msgpack: true})
}

func newSubProtocol(opts *Options, s *SubProtocol) *SubProtocol {
	if opts != nil {
		s.opts = *opts
	}
	for _, o := range []struct {
		name     string
		value    *int
		standard int
	}{
		{"MaxFrame", &s.opts.MaxFrame, 0},
		{"MaxString", &s.opts.MaxString, 1 << 10},
		{"MaxHeaders", &s.opts.MaxHeaders, 64},
		{"MaxHeaderBytes", &s.opts.MaxHeaderBytes, 8 << 10},
		{"MaxDepth", &s.opts.MaxDepth, 64},
	} {
		if *o.value < 0 {
			panic(fmt.Sprintf("envelope: Options.%s is negative", o.name))
		}
		if *o.value == 0 {
			*o.value = o.standard
		}
	}
	if d := s.opts.MaxDepth; d < 2 || d > 1000 {
		panic(fmt.Sprintf("envelope: Options.MaxDepth is %d, not from 2 to 1000", d))
	}
	s.pool.New = func() any { return new(envelope) }
	return s
}

// Names returns the one name of the form. The slice is the caller's.
func (s *SubProtocol) Names() []string { return []string{s.name} }

// NewFramer makes the framer of one connection. name has no influence.
func (s *SubProtocol) NewFramer(_ string, cfg subprotocol.FramerConfig) subprotocol.Framer {
	f := &framer{sub: s, max: cfg.MaxFrame, side: server, textOnly: cfg.TextOnly}
	if f.max == 0 {
		f.max = s.opts.MaxFrame
	}
	if cfg.Client {
		f.side = client
	}
	return f
}

type framer struct {
	sub      *SubProtocol
	max      int
	side     side // this end
	textOnly bool

	seen intern.Recent // what Decode has met before
}

// form is all that the encoding depends on besides the SubProtocol.
type form struct {
	side     side
	textOnly bool
}

func (f *framer) Form() any { return form{f.side, f.textOnly && f.sub.msgpack} }

func (f *framer) Features() subprotocol.Features {
	return subprotocol.Features{
		Boundaries: true, Binary: f.sub.msgpack, Connect: true, Reconnect: true, Subscriptions: true, Replies: true,
		Receipts: true, Acks: true, Nacks: true, Transactions: true, Errors: true, Heartbeats: true, Disconnect: true,
	}
}

func (f *framer) Decode(m transport.Message, sink subprotocol.Sink) error {
	if f.max > 0 && len(m.Data) > f.max {
		return &subprotocol.Error{
			Code:   "too-large",
			Text:   fmt.Sprintf("the envelope has %d bytes, the limit is %d", len(m.Data), f.max),
			Fatal:  true,
			Status: transport.StatusMessageTooBig,
		}
	}
	if m.Type != f.sub.typ {
		return &subprotocol.Error{
			Code:   "message-type",
			Text:   fmt.Sprintf("%s takes %v messages alone", f.sub.name, f.sub.typ),
			Fatal:  true,
			Status: transport.StatusUnsupportedData,
		}
	}
	e := f.sub.pool.Get().(*envelope)
	e.opts = &f.sub.opts
	var err error
	if f.sub.msgpack {
		err = e.readMsgpack(m.Data)
	} else {
		err = e.readJSON(m.Data)
	}
	if err == nil {
		err = f.neutral(e)
	}
	if err == nil {
		e.msg.Type = m.Type
		err = sink.Emit(&e.msg)
	}
	// A panic of Emit skips this, and e is left to the collector: nobody knows who
	// still works on it.
	if e.reset() {
		f.sub.pool.Put(e)
	}
	return err
}

func (f *framer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	return f.append(dst, m, whole)
}

// AppendHead writes the subscription and the id of a deliver, and what stands
// before them.
func (f *framer) AppendHead(dst []byte, m *subprotocol.Message) ([]byte, error) {
	b, _, err := f.append(dst, m, head)
	return b, err
}

// AppendTail writes the rest of a deliver.
func (f *framer) AppendTail(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	return f.append(dst, m, tail)
}

// part is how much of an envelope is written.
type part uint8

const (
	head part = 1 << iota
	tail
	whole = head | tail
)

func (f *framer) append(dst []byte, m *subprotocol.Message, p part) ([]byte, transport.MessageType, error) {
	if p != whole && m.Kind != subprotocol.KindDeliver {
		return dst, 0, fmt.Errorf("envelope: %v has no head and tail: %w", m.Kind, errors.ErrUnsupported)
	}
	if f.sub.msgpack && f.textOnly {
		return dst, 0, fmt.Errorf("envelope: %s over a transport that carries only text: %w", f.sub.name, errors.ErrUnsupported)
	}
	have, err := plan(f.side, m)
	if err != nil {
		return dst, 0, err
	}
	var b []byte
	if f.sub.msgpack {
		b, err = appendMsgpack(dst, m, have, p)
	} else {
		b, err = appendJSON(dst, m, have, p, f.sub.opts.MaxDepth)
	}
	if err != nil {
		return dst, 0, err
	}
	return b, f.sub.typ, nil
}
