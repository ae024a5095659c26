package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// session is a session of SockJS: what it sends is an array, what it receives is a frame.
type session struct {
	send    func(array string)
	receive func() string
}

func openSession(t *testing.T, r row, addr, id string) session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	path := addr + "/sockjs/000/" + id + "/"
	if r.SockJS == "websocket" {
		c, _, err := websocket.Dial(ctx, "ws://"+path+"websocket", nil) //nolint:bodyclose // Dial says that it need not be
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.CloseNow() })
		c.SetReadLimit(-1)
		return session{
			func(array string) { require.NoError(t, c.Write(ctx, websocket.MessageText, []byte(array))) },
			func() string {
				_, data, err := c.Read(ctx)
				require.NoError(t, err)
				return string(data)
			},
		}
	}
	post := func(what, body string, status int) io.ReadCloser {
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+path+what, strings.NewReader(body))
		require.NoError(t, err)
		a, err := http.DefaultClient.Do(q)
		require.NoError(t, err)
		t.Cleanup(func() { a.Body.Close() })
		require.Equal(t, status, a.StatusCode)
		return a.Body
	}
	what := strings.Replace(r.SockJS, "-", "_", 1)
	if r.SockJS == "xhr-polling" {
		what = "xhr"
	}
	lines := bufio.NewReader(strings.NewReader(""))
	return session{
		func(array string) { post("xhr_send", array, http.StatusNoContent).Close() },
		func() string {
			for {
				line, err := lines.ReadString('\n')
				if err == io.EOF {
					lines.Reset(post(what, "", http.StatusOK))
					continue
				}
				require.NoError(t, err)
				if line[0] != 'h' {
					return strings.TrimSuffix(line, "\n")
				}
			}
		},
	}
}

// Each row of SockJS echoes and publishes, over its transport.
func TestSockJS(t *testing.T) {
	t.Parallel()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	rows := slices.DeleteFunc(rows(), func(r row) bool { return r.SockJS == "" })
	require.Len(t, rows, 3)
	for _, r := range rows {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, r)
			sessions := make([]session, 3)
			for i := range sessions {
				s := openSession(t, r, p.addr, fmt.Sprint(i))
				require.Equal(t, "o", s.receive())
				for _, array := range []string{`["grüße"]`, `[""]`, `["` + strings.Repeat("weft", 16<<10) + `"]`} {
					s.send(array)
					require.Equal(t, "a"+array, s.receive())
				}
				if !r.UTF8 {
					s.send("[\"\xff\"]")
					require.Equal(t, `a["\ufffd"]`, s.receive())
				}
				sessions[i] = s
			}
			for _, n := range []int{1, 20} {
				p.say(t, fmt.Sprint("publish ", n))
				for _, s := range sessions {
					for got := 0; got < n; {
						f := s.receive()
						var all []string
						require.NoError(t, json.Unmarshal([]byte(f[1:]), &all), f)
						for _, m := range all {
							require.Equal(t, string(message), m)
						}
						if got += len(all); n == 1 {
							size := len(f)
							if r.Framing == "http" {
								size++ // the line's end
							}
							require.Equal(t, len(message)+r.Envelope, size)
						}
					}
				}
				require.Equal(t, "published", p.line(t))
			}
			p.in.Close()
			require.NoError(t, p.wait(t), &p.stderr)
		})
	}
}
