package stomp

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/internal/intern"
	"github.com/weftws/weft/transport"
)

var (
	_ subprotocol.SubProtocol = (*SubProtocol)(nil)
	_ subprotocol.Framer      = (*framer)(nil)
	_ subprotocol.Former      = (*framer)(nil)
	_ subprotocol.Splitter    = (*framer)(nil)
	_ subprotocol.Partialer   = (*framer)(nil)
)

// The Sec-WebSocket-Protocol tokens of the versions.
const (
	V12 = "v12.stomp"
	V11 = "v11.stomp"
	V10 = "v10.stomp"
)

// Options say how a SubProtocol behaves. The zero value is the default. All limits
// are about what comes in to a server. Those of a client are twice as large and leave room
// for what MESSAGE says besides: it has more headers than the SEND that it was, and escapes
// that another version did without. With a server's limits a client could be ended by what
// another one has sent.
type Options struct {
	// Versions are those that are spoken, of "1.0", "1.1" and "1.2". nil, the default,
	// means all of them. A server chooses the newest that the client has too.
	Versions []string

	// Server is what CONNECTED says in its header server. The default is "weft".
	Server string

	// MaxFrame bounds the bytes of one frame, from its command to its NUL, where the
	// endpoint, or the client, sets no limit of its own. The default is 64 KiB. A session holds as much of a
	// frame that is not complete. A larger frame, and a content-length that
	// announces one, ends the connection with status 1009.
	MaxFrame int

	// MaxHeaders bounds the headers of one frame. The default is 64.
	MaxHeaders int

	// MaxLine bounds the bytes of the command and of each header. The default is 8 KiB.
	// Destinations and the names of subscriptions live in the tables of sessions and
	// brokers: a large bound is multiplied by their number.
	MaxLine int

	// Lenient has versions 1.1 and 1.2 take what only 1.0 allows: subscriptions without an
	// id, which are named by their destination. A client that subscribes twice to one
	// destination can't tell the two apart.
	Lenient bool

	// Binary has a client send binary messages only. By default they are text unless the body
	// is not UTF-8. A server answers as the client connected.
	Binary bool
}

// SubProtocol makes framers of one set of options. It is immutable and safe for
// concurrent use.
type SubProtocol struct {
	opts     Options
	accepted [numVersions]bool
	newest   version
	list     string // of the versions, oldest first: "1.0,1.1,1.2"

	// pool lends what Decode needs for one frame, so that a silent connection holds
	// none of it.
	pool sync.Pool
}

// New returns STOMP. A nil opts is the zero Options; opts may be changed afterwards.
// It panics if opts can't be used.
func New(opts *Options) *SubProtocol {
	s := new(SubProtocol)
	if opts != nil {
		s.opts = *opts
	}
	for _, o := range []struct {
		name     string
		value    *int
		standard int
	}{
		{"MaxFrame", &s.opts.MaxFrame, 64 << 10},
		{"MaxHeaders", &s.opts.MaxHeaders, 64},
		{"MaxLine", &s.opts.MaxLine, 8 << 10},
	} {
		if *o.value < 0 {
			panic(fmt.Sprintf("stomp: Options.%s is negative", o.name))
		}
		if *o.value == 0 {
			*o.value = o.standard
		}
	}
	if s.opts.Server == "" {
		s.opts.Server = "weft"
	}
	if !expressible(s.opts.Server) {
		panic(fmt.Sprintf("stomp: Options.Server %q can't stand in a header", s.opts.Server))
	}
	s.setVersions()
	s.pool.New = func() any { return &frame{length: -1} }
	return s
}

func (s *SubProtocol) setVersions() {
	for _, name := range s.opts.Versions {
		v := versionOf(name)
		if v == 0 {
			panic(fmt.Sprintf("stomp: Options.Versions has %q, which is not 1.0, 1.1 or 1.2", name))
		}
		s.accepted[v] = true
	}
	var names []string
	for v := v10; v <= v12; v++ {
		if s.opts.Versions == nil {
			s.accepted[v] = true
		}
		if s.accepted[v] {
			names = append(names, v.String())
			s.newest = v
		}
	}
	if names == nil {
		panic("stomp: Options.Versions is empty")
	}
	s.list = strings.Join(names, ",")
	s.opts.Versions = nil // the caller's
}

// Names returns V12, V11 and V10, or those of Options.Versions. The slice is the
// caller's.
func (s *SubProtocol) Names() []string {
	var names []string
	for v := v12; v >= v10; v-- {
		if s.accepted[v] {
			names = append(names, [...]string{v10: V10, v11: V11, v12: V12}[v])
		}
	}
	return names
}

