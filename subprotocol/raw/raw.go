package raw

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

var (
	_ subprotocol.SubProtocol = (*SubProtocol)(nil)
	_ subprotocol.Framer      = (*framer)(nil)
	_ subprotocol.Former      = (*framer)(nil)
)

// Options say how a SubProtocol behaves. The zero value is the default.
type Options struct {
	// Names are the Sec-WebSocket-Protocol tokens to answer to, best first. None,
	// the default, serves only clients that ask for no sub-protocol. New panics on
	// a name that is no token (RFC 7230 section 3.2.6) or stands twice.
	Names []string

	// Type is what a message without a Type goes out as. 0, the default, sends
	// text if the body is UTF-8 and binary if not. With MessageText, a body
	// that is not UTF-8 is an error: choose it only where peers can't take
	// binary messages.
	Type transport.MessageType

	// MaxFrame bounds the bytes of one message that comes in, where the endpoint
	// sets no limit of its own. 0, the default, is no limit: what the
	// transport lets through is then the only bound on the memory that one message takes.
	MaxFrame int
}

// SubProtocol makes framers of one set of options. It is immutable and safe for
// concurrent use.
type SubProtocol struct {
	opts Options

	// messages lends a Message for the time of one Emit, so that a silent
	// connection holds none.
	messages sync.Pool
}

// New returns a SubProtocol. A nil opts is the zero Options; opts may be changed
// afterwards. It panics if opts can't be used.
func New(opts *Options) *SubProtocol {
	s := new(SubProtocol)
	if opts != nil {
		s.opts = *opts
	}
	s.opts.Names = slices.Clone(s.opts.Names)
	for i, name := range s.opts.Names {
		if !isToken(name) {
			panic(fmt.Sprintf("raw: Options.Names has %q, which is no token", name))
		}
		if slices.Contains(s.opts.Names[:i], name) {
			panic(fmt.Sprintf("raw: Options.Names has %q twice", name))
		}
	}
	if s.opts.Type > transport.MessageBinary {
		panic(fmt.Sprintf("raw: Options.Type is %d", s.opts.Type))
	}
	if s.opts.MaxFrame < 0 {
		panic("raw: Options.MaxFrame is negative")
	}
	s.messages.New = func() any { return new(subprotocol.Message) }
	return s
}

// Names returns the names of the options. The slice is the caller's.
func (s *SubProtocol) Names() []string { return slices.Clone(s.opts.Names) }

// NewFramer makes the framer of one connection. name has no influence.
func (s *SubProtocol) NewFramer(_ string, cfg subprotocol.FramerConfig) subprotocol.Framer {
	f := &framer{sub: s, max: cfg.MaxFrame, textOnly: cfg.TextOnly, kind: subprotocol.KindSend}
	if f.max == 0 {
		f.max = s.opts.MaxFrame
	}
	if cfg.Client {
		f.kind = subprotocol.KindDeliver
	}
	return f
}

// framer has no state that changes, so all its methods may run at once.
type framer struct {
	sub      *SubProtocol
	max      int
	kind     subprotocol.Kind // of what comes in
	textOnly bool
}

// form is all that the encoding depends on besides the SubProtocol: where there is
// only text, a message that is binary elsewhere is an error.
type form struct{ textOnly bool }

// maxKeptHeader is how many fields a Message may have grown to and still be lent
// again.
const maxKeptHeader = 32

func (f *framer) Decode(m transport.Message, sink subprotocol.Sink) error {
	if f.max > 0 && len(m.Data) > f.max {
		return &subprotocol.Error{
			Code:   "too-large",
			Text:   fmt.Sprintf("The message has %d bytes, the limit is %d.", len(m.Data), f.max),
			Fatal:  true,
			Status: transport.StatusMessageTooBig,
		}
	}
	msg := f.sub.messages.Get().(*subprotocol.Message)
	msg.Kind = f.kind
	msg.Type = m.Type
	msg.Body = m.Data
	err := sink.Emit(msg)
	// A panic of Emit skips this, and the Message is left to the collector: nobody
	// knows who still works on it.
	if cap(msg.Header) <= maxKeptHeader {
		msg.Reset()
		f.sub.messages.Put(msg)
	}
	return err
}

func (f *framer) Append(dst []byte, m *subprotocol.Message) ([]byte, transport.MessageType, error) {
	switch m.Kind {
	case subprotocol.KindSend, subprotocol.KindDeliver, subprotocol.KindReply:
	default:
		return dst, 0, fmt.Errorf("raw: %v has no wire form: %w", m.Kind, errors.ErrUnsupported)
	}
	t := m.Type
	if t == 0 {
		t = f.sub.opts.Type
	}
	switch t {
	case 0:
		t = transport.MessageText
		if !utf8.Valid(m.Body) {
			t = transport.MessageBinary
		}
	case transport.MessageText:
		if !utf8.Valid(m.Body) {
			return dst, 0, errors.New("raw: the body of a text message is not UTF-8")
		}
	case transport.MessageBinary:
	default:
		return dst, 0, fmt.Errorf("raw: unknown message type %d", t)
	}
	if t == transport.MessageBinary && f.textOnly {
		return dst, 0, fmt.Errorf("raw: a binary message over a transport that carries only text: %w", errors.ErrUnsupported)
	}
	return append(dst, m.Body...), t, nil
}

func (f *framer) Features() subprotocol.Features {
	return subprotocol.Features{Boundaries: true}
}

func (f *framer) Form() any { return form{f.textOnly} }

// isToken reports whether s is a token (RFC 7230 section 3.2.6).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
