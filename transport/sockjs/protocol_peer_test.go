package sockjs

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"
)

const another = "c[2010,\"Another connection still open\"]\n"

var upgradeHeaders = []string{
	"Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==",
}

const htmlHead = `<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.callback;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>`

func contentType(s *service, a *answer, want string) {
	s.t.Helper()
	require.Equal(s.t, want, strings.ReplaceAll(a.header("Content-Type"), " ", ""))
}

func noCookie(s *service, a *answer) {
	s.t.Helper()
	require.Empty(s.t, a.Header.Values("Set-Cookie"))
}

func notStored(s *service, a *answer) {
	s.t.Helper()
	require.Equal(s.t, "no-store, no-cache, no-transform, must-revalidate, max-age=0", a.header("Cache-Control"))
	require.Empty(s.t, a.header("Expires"))
	require.Empty(s.t, a.header("Last-Modified"))
}

func forYears(s *service, a *answer) {
	s.t.Helper()
	require.Contains(s.t, a.header("Cache-Control"), "public")
	require.Regexp(s.t, `max-age=[1-9][0-9]{6}`, a.header("Cache-Control"))
	require.NotEmpty(s.t, a.header("Expires"))
}

// corsFor expects the headers for a page of that origin, "" for no page.
func corsFor(s *service, a *answer, origin string) {
	s.t.Helper()
	if origin == "" {
		require.Equal(s.t, "*", a.header("Access-Control-Allow-Origin"))
		require.Empty(s.t, a.header("Access-Control-Allow-Credentials"))
		return
	}
	require.Equal(s.t, origin, a.header("Access-Control-Allow-Origin"))
	require.Equal(s.t, "true", a.header("Access-Control-Allow-Credentials"))
}

func preflights(s *service, path, methods string) {
	s.t.Helper()
	for _, origin := range []string{"test", "null"} {
		a := s.options(path, "Access-Control-Request-Method", methods, "Origin", origin)
		s.gives(a, 204, "")
		forYears(s, a)
		age, err := strconv.Atoi(a.header("Access-Control-Max-Age"))
		require.NoError(s.t, err)
		require.Greater(s.t, age, 1000000)
		require.Equal(s.t, methods, a.header("Access-Control-Allow-Methods"))
		corsFor(s, a, origin)
	}
}

func iframePage(s *service, path string) {
	s.t.Helper()
	a := s.get("/echo" + path)
	s.gives(a, 200, `<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="`+clientURL+`"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>`)
	contentType(s, a, "text/html;charset=UTF-8")
	forYears(s, a)
	require.NotEmpty(s.t, a.header("ETag"))
	require.Empty(s.t, a.header("Last-Modified"))
	noCookie(s, a)
}

type infoJSON struct {
	WebSocket    bool     `json:"websocket"`
	CookieNeeded *bool    `json:"cookie_needed"`
	Origins      []string `json:"origins"`
	Entropy      uint64   `json:"entropy"`
	BaseURL      *string  `json:"base_url"`
}

func infoOf(s *service, a *answer) (i infoJSON) {
	s.t.Helper()
	require.Equal(s.t, 200, a.StatusCode)
	require.NoError(s.t, json.Unmarshal([]byte(a.body), &i))
	return i
}

func socketEchoes(s *service, ws *socket, text string) {
	s.t.Helper()
	require.Equal(s.t, "o", ws.recv())
	ws.send(`["` + text + `"]`)
	require.Equal(s.t, `a["`+text+`"]`, ws.recv())
}

// streaming opens a session with a stream.
func streaming(s *service, p string) *stream {
	s.t.Helper()
	r := s.stream("1.1", "POST", p+"/xhr_streaming")
	require.Equal(s.t, "200", r.status)
	require.Len(s.t, r.chunk(), 2049)
	require.Equal(s.t, "o\n", r.chunk())
	return r
}

// second expects that a poll beside one that waits is told so, and breaks the first off.
// Which one waits is not known from outside: the other gets the frame.
func second(s *service, p string) {
	s.t.Helper()
	r1, b1 := s.request("1.1", "POST", p+"/xhr", "")
	r2, b2 := s.request("1.1", "POST", p+"/xhr", "")
	answered := make(chan *bufio.Reader, 2)
	for _, b := range []*bufio.Reader{b1, b2} {
		go func() {
			_, _ = b.Peek(1)
			answered <- b
		}()
	}
	which := <-answered
	resp, err := http.ReadResponse(which, nil)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	var body [64]byte
	n, _ := resp.Body.Read(body[:])
	require.Equal(s.t, another, string(body[:n]))
	r1.Close()
	r2.Close()
	<-answered
}

// interrupted expects that the session learns that its request was broken off.
func interrupted(s *service, p string) {
	s.t.Helper()
	for range 1000 {
		if a := s.post(p+"/xhr", ""); a.body != another { // until the server has noticed
			require.Contains(s.t, []string{"o\n", "c[1002,\"Connection interrupted\"]\n"}, a.body)
			return
		}
	}
	require.Fail(s.t, "the server does not notice")
}

func cookie(s *service, got, value string) {
	s.t.Helper()
	name, rest, _ := strings.Cut(got, ";")
	require.Equal(s.t, "JSESSIONID="+value, name)
	require.Equal(s.t, "path=/", strings.ToLower(strings.TrimSpace(rest)))
}

func badCallbacks(s *service, path string) {
	s.t.Helper()
	for _, c := range []string{"%20", "*", "abc(", "abc%28", strings.Repeat("a", 65)} {
		s.gives(s.get(path+"?c="+c), 500, `invalid "callback" parameter`)
	}
}
