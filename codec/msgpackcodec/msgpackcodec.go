// Package msgpackcodec is the codec for MessagePack, on
// github.com/vmihailenco/msgpack/v5.
//
// # Use
//
//	handler.WithCodecs(jsoncodec.New(nil), msgpackcodec.New(nil))
//
// A field is named by its msgpack tag, else by its json tag, else by its Go name, so
// that one struct serves both codecs. The content type is application/msgpack; a
// message marked application/x-msgpack or application/vnd.msgpack does not find this
// codec.
//
// # Options
//
// By default names that a struct lacks are passed over, and of two pairs with one key
// the later wins. [Options] changes that and bounds nesting.
//
// # Semantics
//
//   - Integers are written in the fewest bytes, floats in the width of their type.
//   - An integer that its target can't hold is an error, which names the field: 300 or
//     -1 for a uint8, 2^63 for an int64 or a float64.
//   - A string is written as str, a []byte as bin; a string or []byte takes either.
//     The bytes of a string are not examined: what is no UTF-8 travels as it is, and
//     other languages refuse it.
//   - A struct and a map are a map. Names match exactly.
//   - [time.Time] is the timestamp extension, to the nanosecond. It comes back in the
//     local zone. A nil for it is an error; a *time.Time takes nil.
//   - A type with MarshalBinary or MarshalText is bin.
//   - An any takes nil, bool, string, []byte, [time.Time], []any and map[string]any,
//     numbers in the width in which they travel: int8 to int64, uint8 to uint64,
//     float32, float64. A key that is no string is an error there.
//   - Other extensions are passed over where no field takes them. One that is
//     registered with the library must take its bytes whole.
//   - A msgpack.RawMessage is a copy, and Append writes it unseen. Decode it by
//     Unmarshal, not by the library, which checks less.
//
// What the target held before may shine through: decode into a new value.
//
// @msgpack/msgpack for JavaScript needs its option useBigInt64 to decode integers
// beyond 2^53 exactly. Its encoder then writes numbers beyond 32 bits as floats,
// which an integer here refuses: give it a BigInt for them.
//
// # Limits
//
// Before the library sees data, one pass without recursion checks that it is one
// whole value: no length exceeds the data, nesting is bounded, nothing follows. What
// decoding takes is in proportion to data: an element of one byte, such as nil, costs
// the Go type of the element. A panic of the library, or of a value's own
// UnmarshalMsgpack, becomes an error.
//
// Integers are not checked where a type decodes itself, and behind a pointer that an
// interface held before. A type given to msgpack.Register is checked like others, and
// a tag is read without the quotes and brackets that the library knows.
//
// These come from the library:
//
//   - A float32 takes no float 64, which is all that JavaScript and Python write: use
//     float64 for what they send. That takes both, and integers below 2^63.
//   - Append of a value that contains itself does not end well: it exhausts the stack.
//   - A struct that embeds a pointer to a struct costs one goroutine per type, once.
//   - The tag option intern writes what other languages and Unmarshal do not read.
package msgpackcodec

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weftws/weft/codec"
)

// Options are what a codec accepts. The zero value is the default.
type Options struct {
	// DisallowUnknownFields makes a name that the struct has no field for an error.
	// A server that sets it turns away clients that are newer than itself.
	DisallowUnknownFields bool

	// DisallowDuplicateKeys makes a key that its map has twice an error, and a key
	// that is an array, a map or an extension, also in parts that no field takes.
	// An integer is the same key in every width, and bytes are in str and bin.
	// Without it the last one wins here, which other readers of the same data may
	// see differently. It takes memory for the keys.
	DisallowDuplicateKeys bool

	// MaxDepth is how many arrays and maps may lie within each other in what
	// Unmarshal takes. 0 means 1000; 10,000 is the most, since the library decodes
	// by recursion and a stack that overflows ends the process.
	MaxDepth int

	// IgnoreJSONTags leaves names to msgpack tags alone.
	IgnoreJSONTags bool
}

const (
	defaultDepth = 1000
	maxDepth     = 10000
)

// Codec is the codec for MessagePack. It is safe for concurrent use.
type Codec struct {
	opts Options
	tag  string // that names a field without a msgpack tag

	plans sync.Map // reflect.Type to *plan
}

var _ codec.Codec = (*Codec)(nil)

