package interop

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// deflating are the ways to negotiate permessage-deflate: the arguments of
// interop/server, and the engine.
var deflating = map[string]struct {
	engine string
	args   []string
}{
	"gobwas":   {"gobwas", []string{"-compress"}},
	"takeover": {"gobwas", []string{"-compress", "-takeover"}},
	"gorilla":  {"gorilla", []string{"-compress"}},
}

func eachDeflating(t *testing.T, f func(t *testing.T, kind, url string)) {
	t.Helper()
	for kind, d := range deflating {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			_, url := serverWith(t, "ws", d.args...)
			f(t, kind, url+"/"+d.engine+"/echo")
		})
	}
}

// npm's ws compresses.
func TestInteropDeflateNPM(t *testing.T) {
	foreign(t)
	t.Parallel()
	eachDeflating(t, func(t *testing.T, kind, url string) { script(t, nil, "node", "js/deflate.mjs", url, kind) })
}

// python3-websockets compresses.
func TestInteropDeflatePython(t *testing.T) {
	foreign(t)
	t.Parallel()
	eachDeflating(t, func(t *testing.T, kind, url string) { script(t, nil, python, "py/deflate.py", url, kind) })
}

const (
	plainAnswer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	declined    = "declined"
)

// short are the abbreviations of the table in the documentation of transport/gobwas.
var short = strings.NewReplacer(
	"pmd", "permessage-deflate", "snct", "server_no_context_takeover", "cnct", "client_no_context_takeover",
	"smwb", "server_max_window_bits", "cmwb", "client_max_window_bits",
)

// gobwasTable reads the table of that documentation: an offer, its answer, and its
// answer with context takeover.
func gobwasTable(t *testing.T) (rows [][3]string) {
	t.Helper()
	source, err := os.ReadFile("../transport/gobwas/gobwas.go")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(source), "//\toffer ")
	require.True(t, found)
	for line := range strings.Lines(table) {
		line, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "//\t")
		if !ok {
			if len(rows) > 0 {
				break
			}
			continue // the rest of the head
		}
		var row [3]string
		n := 0
		for cell := range strings.SplitSeq(line, "  ") {
			if cell = strings.TrimSpace(cell); cell != "" {
				require.Less(t, n, len(row), line)
				row[n] = short.Replace(cell)
				n++
			}
		}
		require.Equal(t, len(row), n, line)
		if row[1] == declined {
			row[2] = declined // the table says why
		}
		rows = append(rows, row)
	}
	require.Greater(t, len(rows), 20)
	return rows
}

// gorillaTable says what the documentation of transport/gorilla does.
var gorillaTable = map[string]string{
	"permessage-deflate":                                                         plainAnswer,
	"permessage-deflate; server_no_context_takeover":                             plainAnswer,
	"permessage-deflate; client_no_context_takeover":                             plainAnswer,
	"permessage-deflate; client_max_window_bits":                                 plainAnswer,
	"permessage-deflate; client_max_window_bits=8":                               plainAnswer,
	"permessage-deflate; client_max_window_bits=15":                              plainAnswer,
	"permessage-deflate; server_max_window_bits=8":                               declined,
	"permessage-deflate; server_max_window_bits=15":                              declined,
	"permessage-deflate; server_max_window_bits=15, permessage-deflate":          plainAnswer,
	"permessage-deflate; unknown":                                                declined,
	"permessage-deflate; client_max_window_bits=7":                               declined,
	"permessage-deflate; client_no_context_takeover; client_no_context_takeover": declined,
	"permessage-deflate; server_no_context_takeover=1":                           declined,
	"permessage-deflate; server_max_window_bits":                                 declined,
	"x-webkit-deflate-frame":                                                     declined,
}

// Each offer gets the answer that the package's documentation says.
func TestDeflateAnswers(t *testing.T) {
	t.Parallel()
	rows := gobwasTable(t)
	eachDeflating(t, func(t *testing.T, kind, url string) {
		want := map[string]string{"": declined}
		switch kind {
		case "gobwas":
			for _, row := range rows {
				want[row[0]] = row[1]
			}
		case "takeover":
			for _, row := range rows {
				want[row[0]] = row[2]
			}
		default:
			want = gorillaTable
		}
		for offer, answer := range want {
			require.Equal(t, answer, offered(t, url, offer), "offer %q", offer)
		}
	})
}

// Without -compress nothing is answered.
func TestDeflateIsOffByDefault(t *testing.T) {
	t.Parallel()
	_, url := serverWith(t, "ws")
	for _, path := range echoes {
		require.Equal(t, declined, offered(t, url+path, "permessage-deflate"))
	}
}

// offered opens a connection with an offer of extensions and returns the answer.
func offered(t *testing.T, url, offer string) string {
	t.Helper()
	addr, path, _ := strings.Cut(strings.TrimPrefix(url, "ws://"), "/")
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	if offer != "" {
		offer = "Sec-WebSocket-Extensions: " + offer + "\r\n"
	}
	_, err = fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", path, addr, offer)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	if answers := resp.Header.Values("Sec-WebSocket-Extensions"); len(answers) > 0 {
		return strings.Join(answers, ", ")
	}
	return declined
}
