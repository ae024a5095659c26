package handlertest_test

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
)

// specHandler is the application of TestSpec.
func specHandler() handler.Handler {
	mux := handler.NewMux()
	b := broadcast.New(nil)
	mux.Route("SEND /topic/", b)
	mux.Route("SUBSCRIBE /topic/", b)
	mux.Route("SEND /app/time", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		_, err := r.Reply(&subprotocol.Message{ContentType: "application/json", Body: []byte(`"12:00"`)})
		return err
	}))
	mux.Route("SEND /app/fail", handler.HandlerFunc(func(context.Context, handler.Request) error {
		return errors.New("secret")
	}))
	mux.Route("SEND /app/evict", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		for _, m := range []*subprotocol.Message{
			{Kind: subprotocol.KindError, Subscription: "2", Error: &subprotocol.Error{Code: "forbidden", Text: "the room was closed"}},
			{Kind: subprotocol.KindUnsubscribe, Subscription: "2"},
		} {
			if _, err := r.Session.Send(m); err != nil {
				return err
			}
		}
		return nil
	}))
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		if r.Message.Kind == subprotocol.KindConnect {
			switch r.Message.Header.Get("token") {
			case "forged":
				return errors.New("secret")
			case "stolen":
				return &subprotocol.Error{Code: "stolen", Text: "that token was stolen", Fatal: true, Status: transport.StatusPolicyViolation}
			}
			r.Session.SetUser(r.Message.Header.Get("token"))
			return nil
		}
		return mux.Handle(ctx, r)
	})
}

