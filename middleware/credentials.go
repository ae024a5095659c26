package middleware

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// The ways in which credentials were shown: Credentials.Scheme.
const (
	SchemeBearer = "bearer" // Authorization: Bearer, RFC 6750 section 2.1
	SchemeBasic  = "basic"  // Authorization: Basic, RFC 7617
	SchemeLogin  = "login"  // the headers login and passcode of a Connect, as STOMP has them
	SchemeQuery  = "query"  // the query parameter AuthOptions.QueryParameter
	SchemeCookie = "cookie" // the cookie AuthOptions.Cookie
)

// Credentials are what a client has shown. They print without their secrets.
type Credentials struct {
	// Scheme says how they were shown.
	Scheme string

	// Token is that of SchemeBearer, SchemeQuery and SchemeCookie.
	Token string `json:"-"`

	// User and Password are those of SchemeBasic and SchemeLogin.
	User     string
	Password string `json:"-"`
}

// String names the scheme.
func (c Credentials) String() string { return "credentials(" + c.Scheme + ")" }

// Format writes String, whatever the verb.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

var _ fmt.Formatter = Credentials{}

// maxCredentials bounds the bytes of a token, and of a user with the password.
const maxCredentials = 8192

// fromHandshake finds the credentials of a request: the Authorization field, then the
// query parameter, then the cookie.
func (o *AuthOptions) fromHandshake(h *transport.Handshake) (Credentials, error) {
	if h.Header == nil {
		return Credentials{}, ErrNoCredentials
	}
	if vs := h.Header.Values("Authorization"); len(vs) > 0 {
		if len(vs) > 1 {
			return Credentials{}, ErrMalformedCredentials
		}
		return parseAuthorization(vs[0])
	}
	if o.QueryParameter != "" {
		q, err := url.ParseQuery(h.Query)
		if vs := q[o.QueryParameter]; err != nil || len(vs) > 1 {
			return Credentials{}, ErrMalformedCredentials
		} else if len(vs) == 1 {
			return token(SchemeQuery, vs[0])
		}
	}
	if o.Cookie != "" {
		// Cookies of others that are malformed don't matter.
		r := http.Request{Header: http.Header{"Cookie": h.Header.Values("Cookie")}}
		found := r.CookiesNamed(o.Cookie)
		if len(found) > 1 {
			return Credentials{}, ErrMalformedCredentials
		} else if len(found) == 1 {
			return token(SchemeCookie, found[0].Value)
		}
	}
	return Credentials{}, ErrNoCredentials
}

// fromMessage finds the credentials of a Connect: its header authorization, then
// login and passcode.
func fromMessage(m *subprotocol.Message) (Credentials, error) {
	for i := range m.Header {
		if strings.EqualFold(m.Header[i].Name, "authorization") {
			return parseAuthorization(m.Header[i].Value)
		}
	}
	user, password := m.Header.Get("login"), m.Header.Get("passcode")
	if user == "" && password == "" {
		return Credentials{}, ErrNoCredentials
	}
	return userAndPassword(SchemeLogin, user, password)
}

// parseAuthorization parses the value of an Authorization field (RFC 9110 section
// 11.6.2): Bearer or Basic.
func parseAuthorization(v string) (Credentials, error) {
	scheme, rest, ok := strings.Cut(v, " ")
	if !ok || len(v) > 2*maxCredentials {
		return Credentials{}, ErrMalformedCredentials
	}
	rest = strings.Trim(rest, " ")
	switch {
	case strings.EqualFold(scheme, SchemeBearer):
		if !isToken68(rest) {
			return Credentials{}, ErrMalformedCredentials
		}
		return token(SchemeBearer, rest)
	case strings.EqualFold(scheme, SchemeBasic):
		b, err := base64.StdEncoding.Strict().DecodeString(rest)
		if err != nil || strings.ContainsAny(rest, "\r\n") {
			return Credentials{}, ErrMalformedCredentials
		}
		user, password, ok := strings.Cut(string(b), ":")
		if !ok {
			return Credentials{}, ErrMalformedCredentials
		}
		return userAndPassword(SchemeBasic, user, password)
	}
	return Credentials{}, ErrMalformedCredentials
}

func token(scheme, t string) (Credentials, error) {
	if t == "" || len(t) > maxCredentials || !isText(t) {
		return Credentials{}, ErrMalformedCredentials
	}
	return Credentials{Scheme: scheme, Token: strings.Clone(t)}, nil
}

func userAndPassword(scheme, user, password string) (Credentials, error) {
	if user == "" || len(user)+len(password) > maxCredentials || !isText(user) || !isText(password) {
		return Credentials{}, ErrMalformedCredentials
	}
	return Credentials{Scheme: scheme, User: strings.Clone(user), Password: strings.Clone(password)}, nil
}

// isText reports whether s is UTF-8 without control characters (RFC 7617 section 2).
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

// isToken68 reports whether s is a token68 (RFC 9110 section 11.2).
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		c := body[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~+/", c) >= 0) {
			return false
		}
	}
	return body != ""
}

// Why somebody was not let in: a verify function returns them, and AuthOptions.Refused
// is told.
var (
	// ErrNoCredentials: none were shown where some are needed.
	ErrNoCredentials = errors.New("middleware: no credentials")
	// ErrMalformedCredentials: what was shown is not of a form that is known, or is
	// ambiguous. Verify is not asked.
	ErrMalformedCredentials = errors.New("middleware: malformed credentials")
	// ErrExpired: the credentials are no longer valid. The client learns that.
	ErrExpired = errors.New("middleware: credentials have expired")
	// ErrUnavailable: verify could not find out. The client is told to come again,
	// and this does not count as a wrong guess.
	ErrUnavailable = errors.New("middleware: credentials can't be verified now")
	// ErrUserChanged: fresh credentials are those of another user.
	ErrUserChanged = errors.New("middleware: credentials of another user")

	errNoUser = errors.New("middleware: verify returned no user")
)
