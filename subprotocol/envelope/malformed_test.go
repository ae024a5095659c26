package envelope

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// bad is an envelope that breaks a rule.
type bad struct {
	name    string
	from    side
	input   string // JSON, or msgpack as pack makes it
	msgpack bool
	code    string
	text    string // a part of the error's text
	fatal   bool
	status  transport.StatusCode
	receipt string
}

// pack makes msgpack of a mix of hex and 'strings' that are fixstr.
func pack(parts ...string) string {
	var b []byte
	for _, p := range parts {
		if s, ok := strings.CutPrefix(p, "'"); ok {
			b = append(append(b, 0xa0|byte(len(s))), s...)
			continue
		}
		h, err := hex.DecodeString(p)
		if err != nil {
			panic(err)
		}
		b = append(b, h...)
	}
	return string(b)
}

// sampleValue is a value of the field in both forms.
func sampleValue(f field) (json, msgpack string) {
	switch f {
	case fieldAck:
		return `"client"`, pack("'client")
	case fieldVersion:
		return `"1"`, pack("'1")
	}
	switch fields[f].value {
	case aBool:
		return "true", "\xc3"
	case anInterval:
		return "[1,2]", "\x92\x01\x02"
	case aHeader:
		return `[["n","v"]]`, pack("91", "92", "'n", "'v")
	case aBody:
		return `{"a":1}`, "\xc4\x01x"
	default:
		return `"x"`, pack("'x")
	}
}

// build makes an envelope of that kind with the fields of s, and what extra adds.
func build(k subprotocol.Kind, s set, extraJSON, extraMsgpack string) (json, msgpack string) {
	n := 1
	json = `{"type":"` + kindNames[k] + `"`
	for f := range fields {
		if f := field(f); f != fieldType && s.has(f) {
			j, m := sampleValue(f)
			json += `,"` + fields[f].name + `":` + j
			msgpack += pack("'"+fields[f].name) + m
			n++
		}
	}
	if extraJSON != "" {
		json += "," + extraJSON
		msgpack += extraMsgpack
		n++
	}
	return json + "}", string([]byte{0x80 | byte(n)}) + pack("'type", "'"+kindNames[k]) + msgpack
}

// malformedTable has broken envelopes: for each kind and side those that the table
// of kinds makes possible, and those that a reader must be afraid of.
func malformedTable() []bad {
	var all []bad
	add := func(name string, from side, json, msgpack string, b bad) {
		for i, input := range []string{json, msgpack} {
			b.name, b.from, b.input, b.msgpack = fmt.Sprintf("%s %s %d", from, name, i), from, input, i == 1
			all = append(all, b)
		}
	}
	for i := range shapes {
		s := &shapes[i]
		kind, receipt := kindNames[s.kind], ""
		if s.allowed().has(fieldReceipt) {
			receipt = "x"
		}
		full := s.allowed() &^ of(fieldType)
		for f := range fields {
			f := field(f)
			name := fields[f].name
			j, m := sampleValue(f)
			quoted := fmt.Sprintf("%q", name)
			text := "the field " + quoted
			kept := receipt
			if f == fieldReceipt {
				kept = ""
			}
			if s.required.has(f) {
				json, msgpack := build(s.kind, full&^of(f), "", "")
				add(kind+" without "+name, s.from, json, msgpack,
					bad{code: "missing-field", text: text + " is missing in " + a(s.kind), receipt: kept})
				json, msgpack = build(s.kind, full&^of(f), quoted+":null", pack("'"+name, "c0"))
				add(kind+" with an empty "+name, s.from, json, msgpack, bad{code: "missing-field", text: text, receipt: kept})
			}
			if !s.allowed().has(f) {
				json, msgpack := build(s.kind, full, quoted+":"+j, pack("'"+name)+m)
				want := receipt
				if f == fieldReceipt {
					want = "x"
				}
				add(kind+" with "+name, s.from, json, msgpack,
					bad{code: "forbidden-field", text: text + " has no place in " + a(s.kind), receipt: want})
				continue
			}
			json, msgpack := build(s.kind, full, quoted+":"+j, pack("'"+name)+m)
			add(kind+" repeats "+name, s.from, json, msgpack, bad{code: "repeated-field", text: text, receipt: receipt})
			if f == fieldType {
				continue
			}
			for _, wrong := range [][2]string{{`5`, "05"}, {`["x"]`, "91a178"}, {`{}`, "80"}} {
				if f == fieldBody {
					wrong[0] = `"!"`
					quoted = `"base64"`
				}
				json, msgpack := build(s.kind, full&^of(f), quoted+":"+wrong[0], pack("'"+name, wrong[1]))
				add(kind+" mistypes "+name, s.from, json, msgpack, bad{code: "bad-field", text: "the field " + quoted, receipt: kept})
				if f == fieldBody { // the name differs
					all[len(all)-1].text = `the field "body"`
				}
			}
		}
		json, msgpack := build(s.kind, full, `"colour":[{"red":null}]`, pack("'colour", "91", "81", "'red", "c0"))
		add(kind+" with an unknown field", s.from, json, msgpack,
			bad{code: "unknown-field", text: `the field "colour" is unknown`, receipt: receipt})
		if byKind[s.from.other()][s.kind] == nil {
			json, msgpack := build(s.kind, full, "", "")
			add(kind+" from the wrong side", s.from.other(), json, msgpack,
				bad{code: "wrong-side", text: a(s.kind) + " does not come from the " + s.from.other().String(), receipt: receipt})
		}
	}
	return append(all, otherMalformed()...)
}