// NewFramer makes the framer of one connection. name has no influence: the version is
// what the headers accept-version and version say. As a frame may lie in many messages,
// one without a limit (a negative cfg.MaxFrame) still ends at 1 GiB.
func (s *SubProtocol) NewFramer(_ string, cfg subprotocol.FramerConfig) subprotocol.Framer {
	f := &framer{sub: s, client: cfg.Client, textOnly: cfg.TextOnly, max: cfg.MaxFrame}
	f.maxLine, f.maxHeaders = s.opts.MaxLine, s.opts.MaxHeaders
	if f.client {
		f.maxLine, f.maxHeaders = double(f.maxLine, headLine), double(f.maxHeaders, headFields)
	}
	switch {
	case f.max != 0:
	case f.client:
		f.max = double(s.opts.MaxFrame, 2*f.maxLine)
	default:
		f.max = s.opts.MaxFrame
	}
	return f
}

// What MESSAGE has more than its SEND: subscription, message-id, ack and what a broker
// says about deliveries, and in a line of ack more than the subscription's id.
const (
	headFields = 16
	headLine   = 1 << 10
)

// double is twice n, and more, if n bounds anything at all.
func double(n, more int) int {
	if n >= maxLength/2 {
		return n
	}
	return 2*n + more
}

type framer struct {
	sub      *SubProtocol
	client   bool
	textOnly bool

	// The limits of a frame. max is not above 0 if there is none.
	max, maxLine, maxHeaders int

	// Decode's, and that of an Append of Connected.
	version version       // 0 until CONNECT or CONNECTED was read
	binary  bool          // CONNECT came as binary
	cur     *frame        // the one that is not complete, nil between frames
	seen    intern.Recent // what Decode has met before

	// live is the form that holds once CONNECTED was written or read, 0 before.
	live atomic.Uint32

	// count numbers the MESSAGEs that have no ID, from where numberFrom says.
	count atomic.Uint64
}

// form is all that the encoding depends on besides the SubProtocol.
type form struct {
	version          version
	binary, textOnly bool
	client           bool
}

const liveBinary = 1 << 8

// form returns that of this connection.
func (f *framer) form() form {
	live := f.live.Load()
	binary := live&liveBinary != 0 || live == 0 && f.client && f.sub.opts.Binary && !f.textOnly
	return form{version(live & 0xff), binary, f.textOnly, f.client}
}

// numberFrom is where the count of a session begins, so that hardly two connections give the
// same message-id: what a client knows by it is not taken for something else after a reconnect.
func numberFrom(session string) uint64 {
	if session == "" {
		return 0
	}
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	h := uint64(offset)
	for i := range len(session) {
		h = (h ^ uint64(session[i])) * prime
	}
	return h >> 24
}

// begin has the version hold from now on.
func (f *framer) begin(binary bool) {
	live := uint32(f.version)
	if binary && !f.textOnly {
		live |= liveBinary
	}
	f.live.Store(live)
}

// formKey is a form in one byte: what is that small becomes an interface without memory
// being allocated, and Form is called for each delivery.
type formKey uint8

func (f form) key() formKey {
	k := formKey(f.version)
	for i, set := range [...]bool{f.binary, f.textOnly, f.client} {
		if set {
			k |= 1 << (4 + i)
		}
	}
	return k
}

func (f *framer) Form() any { return f.form().key() }

func (f *framer) Features() subprotocol.Features {
	v := f.form().version
	if v == 0 {
		v = f.sub.newest
	}
	return subprotocol.Features{
		Connect: true, Subscriptions: true, FatalErrors: true, Receipts: true, Acks: true, Nacks: v >= v11,
		Transactions: true, Errors: true, Heartbeats: v >= v11, Disconnect: true,
	}
}

// Partial is how many bytes of a frame that is not complete are held.
func (f *framer) Partial() int {
	if f.cur == nil {
		return 0
	}
	return len(f.cur.buf)
}

// malformed is an error of bytes that are no frame.
func malformed(format string, args ...any) *subprotocol.Error {
	return fault("malformed", format, args...)
}

func fault(code, format string, args ...any) *subprotocol.Error {
	return &subprotocol.Error{Code: code, Text: fmt.Sprintf(format, args...), Fatal: true}
}

func tooLarge(format string, args ...any) *subprotocol.Error {
	e := fault("too-large", format, args...)
	e.Status = transport.StatusMessageTooBig
	return e
}
