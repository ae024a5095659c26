package sockjs

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/transport"
)

// endless is a body without an end.
type endless struct {
	text string
	read atomic.Int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n+len(e.text) <= len(p) {
		n += copy(p[n:], e.text)
	}
	e.read.Add(int64(n))
	return n, nil
}

func (e *endless) Close() error { return nil }

func (e *endless) answer(r *http.Request) *reply {
	a := says(http.StatusOK, "", "Content-Type", "text/event-stream")(r)
	a.body = e
	return a
}

// What no server should say to the request for info.
func TestDialerHostileInfo(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer func(*http.Request) *reply
		want   string
	}{
		"refused":     {says(403, "not from here"), `status 403: "not from here"`},
		"redirect":    {says(302, "", "Location", "http://elsewhere/info"), `redirects are not followed, here to "http://elsewhere/info"`},
		"not found":   {says(404, ""), "status 404"},
		"no content":  {says(204, ""), "status 204"},
		"garbage":     {says(200, "<html>"), "invalid character"},
		"nothing":     {says(200, ""), "unexpected end"},
		"wrong types": {says(200, `{"websocket":"yes"}`), "websocket"},
		"huge":        {(&endless{text: " "}).answer, "answer is over the limit of 65536 bytes"},
		"slow":        {func(*http.Request) *reply { return nil }, "no answer within 8s"},
		"slow body":   {func(r *http.Request) *reply { pr, _ := io.Pipe(); return flows(pr)(r) }, "no answer within 8s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				err := refuses(t, NewDialer(nil, &DialerOptions{RoundTripper: script{"info": tt.answer}}), "http://h/a")
				require.ErrorContains(t, err, "sockjs: dial h: info: ")
				require.ErrorContains(t, err, tt.want)
			})
		})
	}
}

// form is how a frame stands in an answer.
func form(name, frame string) string {
	if name == nameEventSource {
		return "data: " + frame + "\r\n\r\n"
	}
	return frame + "\n"
}

// only is a dialer of one transport over requests.
func only(name string, w script, o *DialerOptions) *Dialer {
	if o == nil {
		o = new(DialerOptions)
	}
	o.RoundTripper, o.Transports = w.with(plainInfo, 0), []string{name}
	return NewDialer(nil, o)
}

func eachReceiver(t *testing.T, f func(t *testing.T, name, leg string)) {
	t.Parallel()
	for name, r := range receivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { f(t, name, r.path) })
		})
	}
}

// What no server should say to open a session.
func TestDialerHostileOpening(t *testing.T) {
	eachReceiver(t, func(t *testing.T, name, leg string) {
		stream := func(body string) func(*http.Request) *reply {
			return says(200, body, "Content-Type", "text/event-stream; charset=UTF-8")
		}
		for _, tt := range []struct {
			what   string
			answer func(*http.Request) *reply
			want   string
		}{
			{"error", says(500, "sorry"), `status 500: "sorry"`},
			{"redirect", says(307, "", "Location", "http://elsewhere"), "redirects are not followed"},
			{"close frame", stream(form(name, `c[2010,"Another connection still open"]`)), "status 2010"},
			{"message first", stream(form(name, `a["x"]`)), "before the open frame"},
			{"unknown frame", stream(form(name, `<html>`)), "broken framing"},
			{"no frame", stream("\n\n"), "an answer without a frame"},
			{"a prelude alone", stream(strings.Repeat("h", 2048) + "\n"), "an answer without a frame"},
			{"bad open", stream(form(name, "open")), "broken framing"},
			{"bad close code", stream(form(name, `c[1006,""]`)), "close frame with code 1006"},
			{"endless line", (&endless{text: "o"}).answer, "frame over the limit"},
			{"not UTF-8", stream(form(name, "a[\"\xff\"]")), "not UTF-8"},
		} {
			err := refuses(t, only(name, script{leg: tt.answer}, &DialerOptions{MaxFrameSize: 100_000}), "http://h/a")
			require.ErrorContains(t, err, tt.want, tt.what)
			require.ErrorContains(t, err, "sockjs: dial h: "+name+": ")
		}
	})
	t.Run("type", func(t *testing.T) {
		err := refuses(t, only(nameEventSource, script{"eventsource": says(200, "data: o\n\n", "Content-Type", "text/html")}, nil), "http://h/a")
		require.ErrorContains(t, err, "no event stream")
	})
	t.Run("endless event", func(t *testing.T) {
		err := refuses(t, only(nameEventSource, script{"eventsource": (&endless{text: "data: ooooooooooo\n"}).answer}, &DialerOptions{MaxFrameSize: 100_000}), "http://h/a")
		require.ErrorContains(t, err, "frame over the limit")
	})
}

