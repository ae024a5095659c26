package sockjs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// TestProtocol has what the protocol's own suite checks, row by row. The suite has one
// more, the handshake of hixie-76 behind HAProxy, which no browser since 2011 speaks and
// neither engine has.
func TestProtocol(t *testing.T) {
	t.Parallel()
	for name, engine := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, engine())
			for _, row := range protocolRows {
				t.Run(row.name, func(t *testing.T) {
					t.Parallel()
					row.run(&service{s.Server, t})
				})
			}
		})
	}
}

type protocolRow struct {
	name string
	run  func(s *service)
}

var protocolRows = []protocolRow{
	{"greeting", func(s *service) {
		for _, path := range []string{"/echo", "/echo/"} {
			a := s.get(path)
			s.gives(a, 200, "Welcome to SockJS!\n")
			contentType(s, a, "text/plain;charset=UTF-8")
			noCookie(s, a)
		}
	}},
	{"other paths are not found", func(s *service) {
		for _, p := range []string{"/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/"} {
			require.Equal(s.t, 404, s.get("/echo"+p).StatusCode, p)
		}
	}},

	{"iframe page", func(s *service) { iframePage(s, "/iframe.html") }},
	{"iframe page with a version", func(s *service) {
		for _, p := range []string{"-a", "-", "-0.1.2", "-0.1.2abc-dirty.2144"} {
			iframePage(s, "/iframe"+p+".html")
		}
	}},
	{"iframe page with a query", func(s *service) {
		for _, p := range []string{"-a.html?t=1234", "-0.1.2.html?t=123414", "-0.1.2abc-dirty.2144.html?t=qweqweq123"} {
			iframePage(s, "/iframe"+p)
		}
	}},
	{"iframe paths that are none", func(s *service) {
		for _, p := range []string{"/iframe.htm", "/iframe", "/IFRAME.HTML", "/IFRAME", "/iframe.HTML", "/iframe.xml", "/iframe-/.html"} {
			require.Equal(s.t, 404, s.get("/echo"+p).StatusCode, p)
		}
	}},
	{"iframe page is cached", func(s *service) {
		tag := s.get("/echo/iframe.html").header("ETag")
		require.NotEmpty(s.t, tag)
		require.Equal(s.t, tag, s.get("/echo/iframe.html").header("ETag"))
		a := s.get("/echo/iframe.html", "If-None-Match", tag)
		s.gives(a, 304, "")
		require.Empty(s.t, a.header("Content-Type"))
	}},

	{"info", func(s *service) {
		a := s.get("/echo/info", "Origin", "test")
		require.Equal(s.t, 200, a.StatusCode)
		contentType(s, a, "application/json;charset=UTF-8")
		noCookie(s, a)
		notStored(s, a)
		corsFor(s, a, "test")
		i := infoOf(s, a)
		require.True(s.t, i.WebSocket)
		require.NotNil(s.t, i.CookieNeeded)
		require.Equal(s.t, []string{"*:*"}, i.Origins)
		require.Less(s.t, i.Entropy, uint64(1)<<32)
	}},
	{"info has entropy", func(s *service) {
		first := infoOf(s, s.get("/echo/info"))
		require.NotEqual(s.t, first.Entropy, infoOf(s, s.get("/echo/info")).Entropy)
	}},
	{"info answers OPTIONS", func(s *service) { preflights(s, "/echo/info", "OPTIONS, GET") }},
	{"info answers OPTIONS of a page without origin", func(s *service) {
		a := s.options("/echo/info", "Origin", "null", "Access-Control-Request-Method", "POST")
		s.gives(a, 204, "")
		require.Equal(s.t, "null", a.header("Access-Control-Allow-Origin"))
	}},
	{"info tells that websocket is off", func(s *service) {
		require.False(s.t, infoOf(s, s.get("/disabled_websocket_echo/info")).WebSocket)
	}},

	{"servers and sessions have any name", func(s *service) {
		for i, p := range []string{"/a/a", "/_/_", "/1/", "/abcdefgh_i-j%20/abcdefg_i-j%20"} {
			s.gives(s.post("/echo"+p+strconv.Itoa(i)+"/xhr", ""), 200, "o\n")
		}
	}},
	{"but not these", func(s *service) {
		for _, p := range []string{"//", "/a./a", "/a/a.", "/./.", "/", "///"} {
			require.Equal(s.t, 404, s.get("/echo"+p+"/xhr").StatusCode, p)
			require.Equal(s.t, 404, s.post("/echo"+p+"/xhr", "").StatusCode, p)
		}
	}},
	{"the server's name does not tell sessions apart", func(s *service) {
		p := fresh("/echo")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		s.gives(s.post(p+"/xhr_send", `["a"]`), 204, "")
		s.gives(s.post(strings.Replace(p, "/000/", "/999/", 1)+"/xhr", ""), 200, `a["a"]`+"\n")
	}},

	{"a session", func(s *service) {
		p := fresh("/echo")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		s.gives(s.post(p+"/xhr_send", `["a"]`), 204, "")
		s.gives(s.post(p+"/xhr", ""), 200, `a["a"]`+"\n")
		require.Equal(s.t, 404, s.post("/echo/000/bad_session/xhr_send", `["a"]`).StatusCode)
		second(s, p)
	}},
	{"a session that the server closes", func(s *service) {
		p := fresh("/close")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		for range 2 {
			s.gives(s.post(p+"/xhr", ""), 200, `c[3000,"Go away!"]`+"\n")
		}
	}},

	{"websocket without upgrade", func(s *service) {
		require.Equal(s.t, 400, s.get("/echo/0/0/websocket").StatusCode)
	}},
	{"websocket with a Connection that a proxy changed", func(s *service) {
		require.Equal(s.t, 400, s.get("/echo/0/0/websocket", "Upgrade", "WebSocket").StatusCode)
	}},
	{"websocket takes GET alone", func(s *service) {
		for _, h := range [][]string{{"Upgrade", "WebSocket", "Connection", "Upgrade"}, {}} {
			a := s.post("/echo/0/0/websocket", "", h...)
			s.gives(a, 405, "")
			require.Empty(s.t, a.header("Content-Type"))
			require.NotEmpty(s.t, a.header("Allow"))
		}
	}},
	{"websocket", func(s *service) { socketEchoes(s, s.socket(fresh("/echo")+"/websocket"), "a") }},
	{"websocket that the server closes", func(s *service) {
		ws := s.socket(fresh("/close") + "/websocket")
		require.Equal(s.t, "o", ws.recv())
		require.Equal(s.t, `c[3000,"Go away!"]`, ws.recv())
		_, _, err := ws.ReadMessage()
		require.True(s.t, websocket.IsCloseError(err, 3000), err)
	}},
	{"websocket headers", func(s *service) {
		r := s.stream("1.1", "GET", fresh("/echo")+"/websocket", upgradeHeaders...)
		require.Equal(s.t, "101", r.status)
		require.Equal(s.t, "HSmrc0sMlYUkAGmm5OPpG2HaGWk=", r.header.Get("Sec-WebSocket-Accept"))
		require.Equal(s.t, "upgrade", strings.ToLower(r.header.Get("Connection")))
		require.Equal(s.t, "websocket", strings.ToLower(r.header.Get("Upgrade")))
		require.Empty(s.t, r.header.Get("Content-Length"))
	}},
	{"websocket with the Connection of Firefox", func(s *service) {
		h := append([]string{}, upgradeHeaders...)
		h[3] = "keep-alive, Upgrade"
		require.Equal(s.t, "101", s.stream("1.1", "GET", fresh("/echo")+"/websocket", h...).status)
	}},
	{"websocket ignores empty frames", func(s *service) {
		ws := s.socket(fresh("/echo") + "/websocket")
		require.Equal(s.t, "o", ws.recv())
		ws.send("")
		ws.send("[]")
		ws.send(`["a"]`)
		require.Equal(s.t, `a["a"]`, ws.recv())
	}},
	{"websocket takes one string", func(s *service) {
		ws := s.socket(fresh("/echo") + "/websocket")
		require.Equal(s.t, "o", ws.recv())
		ws.send(`"a"`)
		require.Equal(s.t, `a["a"]`, ws.recv())
	}},
	{"websockets with one id are sessions of their own", func(s *service) {
		p := fresh("/echo") + "/websocket"
		ws1, ws2 := s.socket(p), s.socket(p)
		socketEchoes(s, ws1, "a")
		socketEchoes(s, ws2, "b")
		ws1.Close()
		ws2.Close()
		socketEchoes(s, s.socket(p), "c")
	}},
	{"websocket with broken JSON", func(s *service) {
		ws := s.socket(fresh("/echo") + "/websocket")
		require.Equal(s.t, "o", ws.recv())
		ws.send(`["a`)
		_, _, err := ws.ReadMessage()
		require.Error(s.t, err)
	}},

	{"xhr answers OPTIONS", func(s *service) {
		preflights(s, "/echo/abc/abc/xhr", "OPTIONS, POST")
		preflights(s, "/echo/abc/abc/xhr_send", "OPTIONS, POST")
	}},
	{"xhr", func(s *service) {
		p := fresh("/echo")
		a := s.post(p+"/xhr", "", "Origin", "test")
		s.gives(a, 200, "o\n")
		contentType(s, a, "application/javascript;charset=UTF-8")
		corsFor(s, a, "test")
		notStored(s, a)
		a = s.post(p+"/xhr_send", `["x"]`, "Origin", "test")
		s.gives(a, 204, "")
		contentType(s, a, "text/plain;charset=UTF-8")
		corsFor(s, a, "test")
		notStored(s, a)
		a = s.post(p+"/xhr", "")
		s.gives(a, 200, `a["x"]`+"\n")
		corsFor(s, a, "")
	}},
	{"xhr_send to no session", func(s *service) {
		require.Equal(s.t, 404, s.post(fresh("/echo")+"/xhr_send", `["x"]`).StatusCode)
	}},
	{"xhr_send of broken JSON", func(s *service) {
		p := fresh("/echo")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		s.gives(s.post(p+"/xhr_send", `["x`), 500, "Broken JSON encoding.")
		s.gives(s.post(p+"/xhr_send", ""), 500, "Payload expected.")
		s.gives(s.post(p+"/xhr_send", `["a"]`), 204, "")
		s.gives(s.post(p+"/xhr", ""), 200, `a["a"]`+"\n")
	}},
	{"xhr_send of any content type", func(s *service) {
		p := fresh("/echo")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		for _, ct := range []string{
			"text/plain", "T", "application/json", "application/xml", "", "application/json; charset=utf-8",
			"text/xml; charset=utf-8", "text/xml",
		} {
			s.gives(s.post(p+"/xhr_send", `["a"]`, "Content-Type", ct), 204, "")
		}
		s.gives(s.post(p+"/xhr", ""), 200, `a["a","a","a","a","a","a","a","a"]`+"\n")
	}},
	{"xhr allows the headers that are asked for", func(s *service) {
		p := fresh("/echo") + "/xhr"
		h := []string{"Origin", "test", "Access-Control-Request-Method", "POST"}
		a := s.options(p, append(h, "Access-Control-Request-Headers", "a, b, c")...)
		corsFor(s, a, "test")
		require.Equal(s.t, "a, b, c", a.header("Access-Control-Allow-Headers"))
		for _, h := range [][]string{append(h, "Access-Control-Request-Headers", ""), h} {
			a = s.options(p, h...)
			corsFor(s, a, "test")
			require.Empty(s.t, a.Header.Values("Access-Control-Allow-Headers"))
		}
	}},
	{"xhr_send of escapes before letters of several bytes", func(s *service) {
		p := fresh("/echo")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		for _, text := range []string{"\\n日本語", "\\u0041ä", "\\n\\n\\n\\n😀ß", "日\\n本"} {
			s.gives(s.post(p+"/xhr_send", `["`+text+`"]`), 204, "")
			var want []string
			require.NoError(s.t, json.Unmarshal([]byte(`["`+text+`"]`), &want))
			var got []string
			require.NoError(s.t, json.Unmarshal([]byte(strings.TrimPrefix(s.post(p+"/xhr", "").body, "a")), &got))
			require.Equal(s.t, want, got)
		}
	}},
	{"xhr_send of no messages", func(s *service) {
		p := fresh("/echo")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		s.gives(s.post(p+"/xhr_send", "[]"), 204, "")
		s.gives(s.post(p+"/xhr_send", `["a"]`), 204, "")
		s.gives(s.post(p+"/xhr", ""), 200, `a["a"]`+"\n")
	}},

	{"xhr_streaming answers OPTIONS", func(s *service) { preflights(s, "/echo/abc/abc/xhr_streaming", "OPTIONS, POST") }},
	{"xhr_streaming", func(s *service) {
		p := fresh("/echo")
		r := s.stream("1.1", "POST", p+"/xhr_streaming", "Origin", "test")
		require.Equal(s.t, "200", r.status)
		a := &answer{Response: &http.Response{Header: http.Header(r.header)}}
		contentType(s, a, "application/javascript;charset=UTF-8")
		corsFor(s, a, "test")
		notStored(s, a)
		require.Equal(s.t, "no", r.header.Get("X-Accel-Buffering"))
		require.Equal(s.t, strings.Repeat("h", 2048)+"\n", r.chunk())
		require.Equal(s.t, "o\n", r.chunk())
		s.gives(s.post(p+"/xhr_send", `["x"]`), 204, "")
		require.Equal(s.t, `a["x"]`+"\n", r.chunk())
	}},
	{"xhr_streaming ends when it has had enough", func(s *service) {
		p := fresh("/echo")
		r := streaming(s, p)
		msg := `["` + strings.Repeat("x", 128) + `"]`
		for range 31 {
			s.gives(s.post(p+"/xhr_send", msg), 204, "")
			require.Equal(s.t, "a"+msg+"\n", r.chunk())
		}
		require.Empty(s.t, r.chunk())
	}},

	{"eventsource", func(s *service) {
		p := fresh("/echo")
		r := s.stream("1.1", "GET", p+"/eventsource")
		require.Equal(s.t, "200", r.status)
		require.Equal(s.t, "text/event-stream", r.header.Get("Content-Type"))
		notStored(s, &answer{Response: &http.Response{Header: http.Header(r.header)}})
		require.Equal(s.t, "\r\n", r.chunk())
		require.Equal(s.t, "data: o\r\n\r\n", r.chunk())
		s.gives(s.post(p+"/xhr_send", `["x"]`), 204, "")
		require.Equal(s.t, "data: a[\"x\"]\r\n\r\n", r.chunk())
		s.gives(s.post(p+"/xhr_send", `["  \u0000\n\r "]`), 204, "")
		require.Equal(s.t, "data: a[\"  \\u0000\\n\\r \"]\r\n\r\n", r.chunk())
	}},
	{"eventsource ends when it has had enough", func(s *service) {
		p := fresh("/echo")
		r := s.stream("1.1", "GET", p+"/eventsource")
		require.Equal(s.t, "\r\n", r.chunk())
		require.Equal(s.t, "data: o\r\n\r\n", r.chunk())
		msg := `["` + strings.Repeat("x", 4096) + `"]`
		s.gives(s.post(p+"/xhr_send", msg), 204, "")
		require.Equal(s.t, "data: a"+msg+"\r\n\r\n", r.chunk())
		require.Empty(s.t, r.chunk())
	}},

	{"htmlfile", func(s *service) {
		p := fresh("/echo")
		r := s.stream("1.1", "GET", p+"/htmlfile?c=%63allback")
		require.Equal(s.t, "200", r.status)
		a := &answer{Response: &http.Response{Header: http.Header(r.header)}}
		contentType(s, a, "text/html;charset=UTF-8")
		notStored(s, a)
		page := r.chunk()
		require.Greater(s.t, len(page), 1024)
		require.Equal(s.t, htmlHead, strings.TrimSpace(page))
		require.Equal(s.t, "<script>\np(\"o\");\n</script>\r\n", r.chunk())
		s.gives(s.post(p+"/xhr_send", `["x"]`), 204, "")
		require.Equal(s.t, "<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n", r.chunk())
	}},
	{"htmlfile without callback", func(s *service) {
		s.gives(s.get("/echo/a/a/htmlfile"), 500, `"callback" parameter required`)
	}},
	{"htmlfile with a bad callback", func(s *service) { badCallbacks(s, "/echo/a/a/htmlfile") }},
	{"htmlfile ends when it has had enough", func(s *service) {
		p := fresh("/echo")
		r := s.stream("1.1", "GET", p+"/htmlfile?c=callback")
		require.NotEmpty(s.t, r.chunk())
		require.NotEmpty(s.t, r.chunk())
		msg := strings.Repeat("x", 4096)
		s.gives(s.post(p+"/xhr_send", `["`+msg+`"]`), 204, "")
		got := ""
		for c := r.chunk(); c != ""; c = r.chunk() {
			got += c
		}
		require.Equal(s.t, "<script>\np(\"a[\\\""+msg+"\\\"]\");\n</script>\r\n", got)
	}},

	{"jsonp", func(s *service) {
		p := fresh("/echo")
		a := s.get(p + "/jsonp?c=%63allback")
		s.gives(a, 200, "/**/callback(\"o\");\r\n")
		contentType(s, a, "application/javascript;charset=UTF-8")
		notStored(s, a)
		require.Equal(s.t, "nosniff", a.header("X-Content-Type-Options"))
		a = s.form(p+"/jsonp_send", unquoteForm(`["x"]`))
		s.gives(a, 200, "ok")
		contentType(s, a, "text/plain;charset=UTF-8")
		notStored(s, a)
		s.gives(s.get(p+"/jsonp?c=%63allback"), 200, "/**/callback(\"a[\\\"x\\\"]\");\r\n")
	}},
	{"jsonp without callback", func(s *service) {
		s.gives(s.get("/echo/a/a/jsonp"), 500, `"callback" parameter required`)
	}},
	{"jsonp with a bad callback", func(s *service) { badCallbacks(s, "/echo/a/a/jsonp") }},
	{"jsonp_send of broken JSON", func(s *service) {
		p := fresh("/echo")
		s.gives(s.get(p+"/jsonp?c=x"), 200, "/**/x(\"o\");\r\n")
		s.gives(s.form(p+"/jsonp_send", unquoteForm(`["x`)), 500, "Broken JSON encoding.")
		for _, body := range []string{"", "d=", "p=p"} {
			s.gives(s.form(p+"/jsonp_send", body), 500, "Payload expected.")
		}
		s.gives(s.form(p+"/jsonp_send", unquoteForm(`["b"]`)), 200, "ok")
		s.gives(s.get(p+"/jsonp?c=x"), 200, "/**/x(\"a[\\\"b\\\"]\");\r\n")
	}},
	{"jsonp_send of a form and of text", func(s *service) {
		p := fresh("/echo")
		s.gives(s.get(p+"/jsonp?c=x"), 200, "/**/x(\"o\");\r\n")
		s.gives(s.form(p+"/jsonp_send", unquoteForm(`["abc"]`)), 200, "ok")
		s.gives(s.post(p+"/jsonp_send", `["%61bc"]`, "Content-Type", "text/plain"), 200, "ok")
		s.gives(s.get(p+"/jsonp?c=x"), 200, "/**/x(\"a[\\\"abc\\\",\\\"%61bc\\\"]\");\r\n")
	}},
	{"jsonp that the server closes", func(s *service) {
		p := fresh("/close")
		s.gives(s.get(p+"/jsonp?c=x"), 200, "/**/x(\"o\");\r\n")
		for range 2 {
			s.gives(s.get(p+"/jsonp?c=x"), 200, "/**/x(\"c[3000,\\\"Go away!\\\"]\");\r\n")
		}
	}},
	{"jsonp_send of no messages", func(s *service) {
		p := fresh("/echo")
		s.gives(s.get(p+"/jsonp?c=x"), 200, "/**/x(\"o\");\r\n")
		s.gives(s.form(p+"/jsonp_send", unquoteForm("[]")), 200, "ok")
		s.gives(s.form(p+"/jsonp_send", unquoteForm(`["x"]`)), 200, "ok")
		s.gives(s.get(p+"/jsonp?c=x"), 200, "/**/x(\"a[\\\"x\\\"]\");\r\n")
	}},

	{"the cookie is not on info", func(s *service) {
		a := s.get("/cookie_needed_echo/info")
		noCookie(s, a)
		require.True(s.t, *infoOf(s, a).CookieNeeded)
	}},
	{"the cookie of xhr", func(s *service) {
		a := s.post(fresh("/cookie_needed_echo")+"/xhr", "")
		s.gives(a, 200, "o\n")
		cookie(s, a.header("Set-Cookie"), "dummy")
		a = s.post(fresh("/cookie_needed_echo")+"/xhr", "", "Cookie", "JSESSIONID=abcdef")
		cookie(s, a.header("Set-Cookie"), "abcdef")
	}},
	{"the cookie of xhr_streaming", func(s *service) {
		cookie(s, s.stream("1.1", "POST", fresh("/cookie_needed_echo")+"/xhr_streaming").header.Get("Set-Cookie"), "dummy")
	}},
	{"the cookie of eventsource", func(s *service) {
		cookie(s, s.stream("1.1", "GET", fresh("/cookie_needed_echo")+"/eventsource").header.Get("Set-Cookie"), "dummy")
	}},
	{"the cookie of htmlfile", func(s *service) {
		cookie(s, s.stream("1.1", "GET", fresh("/cookie_needed_echo")+"/htmlfile?c=%63allback").header.Get("Set-Cookie"), "dummy")
	}},
	{"the cookie of jsonp and jsonp_send", func(s *service) {
		p := fresh("/cookie_needed_echo")
		cookie(s, s.get(p+"/jsonp?c=%63allback").header("Set-Cookie"), "dummy")
		a := s.form(p+"/jsonp_send", unquoteForm(`["x"]`))
		s.gives(a, 200, "ok")
		cookie(s, a.header("Set-Cookie"), "dummy")
	}},

	{"raw websocket", func(s *service) {
		ws := s.socket("/echo/websocket")
		ws.send("Hello world!\uffff")
		require.Equal(s.t, "Hello world!\uffff", ws.recv())
	}},
	{"raw websocket that the server closes", func(s *service) {
		_, _, err := s.socket("/close/websocket").ReadMessage()
		require.True(s.t, websocket.IsCloseError(err, 3000), err)
		require.ErrorContains(s.t, err, "Go away!")
	}},

	{"the server escapes what browsers change", func(s *service) {
		var text, escaped strings.Builder
		for _, span := range [][2]rune{{0x200c, 0x200f}, {0x2028, 0x202f}, {0x2060, 0x206f}, {0xfff0, 0xffff}} {
			for r := span[0]; r <= span[1]; r++ {
				text.WriteRune(r)
				fmt.Fprintf(&escaped, `\u%04x`, r)
			}
		}
		p := fresh("/echo")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		s.gives(s.post(p+"/xhr_send", `["`+text.String()+`"]`), 204, "")
		s.gives(s.post(p+"/xhr", ""), 200, `a["`+escaped.String()+`"]`+"\n")
	}},
	{"the server reads what clients escape", func(s *service) {
		var text, escaped strings.Builder
		for r := rune(0); r < 0xffff; r++ {
			if r < 0xd800 || r > 0xdfff {
				text.WriteRune(r)
				fmt.Fprintf(&escaped, `\u%04x`, r)
			}
		}
		// Over the limits of one message: in parts.
		p := fresh("/echo")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		const step = 6 * 4096
		got := ""
		for e := escaped.String(); e != ""; {
			n := min(step, len(e))
			s.gives(s.post(p+"/xhr_send", `["`+e[:n]+`"]`), 204, "")
			e = e[n:]
			var part []string
			require.NoError(s.t, json.Unmarshal([]byte(s.post(p+"/xhr", "").body[1:]), &part))
			require.Len(s.t, part, 1)
			got += part[0]
		}
		require.Equal(s.t, text.String(), got)
	}},

	{"a close unlinks the request", func(s *service) {
		p := fresh("/close")
		r1 := streaming(s, p)
		require.Equal(s.t, "c[3000,\"Go away!\"]\n", r1.chunk())
		r2 := s.stream("1.1", "POST", p+"/xhr_streaming")
		require.Len(s.t, r2.chunk(), 2049)
		require.Equal(s.t, "c[3000,\"Go away!\"]\n", r2.chunk())
		require.Empty(s.t, r1.chunk())
		require.Empty(s.t, r2.chunk())
	}},
	{"a second stream", func(s *service) {
		p := fresh("/echo")
		streaming(s, p)
		r := s.stream("1.1", "POST", p+"/xhr_streaming")
		require.Len(s.t, r.chunk(), 2049)
		require.Equal(s.t, "c[2010,\"Another connection still open\"]\n", r.chunk())
		require.Empty(s.t, r.chunk())
	}},
	{"a stream that is broken off", func(s *service) {
		p := fresh("/echo")
		r1 := streaming(s, p)
		require.Equal(s.t, another, s.post(p+"/xhr", "").body)
		r1.Close()
		interrupted(s, p)
	}},
	{"a poll that is broken off", func(s *service) {
		p := fresh("/echo")
		s.gives(s.post(p+"/xhr", ""), 200, "o\n")
		second(s, p)
		interrupted(s, p)
	}},

	{"HTTP/1.0", func(s *service) {
		for _, h := range [][]string{{"Connection", "Keep-Alive"}, nil} {
			r := s.stream("1.0", "GET", "/echo", h...)
			require.Equal(s.t, "200", r.status)
			require.Empty(s.t, r.header.Get("Transfer-Encoding"))
			require.Equal(s.t, "19", r.header.Get("Content-Length"))
			require.Equal(s.t, "Welcome to SockJS!\n", r.bytes(19))
			if h == nil {
				r.over()
				continue
			}
			writeRequest(s.t, r, "1.0", "GET", "/echo", "h", "")
			require.Equal(s.t, "HTTP/1.0 200 OK", r.bytes(15))
		}
	}},
	{"HTTP/1.0 streams", func(s *service) {
		r := s.stream("1.0", "POST", fresh("/close")+"/xhr_streaming", "Connection", "Keep-Alive")
		require.Equal(s.t, "200", r.status)
		require.Empty(s.t, r.header.Get("Transfer-Encoding"))
		require.Empty(s.t, r.header.Get("Content-Length"))
		require.Equal(s.t, strings.Repeat("h", 2048)+"\n", r.bytes(2049))
		require.Equal(s.t, "o\n", r.bytes(2))
		require.Equal(s.t, "c[3000,\"Go away!\"]\n", r.bytes(19))
		r.over()
	}},
	{"HTTP/1.1", func(s *service) {
		r := s.stream("1.1", "GET", "/echo", "Connection", "Keep-Alive")
		require.Contains(s.t, []string{"keep-alive", ""}, strings.ToLower(r.header.Get("Connection")))
		require.Equal(s.t, "19", r.header.Get("Content-Length"))
		require.Equal(s.t, "Welcome to SockJS!\n", r.bytes(19))
		writeRequest(s.t, r, "1.1", "GET", "/echo", "h", "")
		require.Equal(s.t, "HTTP/1.1 200 OK", r.bytes(15))
	}},
	{"HTTP/1.1 streams", func(s *service) {
		r := s.stream("1.1", "POST", fresh("/close")+"/xhr_streaming", "Connection", "Keep-Alive")
		require.Equal(s.t, "200", r.status)
		require.Equal(s.t, "chunked", r.header.Get("Transfer-Encoding"))
		require.Empty(s.t, r.header.Get("Content-Length"))
		require.Equal(s.t, strings.Repeat("h", 2048)+"\n", r.chunk())
		require.Equal(s.t, "o\n", r.chunk())
		require.Equal(s.t, "c[3000,\"Go away!\"]\n", r.chunk())
		require.Empty(s.t, r.chunk())
	}},
}
