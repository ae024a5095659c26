package middleware

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// RateLimitOptions say how RateLimitBy behaves. The zero value is the default.
type RateLimitOptions struct {
	// Counts says which messages count; the others pass. The default is Connect,
	// Send and Subscribe. A Disconnect always passes. Whoever counts Ack should know
	// that a client sends as many as it is sent messages.
	Counts func(k subprotocol.Kind) bool

	// Close ends a session that exceeds the limit, with status 1008. By default it
	// lives on and only the message is refused. The first Connect is refused
	// either way, and that ends its session.
	Close bool

	// Keys bounds how many keys are known at a time. The default is 65536, at about
	// 300 bytes each. The one that was silent longest is forgotten first, and
	// begins with a full burst again: whoever has more keys than this gets around
	// the limit.
	Keys int
}

// RateLimit lets each session send perSecond messages a second, and burst at once
// after a silence. A message over that is refused with an Error of code
// "rate-exceeded"; the session lives on. Connect, Send and Subscribe count; the
// messages of a transaction count when it commits.
//
// It belongs outside of Authenticate, so that guessing passwords is limited too. It
// panics if a number is not positive.
func RateLimit(perSecond float64, burst int) func(handler.Handler) handler.Handler {
	return RateLimitBy(nil, perSecond, burst, nil)
}

// RateLimitBy is RateLimit with options, over all sessions with the same key: see
// ByUser and ByAddress. What has the key "" is not limited. A nil key means per
// session. Endpoints that are given the same value count together.
//
// What has been silent for burst/perSecond seconds has its full burst again and is
// forgotten without loss. Limiting by user belongs inside of Authenticate, which says
// who that is.
func RateLimitBy(key func(r handler.Request) string, perSecond float64, burst int, opts *RateLimitOptions) func(handler.Handler) handler.Handler {
	var o RateLimitOptions
	if opts != nil {
		o = *opts
	}
	if !(perSecond > 0) || burst <= 0 || o.Keys < 0 {
		panic("middleware: RateLimit: the rate, the burst and the number of keys must be positive")
	}
	if o.Counts == nil {
		o.Counts = counts
	}
	if o.Keys == 0 {
		o.Keys = 65536
	}
	l := &limits{key: key, rate: rate.Limit(perSecond), burst: burst}
	if key != nil {
		full := min(float64(burst)/perSecond, 1e9) + 1 // seconds, within what a Duration holds
		l.table = newTable[string, *rate.Limiter](o.Keys, time.Duration(full*float64(time.Second)))
	}
	exceeded := &subprotocol.Error{Code: "rate-exceeded", Text: "too many messages in a short time", Fatal: o.Close}
	if o.Close {
		exceeded.Status = transport.StatusPolicyViolation
	}
	return func(next handler.Handler) handler.Handler {
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			k := r.Message.Kind
			if k != subprotocol.KindDisconnect && o.Counts(k) && !l.allow(r) {
				return exceeded
			}
			return next.Handle(ctx, r)
		})
	}
}

// limits are the limiters of one RateLimit. Its address is the key of a session's
// own one.
type limits struct {
	key   func(handler.Request) string
	rate  rate.Limit
	burst int
	table *table[string, *rate.Limiter] // nil per session
}

func (l *limits) allow(r handler.Request) bool {
	now := time.Now()
	if l.table == nil {
		// Messages of one session are handled one after the other.
		lim, ok := r.Session.Value(l).(*rate.Limiter)
		if !ok {
			lim = rate.NewLimiter(l.rate, l.burst)
			r.Session.SetValue(l, lim)
		}
		return lim.AllowN(now, 1)
	}
	key := l.key(r)
	if key == "" {
		return true
	}
	key = tableKey(key)
	l.table.Lock()
	lim, ok := l.table.get(key, now)
	if !ok {
		lim = rate.NewLimiter(l.rate, l.burst)
		key = strings.Clone(key)
	}
	l.table.put(key, lim, now)
	l.table.Unlock()
	return lim.AllowN(now, 1)
}

// ByUser is a key for limits: the session's user, or its ID where it has none.
func ByUser(r handler.Request) string {
	if u := r.Session.User(); u != "" {
		return u
	}
	return r.Session.ID()
}

// ByAddress is a key for limits: the other end's IP address without its port, and of
// an IPv6 address the first 64 bits, because one client has all the rest. It is
// the session's ID where the transport has no IP addresses. Behind a proxy all
// sessions have the proxy's.
func ByAddress(r handler.Request) string {
	a, ok := r.Session.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return r.Session.ID()
	}
	return addressKey(a.AddrPort().Addr(), r.Session.ID())
}

func addressKey(ip netip.Addr, otherwise string) string {
	ip = ip.Unmap().WithZone("")
	switch {
	case !ip.IsValid():
		return otherwise
	case ip.Is4():
		return ip.String()
	}
	p, _ := ip.Prefix(64) // no error: an IPv6 address has 64 bits
	return p.Addr().String()
}
