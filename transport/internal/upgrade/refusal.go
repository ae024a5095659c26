package upgrade

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/weftws/weft/transport"
)

// Refusal is what the error of an acceptor shows to the client: the text of one that is
// no refusal is kept from it.
func Refusal(err error) *transport.Refusal {
	if r, ok := errors.AsType[*transport.Refusal](err); ok {
		if r.Status < 400 || r.Status > 599 {
			return &transport.Refusal{Status: http.StatusInternalServerError, Text: r.Text, Header: r.Header}
		}
		return r
	}
	return &transport.Refusal{Status: http.StatusInternalServerError, Text: http.StatusText(http.StatusInternalServerError)}
}

// setHeader puts the header of r over h.
func setHeader(h http.Header, r *transport.Refusal) {
	for k, v := range r.Header {
		h[k] = v
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
}

// WriteRefusal answers a request with r.
func WriteRefusal(w http.ResponseWriter, r *transport.Refusal) {
	setHeader(w.Header(), r)
	w.WriteHeader(r.Status)
	_, _ = fmt.Fprintln(w, r.Text)
}

// AppendRefusal encodes r as a whole HTTP answer that ends the connection.
func AppendRefusal(b []byte, r *transport.Refusal) []byte {
	h := make(http.Header)
	setHeader(h, r)
	h.Set("Content-Length", fmt.Sprint(len(r.Text)+1))
	if h.Get("Upgrade") == "" {
		h.Set("Connection", "close")
	}
	buf := bytes.NewBuffer(fmt.Appendf(b, "HTTP/1.1 %d %s\r\n", r.Status, http.StatusText(r.Status)))
	_ = h.Write(buf)
	fmt.Fprintf(buf, "\r\n%s\n", r.Text)
	return buf.Bytes()
}

// maxRefusalText bounds what is kept of the body of a refusal.
const maxRefusalText = 1024

// ReadRefusal is the refusal that a server has answered with.
func ReadRefusal(resp *http.Response) *transport.Refusal {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusalText))
	return &transport.Refusal{Status: resp.StatusCode, Text: strings.TrimSpace(string(text)), Header: resp.Header}
}