// New makes a codec. nil means the zero Options; later changes to o have no effect.
// It panics if MaxDepth is negative or more than 10,000.
func New(o *Options) *Codec {
	c := &Codec{tag: "json"}
	if o != nil {
		c.opts = *o
	}
	if c.opts.MaxDepth < 0 || c.opts.MaxDepth > maxDepth {
		panic(fmt.Sprintf("msgpackcodec: MaxDepth %d is not within 0 to %d", c.opts.MaxDepth, maxDepth))
	}
	if c.opts.MaxDepth == 0 {
		c.opts.MaxDepth = defaultDepth
	}
	if c.opts.IgnoreJSONTags {
		c.tag = ""
	}
	return c
}

// Name returns "msgpack".
func (*Codec) Name() string { return "msgpack" }

// ContentType returns "application/msgpack".
func (*Codec) ContentType() string { return "application/msgpack" }

// encoder is an Encoder and the slice that it appends to.
type encoder struct {
	enc *msgpack.Encoder
	dst []byte
}

func (e *encoder) Write(p []byte) (int, error) {
	e.dst = append(e.dst, p...)
	return len(p), nil
}

// WriteByte spares the Encoder a slice for each byte.
func (e *encoder) WriteByte(b byte) error {
	e.dst = append(e.dst, b)
	return nil
}

var encoders = sync.Pool{New: func() any {
	return &encoder{enc: msgpack.NewEncoder(nil)}
}}

// Append implements [codec.Codec]. A panic of a value's own method is not recovered.
func (c *Codec) Append(dst []byte, v any) ([]byte, error) {
	e := encoders.Get().(*encoder)
	e.dst = dst
	e.enc.Reset(e)
	e.enc.UseCompactInts(true)
	e.enc.SetCustomStructTag(c.tag)
	err := e.enc.Encode(v)
	out := e.dst
	e.dst = nil
	encoders.Put(e)
	if err != nil {
		return dst, fmt.Errorf("msgpackcodec: %w", err)
	}
	return out, nil
}

// decoder is all that decoding needs.
type decoder struct {
	dec  *msgpack.Decoder
	src  reader
	scan scanner
}

var decoders = sync.Pool{New: func() any {
	return &decoder{dec: msgpack.NewDecoder(nil)}
}}

// maxPooled is the size of data, in bytes, up to which a decoder is used again. Its
// buffers hold on to as much.
const maxPooled = 64 << 10

// Unmarshal implements [codec.Codec]. When it fails, v may hold a part of data.
func (c *Codec) Unmarshal(data []byte, v any) error {
	if to := reflect.ValueOf(v); to.Kind() != reflect.Pointer || to.IsNil() {
		return fmt.Errorf("msgpackcodec: can't decode into a %T: a pointer that is not nil is needed", v)
	}
	d := decoders.Get().(*decoder)
	if err := d.scan.run(data, c.opts.MaxDepth, c.opts.DisallowDuplicateKeys); err != nil {
		d.put(data)
		return fmt.Errorf("msgpackcodec: %w", err)
	}
	if d.scan.ints != (span{}) {
		if err := c.fit(data, v, d.scan.ints); err != nil {
			d.put(data)
			return err
		}
	}
	if err := c.decode(d, data, v); err != nil {
		return err // and leave d: its Decoder may still be recording what it reads
	}
	d.put(data)
	return nil
}

// put makes d ready for its next user, unless data was large.
func (d *decoder) put(data []byte) {
	if len(data) <= maxPooled {
		d.src.reset(nil, nil)
		decoders.Put(d)
	}
}

// decode gives data, which is well-formed, to the library.
func (c *Codec) decode(d *decoder, data []byte, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("msgpackcodec: data does not fit a %T: %v", v, p)
		}
	}()
	if p, ok := v.(*any); ok && reflect.ValueOf(*p).Kind() != reflect.Pointer {
		*p = nil // the library takes what is there for the type that is wanted
	}
	d.src.reset(data, d.scan.exts)
	d.dec.Reset(&d.src)
	d.dec.DisallowUnknownFields(c.opts.DisallowUnknownFields)
	d.dec.SetCustomStructTag(c.tag)
	if err := d.dec.Decode(v); err != nil {
		return fmt.Errorf("msgpackcodec: %w", err)
	}
	if left := len(data) - d.src.pos; left > 0 {
		return fmt.Errorf("msgpackcodec: a %T leaves %d bytes of the value", v, left)
	}
	return nil
}
