package jsoncodec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// decode does what only a Decoder can do. It reads a stream, so the end of data is
// no error to it.
func (c *Codec) decode(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if c.opts.DisallowUnknownFields {
		dec.DisallowUnknownFields()
	}
	if c.opts.UseNumber {
		dec.UseNumber()
	}
	err := dec.Decode(v)
	cut := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if cut || err == nil && len(bytes.TrimLeft(data[dec.InputOffset():], " \t\r\n")) > 0 {
		// The same words as without options, and no io.EOF, which could be taken for
		// the end of a connection.
		if syntax := valid(data); syntax != nil {
			return syntax
		}
	}
	return err
}

// valid returns what is wrong with the syntax of data.
func valid(data []byte) error { return json.Unmarshal(data, new(json.RawMessage)) }

// name is a member's name and the number of its object.
type name struct {
	object int
	text   string
}

// unique returns an error for the first name that its object has twice, and for
// data that is not valid.
func unique(data []byte) error {
	if err := valid(data); err != nil {
		return fmt.Errorf("jsoncodec: %w", err)
	}
	var (
		seen    map[name]struct{}
		open    []int // the numbers of the open objects, 0 for an array
		objects int
		key     bool // a string that comes now is a name
	)
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{':
			objects++
			open = append(open, objects)
			key = true
		case '[':
			open = append(open, 0)
			key = false
		case '}', ']':
			open = open[:len(open)-1]
			key = false
		case ',':
			key = open[len(open)-1] != 0
		case '"':
			start := i
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if !key {
				continue
			}
			key = false
			text, err := unquote(data[start : i+1])
			if err != nil {
				return fmt.Errorf("jsoncodec: %w", err)
			}
			n := name{open[len(open)-1], text}
			if _, ok := seen[n]; ok {
				return fmt.Errorf("jsoncodec: duplicate name %q at byte %d", text, start)
			}
			if seen == nil {
				seen = make(map[name]struct{})
			}
			seen[n] = struct{}{}
		}
	}
	return nil
}

// unquote returns the text of a string, so that an escape hides no name.
func unquote(quoted []byte) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err
}
