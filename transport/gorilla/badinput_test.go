package gorilla

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // the protocol's hash
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rawDial connects to a server of serve, with TLS where its URL asks for it.
func rawDial(t testing.TB, url string) net.Conn {
	t.Helper()
	var nc net.Conn
	var err error
	if strings.HasPrefix(url, "wss") {
		nc, err = tls.Dial("tcp", hostOf(url), clientTLS)
	} else {
		nc, err = net.Dial("tcp", hostOf(url))
	}
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	return nc
}

// answerTo sends a request and reads the answer with its body.
func answerTo(t testing.TB, url, request string) (*http.Response, string) {
	t.Helper()
	nc := rawDial(t, url)
	go func() { _, _ = io.WriteString(nc, request) }()
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	require.NoError(t, err)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

// request is upgradeRequest with one line replaced, or added if old is "".
func request(old, new string) string {
	if old == "" {
		return strings.TrimSuffix(upgradeRequest, "\r\n") + new + "\r\n\r\n"
	}
	if !strings.Contains(upgradeRequest, old) {
		panic("no such line: " + old)
	}
	return strings.Replace(upgradeRequest, old, new, 1)
}

func acceptOf(r *http.Request) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // the protocol's hash
	return base64.StdEncoding.EncodeToString(sum[:])
}