func otherMalformed() []bad {
	var all []bad
	json := func(name, input string, b bad) {
		b.name, b.input = "json "+name, input
		all = append(all, b)
	}
	msgpack := func(name, input string, b bad) {
		b.name, b.input, b.msgpack = "msgpack "+name, input, true
		all = append(all, b)
	}
	malformed := bad{code: "malformed", fatal: true}
	for _, s := range []string{
		"", " ", "null", "[]", `"x"`, "5", "{", "{}}", "{} {}", "{}x", `{"type"}`, `{"type":}`, `{"type":"send",}`, `{,}`,
		`{"type":"send" "id":"1"}`, `{type:"send"}`, `{'type':'send'}`, `{"type":'send'}`, "{\"type\":\"se\nnd\"}", "{\"a\x00\":1}",
		`{"type":"\x"}`, `{"type":"\u12g4"}`, `{"type":"\u12`, `{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":-}`, `{"a":1e}`, `{"a":+1}`,
		`{"a":tru}`, `{"a":nulL}`, `{"a":NaN}`, `{"a":[1,]}`, `{"a":[1 2]}`, `{"a":{"b":1,}}`, `{"a":{"b" 1}}`, `{"a":{1:1}}`, `{"a":]}`,
		"\ufeff{}", `{"type":"send"/**/}`, `{"a":` + strings.Repeat("[", 100), `{"body":` + strings.Repeat(`{"a":`, 100000),
	} {
		json("syntax "+s[:min(len(s), 40)], s, malformed)
	}
	invalid := malformed
	invalid.status = transport.StatusInvalidPayloadData
	json("not UTF-8", "{\"type\":\"heartbeat\xff\"}", invalid)
	json("a surrogate as UTF-8", "{\"type\":\"\xed\xa0\x80\"}", invalid)

	json("no type", `{"receipt":"r"}`, bad{code: "missing-field", text: `"type"`, receipt: "r"})
	json("empty", `{}`, bad{code: "missing-field", text: `"type"`})
	json("unknown type", `{"type":"SEND","receipt":"r"}`, bad{code: "unknown-type", text: `"SEND"`, receipt: "r"})
	json("long unknown field", `{"`+strings.Repeat("ü", 3000)+`":1,"type":"heartbeat"}`, bad{code: "unknown-field"})
	json("half a surrogate pair", `{"type":"send","destination":"\ud800"}`, bad{code: "bad-field", text: `"destination"`})
	json("half a surrogate pair and more", `{"type":"send","destination":"\ud800\u0041"}`, bad{code: "bad-field", text: `"destination"`})
	json("the wrong half", `{"type":"send","destination":"/d","text":"\udc00"}`, bad{code: "bad-field", text: `"text"`})
	json("half a pair in a header", `{"type":"send","destination":"/d","header":[["\ud800","v"]]}`, bad{code: "bad-field", text: `"header"`})
	json("two bodies", `{"type":"send","destination":"/d","text":"a","base64":"YQ=="}`, bad{code: "repeated-field", text: `"body"`})
	json("a second body of nothing", `{"type":"send","destination":"/d","text":"a","body":null}`, bad{code: "repeated-field"})
	json("a field of nothing twice", `{"type":"send","destination":"/d","text":null,"text":"a"}`, bad{code: "repeated-field", text: `"body"`})
	json("base64 that is no string", `{"type":"send","destination":"/d","base64":7}`, bad{code: "bad-field", text: `"base64"`})
	json("text that is no string", `{"type":"send","destination":"/d","text":[]}`, bad{code: "bad-field", text: `"text"`})
	json("an escaped name", `{"type":"send","destination":"/d","\u0069d":"a","id":"b"}`, bad{code: "repeated-field", text: `"id"`})
	for _, s := range []string{"YQ", "YQ=", "YR==", "Y Q==", `YQ==\n`, "YQ==YQ==", "_-8=", "="} {
		json("base64 "+s, `{"type":"send","destination":"/d","base64":"`+s+`"}`, bad{code: "bad-field", text: `"base64"`})
	}
	for _, s := range []string{`"1"`, `[1]`, `[1,2,3]`, `[1,"2"]`, `[-1,2]`, `[1.0,2]`, `[1e3,2]`, `[2147483648,0]`, `[0,99999999999999999999]`, `{"a":1}`, `[]`, `true`} {
		json("heartbeat "+s, `{"type":"connect","heartbeat":`+s+`}`, bad{code: "bad-field", text: `"heartbeat"`})
	}
	for _, s := range []string{`{"n":"v"}`, `["n","v"]`, `[["n"]]`, `[["n","v","w"]]`, `[["n",1]]`, `[[1,"v"]]`, `[["n","v"],null]`, `[[]]`, `"n"`, `1`} {
		json("header "+s, `{"type":"connect","header":`+s+`}`, bad{code: "bad-field", text: `"header"`})
	}
	for _, s := range []string{"0", "01", "-1", "+1", "1.2", "1,2", "x", "65536", "1 "} {
		json("version "+s, `{"type":"connect","version":"`+s+`"}`, bad{code: "bad-field", text: `"version"`})
	}
	all = append(all, bad{name: "json version not offered", from: server, input: `{"type":"connected","version":"2"}`,
		code: "bad-field", text: "version"})
	json("ack mode", `{"type":"subscribe","subscription":"s","destination":"/d","ack":"none"}`, bad{code: "bad-field", text: `"ack"`})
	json("nested too deep", `{"type":"send","destination":"/d","body":`+strings.Repeat("[", 65)+`"]"`+strings.Repeat("]", 65)+`,"receipt":"r"}`,
		bad{code: "limit", text: `"body"`, receipt: "r"})
	json("unknown and nested too deep", `{"a":`+strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000)+`,"type":"send"}`,
		bad{code: "unknown-field"})
	json("long string", `{"type":"send","destination":"`+strings.Repeat("d", 1025)+`","receipt":"r"}`,
		bad{code: "limit", text: `"destination" has 1025 bytes, the limit is 1024`, receipt: "r"})
	json("long receipt", `{"type":"send","destination":"/d","receipt":"`+strings.Repeat("r", 1025)+`"}`, bad{code: "limit", text: `"receipt"`})
	json("many headers", `{"type":"connect","header":[["a","b"]`+strings.Repeat(`,["a","b"]`, 64)+`]}`, bad{code: "limit", text: `"header"`})
	json("large header", `{"type":"connect","header":[["a","`+strings.Repeat("b", 8<<10)+`"]]}`, bad{code: "limit", text: `"header"`})

	for _, s := range []string{
		"", "c0", "90", "a0", "01", "c1", "81", "8101", "8101a0", "81c0c0", "81a1", "80c0", "81c40174c0", "df", "dfffffffff",
		"81a474797065", "81a474797065a5", "81a474797065db", "81a474797065dbffffffff", "81a474797065c6ffffffff00", "81a474797065ddffffffffc0",
		"81a474797065dfffffffffc0", "81a474797065c1", "81a474797065c9ffffffff00", "81a474797065cf000000", "81a16191c1", "81a16191",
		"81a161df7fffffff" + strings.Repeat("c0", 50), "81a161ddfffffffe" + strings.Repeat("dd", 50),
	} {
		msgpack("syntax "+s[:min(len(s), 40)], pack(s), malformed)
	}
	msgpack("empty", pack("80"), bad{code: "missing-field", text: `"type"`})
	msgpack("not UTF-8", pack("82", "'type", "'send", "'destination", "a1ff"), bad{code: "bad-field", text: `"destination"`})
	msgpack("a name that is not UTF-8", pack("82", "'type", "'send", "a1ff", "01"), bad{code: "unknown-field", text: `"\xff"`})
	for _, s := range []string{"a178", "91a178", "c7010078", "d40078", "ca00000000", "cb0000000000000000", "01", "ff", "c3"} {
		msgpack("body "+s, pack("83", "'type", "'send", "'destination", "'d", "'body", s), bad{code: "bad-field", text: `"body"`})
	}
	for _, s := range []string{"9101", "93010203", "92ff01", "92d0ff01", "9201d3ffffffffffffffff", "92ce8000000000", "92cfffffffffffffffffcfffffffffffffffff",
		"92ca0000000001", "9201c0", "80", "c403010203", "90"} {
		msgpack("heartbeat "+s, pack("82", "'type", "'connect", "'heartbeat", s), bad{code: "bad-field", text: `"heartbeat"`})
	}
	for _, s := range []string{"81a16ea176", "92a16ea176", "9191a16e", "9193a16ea176a176", "9192a16e01", "919201a176", "9192a16ec0", "9192a1ffa176", "9190"} {
		msgpack("header "+s, pack("82", "'type", "'connect", "'header", s), bad{code: "bad-field", text: `"header"`})
	}
	msgpack("many headers", pack("82", "'type", "'connect", "'header", "dc0041")+strings.Repeat(pack("92", "'a", "'b"), 65),
		bad{code: "limit", text: `"header"`})
	msgpack("long string", pack("83", "'receipt", "'r", "'type", "'send", "'destination", "da0401")+strings.Repeat("d", 1025),
		bad{code: "limit", text: `"destination"`, receipt: "r"})
	msgpack("deep and unknown", pack("83", "'a")+strings.Repeat("\x91", 100000)+pack("c0", "'type", "'send", "'receipt", "'r"),
		bad{code: "unknown-field", receipt: "r"})
	return all
}

