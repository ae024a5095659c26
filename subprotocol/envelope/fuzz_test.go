package envelope

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

func FuzzJSON(f *testing.F)    { fuzz(f, false) }
func FuzzMsgpack(f *testing.F) { fuzz(f, true) }

// fuzz reads anything as either side. What is read is written in both forms and
// read again as the same.
func fuzz(f *testing.F, msgpack bool) {
	for i := range shapes {
		s := &shapes[i]
		for _, set := range []set{s.required, s.allowed()} {
			json, packed := build(s.kind, set, "", "")
			if msgpack {
				json = packed
			}
			f.Add([]byte(json), s.from == server)
		}
	}
	for _, b := range otherMalformed() {
		if b.msgpack == msgpack && len(b.input) < 500 {
			f.Add([]byte(b.input), b.from == server)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, fromServer bool) {
		from := client
		if fromServer {
			from = server
		}
		reader, typ := framerFor(from, msgpack)
		var first last
		if err := reader.Decode(transport.Message{Type: typ, Data: bytes.Clone(data)}, &first); err != nil {
			se, ok := errors.AsType[*subprotocol.Error](err)
			if !ok || se.Code == "" || se.Text == "" || first.m != nil {
				t.Fatalf("%q: %v, %v", data, err, first.m)
			}
			return
		}
		for _, msgpack := range []bool{msgpack, !msgpack} {
			reader, typ := framerFor(from, msgpack)
			writer, _ := framerFor(from.other(), msgpack)
			again, _, err := writer.Append(nil, first.m)
			if err != nil {
				t.Fatalf("%q was read as %+v, which can't be written: %v", data, first.m, err)
			}
			var second last
			if err := reader.Decode(transport.Message{Type: typ, Data: again}, &second); err != nil {
				t.Fatalf("%q was written as %q, which can't be read: %v", data, again, err)
			}
			second.m.Type = first.m.Type
			for _, m := range []*subprotocol.Message{first.m, second.m} {
				if len(m.Header) == 0 {
					m.Header = nil
				}
				if len(m.Body) == 0 {
					m.Body = nil
				}
			}
			if !reflect.DeepEqual(first.m, second.m) {
				t.Fatalf("%q was read as %+v, written as %q, and read as %+v", data, first.m, again, second.m)
			}
		}
	})
}
