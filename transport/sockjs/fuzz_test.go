package sockjs

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

var texts = []string{
	"", "a", "\"\\/\b\f\n\r\t\x00\x1f", "é€😀", "\u2028\u2029\u200c\u206f\ufff0\uffff\ufeff", "</script><!--", "\xe2\x80", "\xef\xbf", "\xed\xa0\x80",
	"\u2027\u2030\u205f\u2070\uffef", strings.Repeat("x\u2028", 20),
}

// FuzzEscape: a JSON parser gives the text back, alone, in a frame, and in a script.
func FuzzEscape(f *testing.F) {
	for _, s := range texts {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		if !utf8.Valid(p) {
			return
		}
		escaped := appendEscaped([]byte{'"'}, p)
		require.False(t, bytes.ContainsAny(escaped, "\r\n\x00\u2028\u2029\uffff"))
		var got string
		require.NoError(t, json.Unmarshal(append(escaped, '"'), &got))
		require.Equal(t, string(p), got)

		cut = min(max(cut, 0), len(p))
		for cut < len(p) && !utf8.RuneStart(p[cut]) {
			cut++
		}
		whole := transport.Message{Type: transport.MessageText, Head: p[:cut], Data: p[cut:]}
		shared := transport.NewShared(transport.MessageText, p[cut:]).Message(p[:cut])
		batch := []transport.Message{whole, shared}
		array, n, err := appendArray(nil, "a[", maxFrame, batch)
		require.NoError(t, err)
		if n == 1 {
			return // a large one
		}
		parts, _, _ := appendArray(nil, "a[", maxFrame, batch[:1])
		parts, _, _ = appendArray(parts, "a[", maxFrame, batch[1:])
		require.Equal(t, string(array), string(parts))
		fr, err := parseFrame(bytes.Clone(array))
		require.NoError(t, err)
		require.Len(t, fr.messages, 2)
		require.Equal(t, string(p), string(fr.messages[0]))
		require.Equal(t, string(p), string(fr.messages[1]))

		script := appendScript(nil, array)
		require.NotContains(t, string(script), "<")
		require.NoError(t, json.Unmarshal(script, &got))
		require.Equal(t, string(array), got)
	})
}

// FuzzMessages: what a client sends is read as a JSON parser reads it, or refused.
func FuzzMessages(f *testing.F) {
	for _, s := range []string{
		"", "[]", `["a"]`, `["a","b"]`, `"a"`, " [ \"a\" , \"b\" ]\n", `["\u00e9\ud83d\ude00\ud800"]`, `["\ud83d"]`, `["a`, `["a",]`, `[,]`, `["a"]x`, `[1]`,
		`[null]`, `[["a"]]`, `{"a":"b"}`, `["\x"]`, `["\u12"]`, "[\"\n\"]", `["a" "b"]`, `"`, `"\`, `"\u`,
		"[\"\\ud83d\\u\"]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := decodeMessages(bytes.Clone(p))
		if !utf8.Valid(p) {
			return
		}
		var want []string
		wrong := json.Unmarshal(p, &want)
		if trimmed := bytes.TrimLeft(p, " \t\r\n"); wrong != nil && len(trimmed) > 0 && trimmed[0] == '"' {
			var one string
			if wrong = json.Unmarshal(p, &one); wrong == nil {
				want = []string{one}
			}
		} else if len(trimmed) == 0 {
			wrong = nil
		}
		if bytes.Contains(p, []byte("null")) && wrong == nil {
			return // a JSON parser leaves the string as it is
		}
		require.Equal(t, wrong == nil, err == nil, "%q: %v, %v", p, err, wrong)
		if err != nil {
			return
		}
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], string(got[i]))
			require.Equal(t, len(got[i]), cap(got[i]))
		}
	})
}

// FuzzFrame: what a server sends is read or refused, and a close frame read is one
// written.
func FuzzFrame(f *testing.F) {
	for _, s := range []string{
		"o", "h", `a["x"]`, `a[]`, `m"x"`, `c[3000,"Go away!"]`, `c[ 1000 , "" ]`, "c[]", "c[0,\"\"]", `c[99999,""]`, `c[3000]`, "", "x", "oo", `c[3000,"x"]y`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		fr, err := parseFrame(bytes.Clone(p))
		if err != nil {
			require.ErrorIs(t, err, errBroken)
			return
		}
		if fr.kind != 'c' || !utf8.ValidString(fr.close.Reason) {
			return
		}
		again, err := parseFrame(appendClose(nil, fr.close.Code, fr.close.Reason))
		require.NoError(t, err)
		require.Equal(t, fr, again)
	})
}

// FuzzPath: no path panics, and what finds a session has a name without tricks.
func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"", "/", "//", "/info", "/iframe.html", "/iframe-/.html", "/000/abc/xhr", "/000/abc/xhr/", "/a.b/c/xhr", "/a/b.c/xhr", "/%2e/a/xhr", "/a/%2f/xhr",
		"/a/%00/xhr", "/a/%/xhr", "/a//xhr", "/a/b/xhr//", "/a/b/c/xhr", "/../a/b/xhr", "/a/" + strings.Repeat("b", 129) + "/xhr",
	} {
		f.Add(s)
	}
	c := &Cluster{Node: "a", Key: clusterKey, Peer: func(string) *url.URL { return nil }}
	cluster := New(nil, &Options{ClientURL: clientURL, Cluster: c})
	token := cluster.cluster.token("")
	for _, s := range []string{"/000/abc/xhr", "/iframe.html", "/info", "//000/abc/xhr", "/000/abc/xhr/", ""} {
		f.Add("/" + token + s)
	}
	f.Add("//000/abc/xhr")
	f.Add("/000/000/abc/xhr")
	f.Fuzz(func(t *testing.T, path string) {
		for _, tr := range []*Transport{New(nil, &Options{ClientURL: clientURL}), cluster} {
			route, token, id := tr.find(path)
			if id != "" {
				require.LessOrEqual(t, len(id), maxSegment)
				require.False(t, strings.ContainsAny(id, "./\\\x00\r\n"), "%q", id)
			}
			require.NotContains(t, token, "/")
			require.True(t, tr.cluster != nil || token == "")
			u, err := url.Parse("http://h" + path)
			if route == nil || err != nil || !strings.HasPrefix(path, "/") {
				continue
			}
			w := httptest.NewRecorder()
			r := &http.Request{Method: "DELETE", URL: u, Header: http.Header{}, RequestURI: path}
			tr.ServeHTTP(w, r, &app{})
			require.Contains(t, []int{404, 405}, w.Code)
			if token != "" {
				_, ok := tr.cluster.node("", token)
				require.Equal(t, ok, w.Code == 405)
			}
		}
	})
}

// FuzzForm: no body of jsonp_send panics or hangs.
func FuzzForm(f *testing.F) {
	for _, s := range []string{"", "d=", "d=%5B%22a%22%5D", "d=%5B%22a", "d=%", "p=p", "d=[]&d=x", "&&;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		tr := New(nil, nil)
		a := &app{receive: func(*peer, transport.Message) {}}
		call := func(method, path, body string) int {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			tr.ServeHTTP(w, r, a)
			return w.Code
		}
		require.Equal(t, 200, call("GET", "/0/a/jsonp?c=x", ""))
		require.Contains(t, []int{200, 413, 500}, call("POST", "/0/a/jsonp_send", body))
		s := tr.lookup(one(tr))
		s.mu.Lock()
		s.disarm()
		s.mu.Unlock()
	})
}

func one(t *Transport) key {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.sessions {
		return k
	}
	return key{}
}
