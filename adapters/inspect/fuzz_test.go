package inspect

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
)

// word is what stands for SECRET in the seeds; it is as long, so that lengths stay what they were.
const word = "Q7zz7Z"

// sightings counts how often the planted word stands in a credential, in the eyes of weft's
// own framers and of encoding/json, which share no code with the masker.
type sightings struct {
	*masker
	n int
}

func (s *sightings) Emit(m *subprotocol.Message) error {
	for _, h := range m.Header {
		if s.isSecret(h.Name) {
			s.n += strings.Count(h.Value, word)
		}
	}
	s.json(m.Body)
	return nil
}

func (s *sightings) json(b []byte) {
	var v any
	if json.Unmarshal(b, &v) == nil {
		s.value(v)
	}
}

func (s *sightings) value(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, v := range v {
			if s.isSecret(name) {
				b, _ := json.Marshal(v)
				s.n += bytes.Count(b, []byte(word))
				continue
			}
			s.value(v)
		}
	case []any:
		for _, v := range v {
			s.value(v)
		}
	case string:
		s.json([]byte(v))
	}
}

// A secret that stands in nothing but credentials is never shown, in whatever way the frame
// is written and whatever else is in it. Where the frame has SECRET, the secret is.
func FuzzMask(f *testing.F) {
	for _, seed := range []string{
		"CONNECT\naccept-version:1.2\nlogin:a\npasscode:SECRET\n\n\x00",
		"STOMP\naccept-version:1.1,1.2\r\nAuth\\corization:Bearer SECRET\r\n\r\n\x00\n\n",
		"SEND\ndestination:/a\ncontent-length:25\n\n{\"a\":[{\"token\":\"SECRET\"}]}\x00SEND\ndestination:b\ntoken:SECRET\n\nx\x00",
		"MESSAGE\ndestination:/a\nmessage-id:1\nsubscription:1\nx\\ctoken:SECRET\n\n\x00",
		`{"type":"connect","version":"1","header":[["token","SECRET"],["a","b"]]}`,
		`{"type":"connect","header":[["x/token: (old)","SECRET"],["dbPass","SECRET"]]}`,
		`{"type":"send","destination":"/a","contentType":"application/json","text":"{\"pass\\u0077ord\":\"SECRET\"}"}`,
		`{"type":"send","destination":"/a","body":{"a":"{\"b\":{\"Cookie\":[\"SECRET\"]}}"}}`,
		`{"type":"deliver","base64":"eyJhIjoxfQ==","header":[["x-api-key","SECRET"]]}`,
		`{"a":{"secret":{"b":["SECRET",1]},"b":"x=1&token=2"}}`,
		"\x82\xa4type\xa7connect\xa6header\x91\x92\xa5token\xa6SECRET",
		"\x83\xa4type\xa4send\xabdestination\xa2/a\xa4body\xc4\x12{\"token\":\"SECRET\"}",
	} {
		for protocol := range uint8(4) {
			f.Add([]byte(seed), protocol)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, protocol uint8) {
		data = bytes.ReplaceAll(data, []byte("SECRET"), []byte(word))
		m := &masker{}
		s := &sightings{masker: m}
		name, typ := "", transport.MessageText
		var framers []subprotocol.Framer
		both := func(sp subprotocol.SubProtocol, name string) {
			framers = append(framers, sp.NewFramer(name, subprotocol.FramerConfig{}), sp.NewFramer(name, subprotocol.FramerConfig{Client: true}))
		}
		switch protocol % 4 {
		case 0:
			s.json(data)
		case 1:
			name = stomp.V12
			both(stomp.New(nil), name)
		case 2:
			name = envelope.JSON
			both(envelope.NewJSON(nil), name)
		case 3:
			name, typ = envelope.Msgpack, transport.MessageBinary
			both(envelope.NewMsgpack(nil), name)
		}
		for _, framer := range framers {
			_ = framer.Decode(transport.Message{Type: typ, Data: bytes.Clone(data)}, s)
			if s.n > 0 {
				break
			}
		}
		for _, m.opaque = range []bool{false, true} {
			got := m.frame(name, typ, bytes.Clone(data))
			require.LessOrEqual(t, len(got.Text), maxText+len("…"))
			require.True(t, utf8.ValidString(got.Text))
			if s.n > 0 && s.n >= bytes.Count(data, []byte(word)) {
				require.NotContains(t, got.Text, word)
			}
		}
	})
}
