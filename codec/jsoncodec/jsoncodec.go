// Package jsoncodec is the codec for JSON, on encoding/json.
//
// # Use
//
//	handler.WithCodecs(jsoncodec.New(nil))
//
// Values are declared as for encoding/json: struct tags, [json.Marshaler],
// [json.Unmarshaler], [json.RawMessage].
//
// # Options
//
// By default names that a struct lacks are passed over, of two members with one name
// the later wins, and numbers in an any are float64. [Options] changes each of these.
//
// # Semantics
//
// What Append writes is compact, without a line end, with the names of maps sorted.
// The characters <, > and & stand as they are, so the text must not be pasted into
// HTML without escaping. In a Go string, bytes that are no UTF-8 are written as
// U+FFFD.
//
// Unmarshal takes UTF-8 only: RFC 8259, section 8.1 asks for it, and where readers
// replace broken bytes two different names become one. An escape of half a surrogate
// pair is read as U+FFFD. Names match struct fields without regard to case. What the
// target held before may shine through: decode into a new value.
//
// Errors wrap those of encoding/json, such as [*json.UnmarshalTypeError], which names
// the field. They quote parts of data.
//
// # Limits
//
// Nesting deeper than 10,000 is an error, and no length is believed before its data
// is there. A panic of a value's own MarshalJSON or UnmarshalJSON is not recovered.
package jsoncodec

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/weftws/weft/codec"
)

// ErrUTF8 is what Unmarshal returns for data that is not UTF-8.
var ErrUTF8 = errors.New("jsoncodec: invalid UTF-8")

// Options are what a codec accepts. The zero value is the default.
type Options struct {
	// DisallowUnknownFields makes a name that the struct has no field for an error.
	// A server that sets it turns away clients that are newer than itself.
	DisallowUnknownFields bool

	// DisallowDuplicateNames makes two members of one object with the same name an
	// error, also in parts that no field takes. Names that differ in case alone are
	// not the same. Without it the last one wins here, which other readers of the
	// same data may see differently. It takes one more pass over the data, and
	// memory for the names.
	DisallowDuplicateNames bool

	// UseNumber decodes a number into an any as [json.Number], which keeps all
	// digits, and not as float64, which holds integers up to 2^53.
	UseNumber bool
}

// Codec is the codec for JSON. It is safe for concurrent use.
type Codec struct {
	opts Options
}

var _ codec.Codec = (*Codec)(nil)

// New makes a codec. nil means the zero Options; later changes to o have no effect.
func New(o *Options) *Codec {
	c := new(Codec)
	if o != nil {
		c.opts = *o
	}
	return c
}

// Name returns "json".
func (*Codec) Name() string { return "json" }

// ContentType returns "application/json".
func (*Codec) ContentType() string { return "application/json" }

// encoder is an Encoder and the slice that it appends to. The Encoder writes each
// value at once and with a newline behind it.
type encoder struct {
	enc *json.Encoder
	dst []byte
}

// Write appends p without its newline.
func (e *encoder) Write(p []byte) (int, error) {
	e.dst = append(e.dst, p[:len(p)-1]...)
	return len(p), nil
}

var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.enc = json.NewEncoder(e)
	e.enc.SetEscapeHTML(false)
	return e
}}

// Append implements [codec.Codec].
func (*Codec) Append(dst []byte, v any) ([]byte, error) {
	e := encoders.Get().(*encoder)
	e.dst = dst
	err := e.enc.Encode(v)
	out := e.dst
	e.dst = nil
	encoders.Put(e)
	if err != nil {
		return dst, fmt.Errorf("jsoncodec: %w", err)
	}
	return out, nil
}

// Unmarshal implements [codec.Codec]. When it fails, v may hold a part of data.
func (c *Codec) Unmarshal(data []byte, v any) error {
	if !utf8.Valid(data) {
		return ErrUTF8
	}
	if c.opts.DisallowDuplicateNames {
		if err := unique(data); err != nil {
			return err
		}
	}
	var err error
	if c.opts.DisallowUnknownFields || c.opts.UseNumber {
		err = c.decode(data, v)
	} else {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return fmt.Errorf("jsoncodec: %w", err)
	}
	return nil
}
