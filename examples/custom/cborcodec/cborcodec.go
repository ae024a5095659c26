// Package cborcodec is a codec for CBOR (RFC 8949), on github.com/fxamacker/cbor.
// Fields are named by cbor tags and, where there are none, by json tags.
package cborcodec

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/weftws/weft/codec"
)

// Codec is safe for concurrent use. Make it with New.
type Codec struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

var _ codec.Codec = (*Codec)(nil)

// New makes a codec. A map that is decoded into an any becomes a map[string]any, as
// it does with encoding/json.
func New() *Codec {
	enc, err := cbor.EncOptions{}.UserBufferEncMode()
	if err != nil {
		panic("cborcodec: " + err.Error())
	}
	dec, err := cbor.DecOptions{
		DefaultMapType:  reflect.TypeFor[map[string]any](),
		MaxNestedLevels: 1000,
	}.DecMode()
	if err != nil {
		panic("cborcodec: " + err.Error())
	}
	return &Codec{enc, dec}
}

// Name returns "cbor".
func (*Codec) Name() string { return "cbor" }

// ContentType returns "application/cbor".
func (*Codec) ContentType() string { return "application/cbor" }

// Append implements codec.Codec.
func (c *Codec) Append(dst []byte, v any) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	if err := c.enc.MarshalToBuffer(v, buf); err != nil {
		return dst, fmt.Errorf("cborcodec: %w", err)
	}
	return buf.Bytes(), nil
}

// Unmarshal implements codec.Codec. When it fails, v may hold a part of data.
func (c *Codec) Unmarshal(data []byte, v any) error {
	if err := c.dec.Unmarshal(data, v); err != nil {
		return fmt.Errorf("cborcodec: %w", err)
	}
	return nil
}