// framerFor returns the reader of what from sends.
func framerFor(from side, msgpack bool) (*framer, transport.MessageType) {
	s := NewJSON(nil)
	if msgpack {
		s = NewMsgpack(nil)
	}
	return s.NewFramer("", subprotocol.FramerConfig{Client: from == server}).(*framer), s.typ
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	codes := make(map[string]int)
	for _, tt := range malformedTable() {
		codes[tt.code]++
		f, typ := framerFor(tt.from, tt.msgpack)
		var got last
		err := f.Decode(transport.Message{Type: typ, Data: []byte(tt.input)}, &got)
		var se *subprotocol.Error
		require.ErrorAs(t, err, &se, "%s: %.200q", tt.name, tt.input)
		require.Nil(t, got.m, tt.name)
		require.Equal(t, tt.code, se.Code, "%s: %v: %.200q", tt.name, se, tt.input)
		require.Contains(t, se.Text, tt.text, tt.name)
		require.Equal(t, tt.fatal, se.Fatal, tt.name)
		require.Equal(t, tt.status, se.Status, tt.name)
		require.Equal(t, tt.receipt, se.Receipt, tt.name)
		require.Less(t, len(se.Text), 300, tt.name)

		// The connection is as it was.
		if !se.Fatal {
			json, msgpack := build(subprotocol.KindHeartbeat, 0, "", "")
			if tt.msgpack {
				json = msgpack
			}
			require.NoError(t, f.Decode(transport.Message{Type: typ, Data: []byte(json)}, &got), tt.name)
			require.Equal(t, &subprotocol.Message{Kind: subprotocol.KindHeartbeat, Type: typ, Header: got.m.Header}, got.m, tt.name)
			require.Empty(t, got.m.Header)
		}
	}
	for _, code := range []string{"malformed", "missing-field", "unknown-field", "forbidden-field", "repeated-field", "bad-field",
		"unknown-type", "wrong-side", "limit"} {
		require.NotZero(t, codes[code], code)
	}
}

