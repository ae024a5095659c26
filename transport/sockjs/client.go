package sockjs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/internal/upgrade"
)

// client makes the requests of one Dial.
type client struct {
	http    http.Client
	base    *url.URL // with the query of all requests
	header  http.Header
	release func() // closes idle connections
}

// newSession returns the part of a path that the client chooses: a number, which balancers
// may use, and the session's id, which must not be guessed.
func newSession() string { return fmt.Sprintf("%03d/%s", mathrand.IntN(1000), rand.Text()) }

// do makes one request. Its answer is the caller's to close.
func (c *client) do(ctx context.Context, method string, u *url.URL, header http.Header, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header = c.header.Clone()
	for k, v := range header {
		r.Header[k] = v
	}
	// What is compressed on the way may stay there.
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := c.http.Do(r)
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // the URL may have secrets
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return resp, err
}

// refused is the error for an answer that has not the status that it must have.
func refused(resp *http.Response) error {
	r := upgrade.ReadRefusal(resp)
	if to := resp.Header.Get("Location"); to != "" && resp.StatusCode < http.StatusBadRequest {
		return fmt.Errorf("redirects are not followed, here to %.200q: %w", to, r)
	}
	return r
}

// info is what a server says of itself.
type info struct {
	WebSocket *bool  `json:"websocket"`
	BaseURL   string `json:"base_url"`

	roundTrip time.Duration
}

// maxInfo bounds the answer in bytes.
const maxInfo = 64 << 10

func (d *Dialer) info(ctx context.Context, c *client) (in info, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.opts.InfoTimeout, fmt.Errorf("no answer within %v: %w", d.opts.InfoTimeout, transport.ErrTimeout))
	defer cancel()
	began := time.Now()
	resp, err := c.do(ctx, http.MethodGet, c.base.JoinPath("info"), nil, nil)
	if err != nil {
		return in, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return in, refused(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxInfo+1))
	switch {
	case ctx.Err() != nil:
		return in, context.Cause(ctx)
	case err != nil:
		return in, err
	case len(body) > maxInfo:
		return in, fmt.Errorf("answer is over the limit of %d bytes", maxInfo)
	}
	in.roundTrip = time.Since(began)
	return in, json.Unmarshal(body, &in)
}

// credentials are the fields that a stranger does not get.
var credentials = []string{"Authorization", "Cookie", "Cookie2", "Proxy-Authorization"}

// follow makes all further requests go to baseURL, if it is not "".
func (c *client) follow(baseURL string) error {
	if baseURL == "" {
		return nil
	}
	u, err := c.base.Parse(baseURL)
	switch {
	case err != nil:
		return errors.New("base_url is no URL")
	case u.Scheme != "https" && (u.Scheme != "http" || c.base.Scheme == "https"), u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("base_url %.200q is not the http or https URL of a place that may stand for %s", baseURL, c.base.Host)
	}
	if host, own := u.Hostname(), c.base.Hostname(); strings.EqualFold(host, own) || strings.HasSuffix(strings.ToLower(host), "."+strings.ToLower(own)) {
		u.RawQuery = c.base.RawQuery
	} else {
		for _, name := range credentials {
			c.header.Del(name)
		}
	}
	c.base = u
	return nil
}
