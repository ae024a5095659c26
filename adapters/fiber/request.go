package fiber

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	gofiber "github.com/gofiber/fiber/v3"
)

// newRequest is c's request as net/http would have it. It shares no memory with c, which
// fasthttp uses for the next request.
func newRequest(c gofiber.Ctx) (*http.Request, error) {
	ctx := c.RequestCtx()
	head := &ctx.Request.Header
	uri := string(head.RequestURI())
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return nil, err
	}
	r := &http.Request{
		Method:     string(head.Method()),
		URL:        u,
		Proto:      string(head.Protocol()),
		Header:     make(http.Header),
		Body:       http.NoBody,
		Host:       string(ctx.Host()),
		RemoteAddr: ctx.RemoteAddr().String(),
		RequestURI: uri,
		TLS:        ctx.TLSConnectionState(),
	}
	r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(r.Proto)
	for k, v := range head.All() {
		if name := textproto.CanonicalMIMEHeaderKey(string(k)); name != "Host" {
			r.Header.Add(name, string(v))
		}
	}
	return r.WithContext(newValues(c)), nil
}

// values is c's context with its Locals.
type values struct {
	context.Context
	locals map[any]any
	local  net.Addr
}

func newValues(c gofiber.Ctx) *values {
	v := &values{Context: c.Context(), locals: make(map[any]any), local: c.RequestCtx().LocalAddr()}
	c.RequestCtx().VisitUserValuesAll(func(key, value any) {
		switch value := value.(type) {
		case string: // fiber's own strings are fasthttp's memory
			v.locals[key] = strings.Clone(value)
		case []byte:
			v.locals[key] = bytes.Clone(value)
		default:
			v.locals[key] = value
		}
	})
	return v
}

// Value prefers what is in Locals.
func (v *values) Value(key any) any {
	if key == http.LocalAddrContextKey {
		return v.local
	}
	if value, ok := v.locals[key]; ok {
		return value
	}
	return v.Context.Value(key)
}