// What no server should say to one who has a session.
func TestDialerHostileSession(t *testing.T) {
	eachReceiver(t, func(t *testing.T, name, leg string) {
		for _, tt := range []struct {
			what, body string
			end        error // of the body
			code       transport.StatusCode
			want       string
		}{
			{"garbage", form(name, "x"), nil, 1002, "broken framing"},
			{"broken JSON", form(name, `a["x]`), nil, 1002, "broken framing"},
			{"not UTF-8", form(name, "a[\"\xc0\x80\"]"), nil, 1007, "not UTF-8"},
			{"long message", form(name, `a["`+strings.Repeat("x", 11)+`"]`), nil, 1009, "size limit"},
			{"long frame", form(name, `a["`+strings.Repeat("x", 2000)), nil, 1009, "frame over the limit"},
			{"lost session", form(name, "o"), nil, 1006, "lost the session"},
			{"bad close code", form(name, `c[99999,""]`), nil, 1002, "close frame with code"},
			{"no more answers", "", nil, 1002, "an answer without a frame"},
			{"connection reset", form(name, `a["x"]`), errors.New("reset"), 1006, "reset"},
		} {
			pr, pw := io.Pipe()
			// Each must come to the end that the first of them has found.
			d := only(name, script{leg: flows(pr)}, &DialerOptions{MaxMessageSize: 10, MaxFrameSize: 1500})
			go func() { _, _ = io.WriteString(pw, form(name, "o")+tt.body); pw.CloseWithError(tt.end) }()
			if tt.what == "no more answers" {
				d = only(name, script{leg: inTurn(func(r *http.Request) *reply { return flows(pr)(r) },
					says(200, "\n", "Content-Type", "text/event-stream"))}, nil)
			}
			l := dial(t, d, "http://h/a", nil)
			err := l.ended()
			ee, ok := errors.AsType[*transport.EndError](err)
			require.True(t, ok, "%s: %v", tt.what, err)
			require.Equal(t, tt.code, ee.Code, tt.what)
			require.ErrorContains(t, err, tt.want, tt.what)
			require.ErrorIs(t, err, net.ErrClosed)
		}
	})
}

// The next answer may be a refusal, and the close frame may stand without its line's end.
func TestDialerLaterAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			answer func(*http.Request) *reply
			want   string
		}{
			{says(404, "gone"), "status 1006: transport: handshake refused with status 404"},
			{says(200, `c[3000,"Go away!"]`), `closed by peer with status 3000: "Go away!"`},
			{says(200, "m\"x\"\n\nh\na[\"\"]\nc[4999,\"\\u00e9\"]\n"), `status 4999: "é"`},
		} {
			l := dial(t, only(nameXHRPolling, script{"xhr": inTurn(says(200, "o\n"), tt.answer)}, nil), "http://h/a", nil)
			require.ErrorContains(t, l.ended(), tt.want)
			if strings.Contains(tt.want, "4999") {
				l.takes("x", "")
			}
		}
	})
}

// Silence ends the connection, unless nothing is read because of the receiver.
func TestDialerSilence(t *testing.T) {
	eachReceiver(t, func(t *testing.T, name, leg string) {
		pr, pw := io.Pipe()
		began := time.Now()
		l := dial(t, only(name, script{leg: func(r *http.Request) *reply {
			go io.WriteString(pw, form(name, "o"))
			return flows(pr)(r)
		}}, &DialerOptions{Window: 1}), "http://h/a", nil)
		for range 3 {
			time.Sleep(59 * time.Second)
			_, _ = io.WriteString(pw, form(name, "h"))
		}
		p, _ := transport.As[transport.Pauser](l.conn)
		p.Pause()
		_, _ = io.WriteString(pw, form(name, `a["x"]`)+form(name, `a["y"]`))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Empty(t, l.closed)
		p.Resume()
		l.takes("x", "y")
		err := l.ended()
		require.ErrorIs(t, err, transport.ErrTimeout)
		require.Equal(t, 3*59*time.Second+10*time.Minute+time.Minute, time.Since(began))
	})
	synctest.Test(t, func(t *testing.T) { // an answer to what is sent must come too
		w := script{"xhr": inTurn(says(200, "o\n")), "xhr_send": func(*http.Request) *reply { return nil }}
		l := dial(t, only(nameXHRPolling, w, &DialerOptions{SilenceTimeout: time.Second}), "http://h/a", nil)
		l.send("x")
		require.ErrorIs(t, l.ended(), transport.ErrTimeout)
	})
	synctest.Test(t, func(t *testing.T) {
		l := dial(t, only(nameXHRPolling, script{"xhr": inTurn(says(200, "o\n"))}, &DialerOptions{SilenceTimeout: -1}), "http://h/a", nil)
		time.Sleep(1000 * time.Hour)
		l.close()
	})
}

