package gobwas

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/weftws/weft/transport"
)

// answering is a server that has one answer; in it the word ACCEPT becomes the right
// Sec-WebSocket-Accept, which depends on the request.
type answering struct {
	scripted
	answer []byte
}

func (c *answering) Write(p []byte) (int, error) {
	n, err := c.scripted.Write(p)
	if r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.said()))); err == nil {
		c.in = bytes.NewReader(bytes.Replace(c.answer, []byte("ACCEPT"), []byte(acceptOf(r)), 1))
	}
	return n, err
}

const goodAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n"

// FuzzDialAnswer holds that an answer is a sub-protocol that was offered, with all that
// came behind the header, or an error; and that a refusal is bounded.
func FuzzDialAnswer(f *testing.F) {
	for _, s := range []string{
		goodAnswer + "\r\n", goodAnswer + "Sec-WebSocket-Protocol: b\r\n\r\n", goodAnswer + "Sec-WebSocket-Protocol: c\r\n\r\n",
		goodAnswer + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", goodAnswer + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n",
		goodAnswer + "\r\n" + wireFrame(0x81, false, "early"),
		goodAnswer + "X-Long: " + strings.Repeat("x", 3000) + "\r\n\r\n", strings.Replace(goodAnswer, "ACCEPT", "wrong", 1) + "\r\n",
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n", "HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 3000), "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "HTTP/1.0 101 x\r\n\r\n",
		"HTTP/1.1 99999999999999999999 x\r\n\r\n", "HTTP/999999999999.1 101\r\n\r\n", "garbage", "\r\n", "",
	} {
		f.Add([]byte(s))
	}
	tr := New(&Options{MaxHeaderBytes: 2048, Compression: &Compression{}})
	u := &url.URL{Scheme: "ws", Host: "localhost", Path: "/"}
	f.Fuzz(func(t *testing.T, answer []byte) {
		nc := &answering{answer: answer}
		sub, agreed, early, err := tr.request(nc, u, &transport.DialConfig{SubProtocols: []string{"a", "b"}})
		if err != nil {
			require.Empty(t, sub)
			require.Nil(t, agreed)
			if refusal, ok := err.(*transport.Refusal); ok { //nolint:errorlint // it is never wrapped
				require.LessOrEqual(t, len(refusal.Text), 1024)
				require.NotEqual(t, 101, refusal.Status)
			}
			return
		}
		require.Contains(t, []string{"", "a", "b"}, sub)
		require.Contains(t, string(answer), "ACCEPT")
		// What was not read within the limit of a header is still there to be read.
		rest, err := io.ReadAll(nc.in)
		require.NoError(t, err)
		require.True(t, bytes.HasSuffix(answer, append(early, rest...)))
	})
}