// Cut anywhere, an envelope of each kind is malformed, and nothing else.
func TestTruncated(t *testing.T) {
	t.Parallel()
	for i := range shapes {
		s := &shapes[i]
		json, msgpack := build(s.kind, s.allowed(), "", "")
		for j, data := range []string{json, msgpack} {
			f, typ := framerFor(s.from, j == 1)
			var got last
			require.NoError(t, f.Decode(transport.Message{Type: typ, Data: []byte(data)}, &got))
			for n := range data {
				err := f.Decode(transport.Message{Type: typ, Data: []byte(data[:n])}, &got)
				var se *subprotocol.Error
				require.ErrorAs(t, err, &se, "%q", data[:n])
				require.Equal(t, "malformed", se.Code, "%q", data[:n])
				require.True(t, se.Fatal)
			}
		}
	}
}

func TestWrongMessageType(t *testing.T) {
	t.Parallel()
	for _, msgpack := range []bool{false, true} {
		f, typ := framerFor(client, msgpack)
		for _, wrong := range []transport.MessageType{0, 3 - typ} {
			err := f.Decode(transport.Message{Type: wrong, Data: []byte(`{"type":"heartbeat"}`)}, &last{})
			var se *subprotocol.Error
			require.ErrorAs(t, err, &se)
			require.Equal(t, "message-type", se.Code)
			require.True(t, se.Fatal)
			require.Equal(t, transport.StatusUnsupportedData, se.Status)
		}
	}
}
