package handlertest_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/handlertest"
	"github.com/weftws/weft/subprotocol/stomp"
)

// TestSpecSTOMP holds a session that speaks STOMP against scripts, as TestSpec does. A |
// is the end of a line; the NUL behind a frame is left out, and so are texts for people and
// what counts bytes. What differs from run to run is a *.
func TestSpecSTOMP(t *testing.T) {
	t.Parallel()
	const (
		connect12 = `> CONNECT|accept-version:1.2||
			< CONNECTED|version:1.2|session:*|server:weft|heart-beat:10000,10000||
			`
		connect11 = `> CONNECT|accept-version:1.1||
			< CONNECTED|version:1.1|session:*|server:weft|heart-beat:10000,10000||
			`
		connect10 = `> CONNECT||
			< CONNECTED|version:1.0|session:*|server:weft||
			`
	)
	for name, script := range map[string]string{
		"the newest version of both": `> STOMP|accept-version:1.0,1.1,1.2,1.3|host:/|token:ada|receipt:0||
			< CONNECTED|version:1.2|session:*|server:weft|heart-beat:10000,10000|user-name:ada||
			> DISCONNECT|receipt:bye||
			< RECEIPT|receipt-id:bye||
			end 1000`,
		"no version of both": `> CONNECT|accept-version:1.3,2.0||
			< ERROR|version:1.0,1.1,1.2||version
			end 1002`,
		"connect comes first": `> SEND|destination:/app/time||
			< ERROR||not-connected
			end 1002`,
		"a refused connect": `> CONNECT|accept-version:1.2|token:forged||
			< ERROR||refused
			end 1008`,
		"connect again": connect12 + `> CONNECT|accept-version:1.2||
			< ERROR||connected
			end 1002`,
		"an answer and a receipt": connect12 + `> SEND|destination:/app/time|receipt:7||
			< MESSAGE|subscription:reply|message-id:*|receipt-id:7|destination:/app/time|content-type:application/json||"12:00"
			< RECEIPT|receipt-id:7||
			> SEND|destination:/app/time|reply-to:answers||
			< MESSAGE|subscription:answers|message-id:*|destination:/app/time|content-type:application/json||"12:00"`,
		"an unknown destination": connect12 + `> SEND|destination:/app/nowhere|receipt:8||
			> SEND|destination:/app/time|receipt:9||
			< ERROR|receipt-id:8||not-found
			end 1008`,
		"a handler fails": connect12 + `> SEND|destination:/app/fail|receipt:9||
			< ERROR|receipt-id:9||internal
			end 1011`,
		"subscriptions": connect12 + `> SUBSCRIBE|id:1|destination:/topic/a|receipt:1||
			< RECEIPT|receipt-id:1||
			> SEND|destination:/topic/a|content-type:text/plain|x\c1:a\nb||hello
			< MESSAGE|subscription:1|message-id:*|destination:/topic/a|content-type:text/plain|x\c1:a\nb||hello
			> UNSUBSCRIBE|id:1|receipt:2||
			< RECEIPT|receipt-id:2||
			> SEND|destination:/topic/a|receipt:3||
			< RECEIPT|receipt-id:3||
			> UNSUBSCRIBE|id:1|receipt:4||
			< ERROR|receipt-id:4|subscription:1||no-subscription
			end 1008`,
		"an id twice": connect11 + `> SUBSCRIBE|id:1|destination:/topic/a||
			> SUBSCRIBE|id:1|destination:/topic/b|receipt:2||
			< ERROR|receipt-id:2|subscription:1||subscription-exists
			end 1008`,
		"an ack of what was not sent": connect12 + `> SUBSCRIBE|id:1|destination:/topic/a||
			> ACK|id:7|receipt:2||
			< ERROR|receipt-id:2||unknown-ack
			end 1002`,
		"an ack for no subscription": connect11 + `> ACK|message-id:7|subscription:1|receipt:2||
			< ERROR|receipt-id:2|subscription:1||no-subscription
			end 1008`,
		"the server ends a subscription": connect12 + `> SUBSCRIBE|id:2|destination:/topic/a||
			> SEND|destination:/app/evict||
			< ERROR|subscription:2||forbidden
			end 1008`,
		"1.0 has subscriptions without id": connect10 + `> SUBSCRIBE|destination:/topic/a|receipt:1||
			< RECEIPT|receipt-id:1||
			> SEND|destination:/topic/a||hello
			< MESSAGE|message-id:*|destination:/topic/a||hello
			> UNSUBSCRIBE|destination:/topic/a|receipt:2||
			< RECEIPT|receipt-id:2||
			> NACK|message-id:1||
			< ERROR||unknown-command
			end 1002`,
		"transactions": connect12 + `> BEGIN|transaction:t|receipt:1||
			< RECEIPT|receipt-id:1||
			> SEND|transaction:t|receipt:3|destination:/app/time||
			> SEND|transaction:t|receipt:4|destination:/topic/a||
			> COMMIT|transaction:t|receipt:5||
			< MESSAGE|subscription:reply|message-id:*|receipt-id:3|destination:/app/time|content-type:application/json||"12:00"
			< RECEIPT|receipt-id:3||
			< RECEIPT|receipt-id:4||
			< RECEIPT|receipt-id:5||
			> BEGIN|transaction:t||
			> SEND|transaction:t|receipt:6|destination:/app/time||
			> ABORT|transaction:t|receipt:7||
			< RECEIPT|receipt-id:7||
			> COMMIT|transaction:t|receipt:8||
			< ERROR|receipt-id:8||no-transaction
			end 1008`,
		"a transaction fails": connect12 + `> BEGIN|transaction:t||
			> SEND|transaction:t|receipt:1|destination:/app/time||
			> SEND|transaction:t|receipt:2|destination:/app/fail||
			> COMMIT|transaction:t|receipt:3||
			< ERROR|receipt-id:2||internal
			end 1011`,
		"a transaction fails that asked for no receipt but the last": connect12 + `> BEGIN|transaction:t||
			> SEND|transaction:t|destination:/topic/a||
			> SEND|transaction:t|destination:/app/fail||
			> COMMIT|transaction:t|receipt:3||
			< ERROR|receipt-id:3||internal
			end 1011`,
		"what was asked before is answered before the end": connect12 + `> SEND|destination:/topic/a|receipt:1||
			> DISCONNECT|receipt:2||
			> SEND|destination:/topic/a|receipt:3||
			< RECEIPT|receipt-id:1||
			< RECEIPT|receipt-id:2||
			end 1000`,
		"no STOMP": connect12 + `> {"type":"send"}||
			< ERROR||unknown-command
			end 1002`,
		"too large": connect12 + `> SEND|destination:/topic/a||` + strings.Repeat("x", 4096) + `
			< ERROR||too-large
			end 1009`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows(t, func(t *testing.T, st handlertest.Stack) {
				play(t, st.Start(t, specHandler(), handler.WithMaxFrame(4096)), stomp.V12, stompFrames{}, script)
			}, func(st handlertest.Stack) bool { return st.Name == "pipe/stomp/json" || st.Name == "gobwas/stomp/json" })
		})
	}
}

type stompFrames struct{}

func (stompFrames) wire(text string) string { return strings.ReplaceAll(text, "|", "\n") + "\x00" }

var (
	stompVarying = regexp.MustCompile(`(session|message-id):[^|]*`)
	stompLeftOut = regexp.MustCompile(`(content-length):[^|]*\||^\n|\x00$`)
	stompError   = regexp.MustCompile(`^(ERROR\|)(?:(?:content-type|message):[^|]*\|)*(.*?)(?:(?:content-type|message):[^|]*\|)*(\|[a-z-]+): .*`)
)

func (stompFrames) script(wire string) string {
	text := stompLeftOut.ReplaceAllString(strings.ReplaceAll(wire, "\n", "|"), "")
	return stompError.ReplaceAllString(stompVarying.ReplaceAllString(text, "$1:*"), "$1$2$3")
}