// A receiver that does not receive bounds what is read.
func TestDialerWindow(t *testing.T) {
	eachReceiver(t, func(t *testing.T, name, leg string) {
		body := &endless{text: form(name, "o")}
		d := only(name, script{leg: func(r *http.Request) *reply {
			a := body.answer(r)
			a.body = io.NopCloser(io.MultiReader(strings.NewReader(form(name, "o")), body))
			body.text = form(name, `a["`+strings.Repeat("x", 40)+`"]`)
			return a
		}}, &DialerOptions{Window: 10_000})
		l := newListener(t)
		l.got = make(chan string, 1)
		_, err := d.Dial(t.Context(), "http://h/a", nil, l.open)
		require.NoError(t, err)
		synctest.Wait()
		require.Less(t, body.read.Load(), int64(20_000))
		before := body.read.Load()
		for range 1000 {
			<-l.got
		}
		synctest.Wait()
		require.Greater(t, body.read.Load(), before+20_000)
		require.NoError(t, l.conn.Close(1000, ""))
		for {
			select {
			case <-l.got:
				continue
			case err := <-l.closed:
				require.ErrorIs(t, err, transport.ErrLocalClose)
				return
			}
		}
	})
}

// What is written while a request sends goes with the next one, in order, one at a time.
func TestDialerSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bodies []string
		var running atomic.Int32
		w := script{"xhr": inTurn(says(200, "o\n")), "xhr_send": func(r *http.Request) *reply {
			require.EqualValues(t, 1, running.Add(1))
			defer running.Add(-1)
			p, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Equal(t, "text/plain;charset=UTF-8", r.Header.Get("Content-Type"))
			bodies = append(bodies, string(p))
			time.Sleep(time.Second)
			return says(204, "")(r)
		}}
		l := dial(t, only(nameXHRPolling, w, nil), "http://h/a", nil)
		l.send("1")
		synctest.Wait()
		l.send("2")
		l.send("3", "\u2028")
		big := strings.Repeat("x", maxSend)
		n, err := l.conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(big)}})
		require.NoError(t, err)
		require.Zero(t, n, "there is no room behind these")
		require.Empty(t, l.writable)
		<-l.writable
		l.send(big)
		_, err = l.conn.Write([]transport.Message{{Type: transport.MessageBinary}})
		require.ErrorIs(t, err, errBinary)
		require.NoError(t, l.conn.Close(1000, "sends what was taken"))
		_, err = l.conn.Write(nil)
		require.ErrorIs(t, err, errOver)
		require.ErrorIs(t, l.conn.Close(1000, ""), errOver)
		require.EqualError(t, l.ended(), "transport: ended with status 1000: closed on this side")
		require.Equal(t, []string{`["1"]`, `["2","3","\u2028"]`, `["` + big + `"]`}, bodies)
		require.Empty(t, l.writable)
	})
}

// Close does not wait longer than it may.
func TestDialerCloseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := script{"xhr": inTurn(says(200, "o\n")), "xhr_send": func(*http.Request) *reply { return nil }}
		l := dial(t, only(nameXHRPolling, w, nil), "http://h/a", nil)
		l.send("x")
		began := time.Now()
		require.NoError(t, l.conn.Close(1000, ""))
		err := l.ended()
		require.Equal(t, 5*time.Second, time.Since(began))
		require.ErrorIs(t, err, transport.ErrLocalClose)
		require.ErrorIs(t, err, transport.ErrTimeout)
	})
}

// A server that refuses what is sent may say why; one that does not is left.
func TestDialerSendIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, says1009 := range []bool{true, false} {
			pr, pw := io.Pipe()
			w := script{"xhr_streaming": flows(pr), "xhr_send": says(413, "message too big")}
			go io.WriteString(pw, "o\n")
			l := dial(t, only(nameXHRStreaming, w, nil), "http://h/a", nil)
			l.send("x", "y")
			synctest.Wait()
			_, err := l.conn.Write([]transport.Message{{Type: transport.MessageText}})
			require.ErrorIs(t, err, errOver)
			require.Empty(t, l.closed)
			if says1009 {
				_, _ = io.WriteString(pw, `c[1009,"message too big"]`+"\n")
				require.EqualValues(t, 1009, transport.CloseStatus(l.ended()))
				continue
			}
			began := time.Now()
			require.ErrorContains(t, l.ended(), `status 1006: xhr_send: transport: handshake refused with status 413: "message too big"`)
			require.Equal(t, lastWord, time.Since(began))
		}
	})
}

// Over a real network: a server that breaks off, and answers that nobody made for this.
func TestDialerIsCutOff(t *testing.T) {
	t.Parallel()
	for name := range receivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hs *httptest.Server
			hs = serveEcho(t, nil, &app{receive: func(*peer, transport.Message) { go hs.CloseClientConnections() }}, nil)
			l := dial(t, NewDialer(nil, &DialerOptions{Transports: []string{name}}), hs.URL+"/echo", nil)
			l.send("x")
			ee, ok := errors.AsType[*transport.EndError](l.ended())
			require.True(t, ok)
			require.EqualValues(t, 1006, ee.Code)
		})
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(nc, "SSH-2.0-x\r\n")
			nc.Close()
		}
	}()
	defer ln.Close()
	require.ErrorContains(t, refuses(t, NewDialer(nil, nil), "http://"+ln.Addr().String()), "info: ")
}
