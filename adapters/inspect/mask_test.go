package inspect

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

const planted = "Q7planted7Z"

// What is shown of frames, word for word.
func TestFrames(t *testing.T) {
	t.Parallel()
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, tt := range []struct{ name, protocol, frame, format, text string }{
		{"STOMP's CONNECT", "v12.stomp", "CONNECT\naccept-version:1.2\nhost:h\nlogin:ann\npasscode:Q7planted7Z\n\n\x00", "STOMP",
			"CONNECT\naccept-version:1.2\nhost:h\nlogin:ann\npasscode:•••\n"},
		{"carriage returns", "v12.stomp", "CONNECT\r\nPassCode:Q7planted7Z\r\n\r\n\x00\r\n", "STOMP", "CONNECT\nPassCode:•••\n"},
		{"an escaped name", "v12.stomp", "SEND\nto\\cken:a\npass\\ncode:Q7planted7Z\n\n\x00", "STOMP", "SEND\nto\\cken:•••\npass\\ncode:•••\n"},
		{"a token in a login", "v12.stomp", "STOMP\nlogin:Bearer Q7planted7Z\n\n\x00", "STOMP", "STOMP\nlogin:Bearer•••\n"},
		{"a body of JSON", "v12.stomp", "SEND\ndestination:/a\n\n{\"text\":\"hi\",\"Password\":\"Q7planted7Z\"}\x00", "STOMP",
			"SEND\ndestination:/a\n\n" + `{"text":"hi","Password":•••}`},
		{"a body of text", "v12.stomp", "SEND\ndestination:/a\n\nQ7planted7Z\x00", "STOMP", "SEND\ndestination:/a\n\n(text, 11 bytes)"},
		{"frames in a row", "v12.stomp", "\nACK\nid:1\n\n\x00\nACK\nid:2\n\n\x00\n", "STOMP", "ACK\nid:1\n\nACK\nid:2\n"},
		{"a heartbeat", "v12.stomp", "\n", "STOMP", "(heartbeat)"},
		{"the front of a frame", "v12.stomp", "SEND\ndestination:/a\npasscode:Q7pl", "STOMP", "SEND\ndestination:/a\n\n(and 13 bytes of a frame that goes on)"},
		{"the back of a frame", "v12.stomp", "anted7Z\n\n\x00", "", "(text, 10 bytes)"},
		{"JSON where there is STOMP", "v12.stomp", `{"a":"anted7Z"}`, "", "(text, 15 bytes)"},
		{"a line that is broken", "v12.stomp", "SEND\nQ7planted7Z\n\n\x00", "", "(text, 19 bytes)"},

		{"an envelope", envelopeJSON, `{"type":"connect","header":[["token","Q7planted7Z"],["a","b"]]}`, "JSON",
			`{"type":"connect","header":[["token",•••],["a","b"]]}`},
		{"an envelope's body", envelopeJSON, `{"type":"send","destination":"/app/a","body":{"n":1.50,"api-key":["Q7planted7Z"]}}`, "JSON",
			`{"type":"send","destination":"/app/a","body":{"n":1.50,"api-key":•••}}`},
		{"an envelope's text", envelopeJSON, `{"type":"send","text":"Q7planted7Z"}`, "JSON", `{"type":"send","text":(text, 11 bytes)}`},
		{"an envelope's text of JSON", envelopeJSON, `{"text":"{\"pin\":\"Q7planted7Z\",\"a\":1}"}`, "JSON", `{"text":{"pin":•••,"a":1}}`},
		{"an envelope's base64", envelopeJSON, `{"base64":"` + b64(`{"jwt":"Q7planted7Z"}`) + `"}`, "JSON", `{"base64":{"jwt":•••}}`},
		{"an envelope's other bytes", envelopeJSON, `{"base64":"` + b64("Q7planted7Z") + `"}`, "JSON", `{"base64":(text, 11 bytes)}`},
		{"a packed envelope", envelopeMsgpack, "\x82\xa4type\xa4send\xa4body" + "\xc4\x18" + `{"cookie":"Q7planted7Z"}`, "msgpack",
			`{"type":"send","body":{"cookie":•••}}`},
		{"a packed map", "", "\x81\xa3otp\xab" + planted, "msgpack", `{"otp":•••}`},
		{"packed numbers", "", "\x9a" + "\x07\xff\xcc\xff\xcd\x01\x00\xd0\x80\xd1\xff\x00\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xc0\xc3\xd4\x01\x00", "msgpack",
			`[•••,•••,•••,•••,•••,•••,•••,•••,•••,(ext, 1 bytes)]`},
		{"packed numbers with names", "", "\x81\xa1n\x9a" + "\x07\xff\xcc\xff\xcd\x01\x00\xd0\x80\xd1\xff\x00\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xc0\xc3\xc2", "msgpack",
			`{"n":[7,-1,255,256,-128,-256,1.5,null,true,false]}`},

		{"text", "", planted, "", "(text, 11 bytes)"},
		{"bytes", "", "\xc1\xff", "", "(2 bytes)"},
		{"a value without a name", "", `["` + planted + `",5]`, "JSON", `[(text, 11 bytes),•••]`},
		{"a name and a value", "", `{"name":"API key","value":"Q7planted7Z"}`, "JSON", `{"name":"API key","value":•••}`},
		{"a form's field", "", `{"name":"user[password]","value":"Q7planted7Z"}`, "JSON", `{"name":"user[password•••","value":•••}`},
		{"JSON Patch", "", `{"op":"replace","path":"/user/password","value":"Q7planted7Z"}`, "JSON",
			`{"op":•••,"path":"/user/password","value":•••}`},
		{"a path of names", "", `{"path":["user","password"],"value":"Q7planted7Z"}`, "JSON", `{"path":["user","password"],"value":•••}`},
		{"a pair of any name", envelopeJSON, `{"header":[["x/token: (old)","Q7planted7Z"]]}`, "JSON", `{"header":[["x/token•••",•••]]}`},
		{"short names of words", "", `{"dbPass":"Q7planted7Z","user_pwd":"Q7planted7Z","connect.sid":"Q7planted7Z","pinCode":"Q7planted7Z","SMSOtp":"Q7planted7Z"}`,
			"JSON", `{"dbPass":•••,"user_pwd":•••,"connect.sid":•••,"pinCode":•••,"SMSOtp":•••}`},
		{"short names within words", "", `{"compass":"a","inside":"b","newsId":"c","spinning":"d"}`, "JSON", `{"compass":"a","inside":"b","newsId":"c","spinning":"d"}`},
		{"a short name in a query", "", `{"url":"/?user_pass=Q7planted7Z"}`, "JSON", `{"url":"/?user_pass•••"}`},
		{"a name of two words", "", `{"v":"the API key is Q7planted7Z"}`, "JSON", `{"v":"the API key•••"}`},
		{"a key in PEM", "", `{"v":"-----BEGIN PRIVATE KEY-----\nQ7planted7Z"}`, "JSON", `{"v":"-----BEGIN PRIVATE KEY•••"}`},
		{"escapes in JSON that is broken", "", `{"v":"{\"\\u0070assword\":\"Q7planted7Z\"} x"}`, "JSON", `{"v":"•••"}`},
		{"a packed name that is no text", "", "\x81\x91\xa5token\xab" + planted, "msgpack", `{[(text, 5 bytes)]:•••}`},
		{"a secret that says it is one", "", `{"a":"b","password":"secret-Q7planted7Z"}`, "JSON", `{"a":"b","password":•••}`},
		{"a letter that folds", "", "{\"pa\u017fsword\":\"Q7planted7Z\"}", "JSON", "{\"pa\u017fsword\":•••}"},
		{"a name in escapes", "", `{"pass\u0077ord":"Q7planted7Z"}`, "JSON", `{"password":•••}`},
		{"a query", "", `{"url":"wss://a/?room=1&access_token=Q7planted7Z"}`, "JSON", `{"url":"wss://a/?room=1&access_token•••"}`},
		{"a query in escapes", "", `{"url":"/?a%63cess_%2574oken=Q7planted7Z&token=2"}`, "JSON", `{"url":"•••"}`},
		{"harmless escapes", "", `{"url":"/?q=50%25"}`, "JSON", `{"url":"/?q=50%25"}`},
		{"the user of a URL", "", `{"url":"amqp://ann:Q7planted7Z@host/a"}`, "JSON", `{"url":"amqp://•••"}`},
		{"a web token", "", `{"v":"x eyJhbGciOiJIUzI1NiJ9.Q7planted7Z"}`, "JSON", `{"v":"x •••"}`},
		{"basic", "", `{"v":"Basic UTdwbGFudGVkN1o="}`, "JSON", `{"v":"Basic •••"}`},
		{"base64 in a value", "", `{"v":"` + b64(`{"a":"Q7planted7Z"}`) + `"}`, "JSON", `{"v":(base64 of JSON, 28 bytes)}`},
		{"STOMP in a value", "", `{"v":"CONNECT\npasscode:Q7planted7Z\n\n\u0000"}`, "JSON", "{\"v\":CONNECT\npasscode:•••\n}"},
		{"XML in a value", "", `{"v":"<password>Q7planted7Z</password>"}`, "JSON", `{"v":"<password•••"}`},
		{"what turns text around", "", "{\"v\":\"a\u202eb\u200b\\u0000\\n\"}", "JSON", `{"v":"a\u{202e}b\u{200b}\u{0}\n"}`},
		{"a letter without ink", "", "{\"v\":\"a\u3164b\u034f\"}", "JSON", `{"v":"a\u{3164}b\u{34f}"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			typ := transport.MessageText
			if !utf8.ValidString(tt.frame) {
				typ = transport.MessageBinary
			}
			m := masker{}
			got := m.frame(tt.protocol, typ, []byte(tt.frame))
			require.Equal(t, tt.format, got.Format)
			require.Equal(t, tt.text, got.Text)
			require.NotContains(t, got.Text, planted)
			require.Equal(t, strings.Contains(tt.text, mask) || strings.Contains(tt.text, "base64 of"), got.Masked > 0)
		})
	}
}

func TestOpaque(t *testing.T) {
	t.Parallel()
	m := masker{opaque: true}
	require.Equal(t, "hello", m.frame("", transport.MessageText, []byte("hello")).Text)
	require.Equal(t, shown{"", "the password•••", 1}, m.frame("", transport.MessageText, []byte("the password is x")))
	require.Equal(t, "c1ff", m.frame("", transport.MessageBinary, []byte("\xc1\xff")).Text)
}

func TestSecretOfOnesOwn(t *testing.T) {
	t.Parallel()
	m := masker{secret: func(name string) bool { return name == "IBAN" }}
	require.Equal(t, shown{"JSON", `{"IBAN":•••,"iban":"y"}`, 1}, m.frame("", transport.MessageText, []byte(`{"IBAN":"x","iban":"y"}`)))
	require.Equal(t, shown{"JSON", `{"v":"my IBAN•••"}`, 1}, m.frame("", transport.MessageText, []byte(`{"v":"my IBAN: x"}`)))
}

// Whatever the size of a frame, its text is bounded, and cutting shows nothing.
func TestFramesAreCut(t *testing.T) {
	t.Parallel()
	m := masker{opaque: true}
	for name, frame := range map[string]string{
		"text":   strings.Repeat("x", 1<<16),
		"wide":   `{"a":"` + strings.Repeat("\u202e", 1<<14) + `"}`,
		"many":   "[" + strings.Repeat(`{"a":1},`, 1<<13) + "1]",
		"deep":   strings.Repeat(`{"a":`, 50) + `"x"` + strings.Repeat("}", 50),
		"deeper": strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"nested": nest(`{"token":"`+planted+`"}`, 9),
		"stomp":  strings.Repeat("SEND\na:b\n\n\x00", 5000),
	} {
		got := m.frame("", transport.MessageText, []byte(frame)).Text
		require.LessOrEqual(t, len(got), maxText+len("…"), name)
		require.NotContains(t, got, planted, name)
	}
	long := m.clean(strings.Repeat("\u202e", 1<<20))
	require.LessOrEqual(t, len(long), maxName*len(`\u{202e}`))
	require.True(t, strings.HasSuffix(long, "…"))
}

// nest puts a value into strings.
func nest(s string, n int) string {
	for range n {
		b, _ := json.Marshal(map[string]string{"a": s})
		s = string(b)
	}
	return s
}

func TestClean(t *testing.T) {
	t.Parallel()
	m := masker{}
	for in, want := range map[string]string{
		"ann":                          "ann",
		"a\u202eb\x00\tc\xff":          `a\u{202e}b\u{0}\u{9}c` + "\ufffd",
		"<img src=x onerror=1>":        "<img src=x onerror=1>",
		"/ws/token/abcdef":             "/ws/token•••",
		strings.Repeat("é", 129):       strings.Repeat("é", 128) + "…",
		"x" + strings.Repeat("é", 129): "x" + strings.Repeat("é", 127) + "…",
	} {
		require.Equal(t, want, m.clean(in))
	}
}

func BenchmarkMask(b *testing.B) {
	m := masker{}
	for name, frame := range map[string]string{
		"json":  `{"type":"send","destination":"/app/rooms/blue/say","header":[["authorization","Bearer x"]],"body":{"text":"hello","n":[1,2,3]}}`,
		"stomp": "SEND\ndestination:/app/rooms/blue/say\nauthorization:Bearer x\n\n{\"text\":\"hello\",\"n\":[1,2,3]}\x00",
		"64KiB": `{"a":[` + strings.Repeat(`{"name":"x","value":"y z"},`, 2400) + "1]}",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				m.frame("", transport.MessageText, []byte(frame))
			}
		})
	}
}