// TestSpec holds what SPEC.md of the JSON envelope says about sessions against one. A
// line ">" is sent as it is and "<" must come next; texts for people and the
// session's id, which differ, are left out. "end" is the close status.
func TestSpec(t *testing.T) {
	t.Parallel()
	const connect = `> {"type":"connect","heartbeat":[0,0]}
		< {"type":"connected","version":"1","heartbeat":[10000,10000]}
		`
	for name, script := range map[string]string{
		"nothing comes before connected": `> {"type":"heartbeat","answer":true}
			> {"type":"connect","colour":"red"}
			< {"type":"error","code":"unknown-field"}
			> {"type":"connect","version":"7","header":[["token","ada"]]}
			< {"type":"connected","version":"1","heartbeat":[10000,10000],"header":[["user-name","ada"]]}
			> {"type":"heartbeat","answer":true}
			< {"type":"heartbeat"}`,
		"connect comes first": `> {"type":"send","destination":"/app/time"}
			< {"type":"error","code":"not-connected","fatal":true}
			end 1002`,
		"a refused connect": `> {"type":"connect","header":[["token","forged"]]}
			< {"type":"error","code":"refused","fatal":true}
			end 1008`,
		"connect again": connect + `> {"type":"connect","header":[["token","bob"]]}
			< {"type":"connected","version":"1","heartbeat":[10000,10000],"header":[["user-name","bob"]]}
			> {"type":"connect","header":[["token","forged"]]}
			< {"type":"error","code":"refused"}
			> {"type":"send","receipt":"1","destination":"/topic/a"}
			< {"type":"receipt","receipt":"1"}
			> {"type":"connect","header":[["token","stolen"]]}
			< {"type":"error","code":"stolen","fatal":true}
			end 1008`,
		"one answer": connect + `> {"type":"send","receipt":"7","destination":"/app/time"}
			< {"type":"reply","receipt":"7","contentType":"application/json","body":"12:00"}
			> {"type":"send","destination":"/app/time"}
			< {"type":"reply","contentType":"application/json","body":"12:00"}
			> {"type":"send","receipt":"8","destination":"/app/nowhere"}
			< {"type":"error","receipt":"8","code":"not-found"}
			> {"type":"send","receipt":"9","destination":"/app/fail"}
			< {"type":"error","receipt":"9","code":"internal"}
			> {"type":"send","receipt":"10","destination":"/topic/a","id":7}
			< {"type":"error","receipt":"10","code":"bad-field"}
			> {"type":"send","receipt":"11","destination":"/topic/a","text":null,"base64":"","body":{}}
			< {"type":"receipt","receipt":"11"}
			> {"type":"send","destination":"/topic/a"}
			> {"type":"heartbeat","answer":true}
			< {"type":"heartbeat"}`,
		"subscriptions": connect + `> {"type":"subscribe","subscription":"1","destination":"/topic/a","receipt":"1"}
			< {"type":"receipt","receipt":"1"}
			> {"type":"subscribe","subscription":"1","destination":"/topic/b","receipt":"2"}
			< {"type":"error","subscription":"1","receipt":"2","code":"subscription-exists"}
			> {"type":"subscribe","subscription":"2","destination":"/topic/b"}
			> {"type":"send","destination":"/topic/a","body":[1, 2.50]}
			< {"type":"deliver","subscription":"1","destination":"/topic/a","body":[1, 2.50]}
			> {"type":"send","destination":"/app/evict"}
			< {"type":"error","subscription":"2","code":"forbidden"}
			< {"type":"unsubscribe","subscription":"2"}
			> {"type":"unsubscribe","subscription":"2","receipt":"3"}
			< {"type":"error","subscription":"2","receipt":"3","code":"no-subscription"}
			> {"type":"unsubscribe","subscription":"1","receipt":"4"}
			< {"type":"receipt","receipt":"4"}
			> {"type":"ack","subscription":"1","id":"5","receipt":"5"}
			< {"type":"error","subscription":"1","receipt":"5","code":"no-subscription"}`,
		"transactions": connect + `> {"type":"begin","transaction":"t","receipt":"1"}
			< {"type":"receipt","receipt":"1"}
			> {"type":"begin","transaction":"t","receipt":"2"}
			< {"type":"error","receipt":"2","code":"transaction-exists"}
			> {"type":"send","transaction":"t","receipt":"3","destination":"/app/time"}
			> {"type":"send","transaction":"t","receipt":"4","destination":"/topic/a"}
			> {"type":"commit","transaction":"t","receipt":"5"}
			< {"type":"reply","receipt":"3","contentType":"application/json","body":"12:00"}
			< {"type":"receipt","receipt":"4"}
			< {"type":"receipt","receipt":"5"}
			> {"type":"begin","transaction":"t"}
			> {"type":"send","transaction":"t","receipt":"6","destination":"/app/time"}
			> {"type":"abort","transaction":"t","receipt":"7"}
			< {"type":"receipt","receipt":"7"}
			> {"type":"send","transaction":"t","receipt":"8","destination":"/app/time"}
			< {"type":"error","receipt":"8","code":"no-transaction"}`,
		"a transaction fails": connect + `> {"type":"begin","transaction":"t"}
			> {"type":"send","transaction":"t","receipt":"1","destination":"/app/time"}
			> {"type":"send","transaction":"t","receipt":"2","destination":"/app/fail"}
			> {"type":"send","transaction":"t","destination":"/app/time"}
			> {"type":"commit","transaction":"t","receipt":"3"}
			< {"type":"error","receipt":"2","code":"internal"}
			< {"type":"error","receipt":"1","code":"transaction-failed"}
			< {"type":"error","receipt":"3","code":"transaction-failed"}`,
		"a part of a transaction is refused": connect + `> {"type":"begin","transaction":"t"}
			> {"type":"send","transaction":"t","receipt":"1","destination":"/app/time"}
			> {"type":"send","transaction":"t","receipt":"2","destination":"/app/time","colour":"red"}
			< {"type":"error","receipt":"2","code":"unknown-field"}
			> {"type":"commit","transaction":"t","receipt":"3"}
			< {"type":"error","receipt":"1","code":"transaction-failed"}
			< {"type":"error","receipt":"3","code":"transaction-failed"}`,
		"disconnect": connect + `> {"type":"send","receipt":"1","destination":"/app/time"}
			> {"type":"disconnect","receipt":"2"}
			> {"type":"send","receipt":"3","destination":"/app/time"}
			< {"type":"reply","receipt":"1","contentType":"application/json","body":"12:00"}
			< {"type":"receipt","receipt":"2"}
			end 1000`,
		"no JSON": connect + `> {"type":"send"
			< {"type":"error","code":"malformed","fatal":true}
			end 1002`,
		"too large": connect + `> {"type":"send","destination":"/app/time","text":"` + strings.Repeat("x", 4096) + `"}
			< {"type":"error","code":"too-large","fatal":true}
			end 1009`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows(t, func(t *testing.T, st handlertest.Stack) {
				play(t, st.Start(t, specHandler(), handler.WithMaxFrame(4096)), envelope.JSON, jsonFrames{}, script)
			}, func(st handlertest.Stack) bool { return st.Name == "pipe/json/json" || st.Name == "gobwas/json/json" })
		})
	}
}

// notation is how scripts write what a sub-protocol sends.
type notation interface {
	wire(text string) string
	script(wire string) string
}

type jsonFrames struct{}

// varying is what a script leaves out.
var varying = regexp.MustCompile(`"id":"[A-Z2-7]{26}",|,"message":"(\\.|[^"\\])*"`)

func (jsonFrames) wire(text string) string   { return text }
func (jsonFrames) script(wire string) string { return varying.ReplaceAllString(wire, "") }

// play has a client that knows nothing of the sub-protocol follow script.
func play(t *testing.T, s *handlertest.Server, name string, n notation, script string) {
	c, err := s.DialWith(&handlertest.DialOptions{SubProtocols: []string{name}, SubProtocol: raw.New(nil)})
	require.NoError(t, err)
	for line := range strings.Lines(script) {
		way, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch way {
		case ">":
			require.NoError(t, c.Send(&subprotocol.Message{Type: transport.MessageText, Body: []byte(n.wire(text))}))
		case "<":
			m, err := c.Receive()
			require.NoError(t, err, text)
			require.Equal(t, text, n.script(string(m.Body)))
		case "end":
			_, err := c.Receive()
			var said *transport.CloseError
			require.ErrorAs(t, err, &said)
			require.Equal(t, text, strconv.Itoa(int(said.Code)))
		}
	}
}
