package middleware

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// Rule says who may do something. Allow and Deny make it.
type Rule struct {
	pattern pattern
	who     func(r handler.Request) bool
}

// Allow lets those for whom who is true do what pattern says:
//
//	SEND /app/rooms/{room}/say    one kind, SEND or SUBSCRIBE, and a destination
//	SUBSCRIBE /topic/             all destinations that begin with /topic/
//	SUBSCRIBE /topic/{name...}    the same, and the rest has a name; {name...} alone is all
//	/app/news                     both kinds
//	SEND                          without a destination, as sub-protocol raw has it
//
// {room} stands for one whole segment between slashes. What wildcards matched is
// found by r.PathValue, also in who; a router's later ones of the same name replace
// it.
//
// It panics if pattern has another form or who is nil.
func Allow(pattern string, who func(r handler.Request) bool) Rule {
	if who == nil {
		panic("middleware: Allow without a predicate: Anyone says that all may")
	}
	p, err := parsePattern(pattern)
	if err != nil {
		panic(err.Error())
	}
	return Rule{p, who}
}

// Deny lets nobody do what pattern says: for what a later Allow is too broad for.
func Deny(pattern string) Rule { return Allow(pattern, func(handler.Request) bool { return false }) }

// Anyone is true for everybody, also for those without a user.
func Anyone(handler.Request) bool { return true }

// SignedIn is true for sessions that have a user.
func SignedIn(r handler.Request) bool { return r.Session.User() != "" }

// Role is true for sessions whose Identity has one of the roles.
func Role(names ...string) func(r handler.Request) bool {
	return func(r handler.Request) bool {
		id, ok := IdentityOf(r.Session)
		return ok && slices.ContainsFunc(names, func(n string) bool { return slices.Contains(id.Roles, n) })
	}
}

// Authorize decides about Send and Subscribe by kind and destination. The first
// rule whose pattern matches decides; where none does the message is refused. What
// is refused is answered with an Error of code "forbidden", and the session lives
// on. A message of another kind passes if clients may send it at all: Unsubscribe,
// Ack and Nack are about what was allowed before.
//
// Nobody gets around a rule by writing a destination differently, also where the
// handlers behind read it leniently. A destination that differs from a pattern only in
// case, or in a slash that one of them begins or ends with, is refused by that
// rule. So is, before all rules, one that is not clean: with an empty segment (//
// or a slash at the end), with the segments . and .., with a segment that begins
// or ends with a blank, with a backslash, or with what is not printable. Nothing
// is decoded or normalized: %2e is three characters, and an accent that is a
// character of its own makes another destination.
//
// It belongs inside of Authenticate and around the Mux.
func Authorize(rules ...Rule) func(handler.Handler) handler.Handler {
	rules = slices.Clone(rules)
	for _, r := range rules {
		if r.who == nil {
			panic("middleware: Authorize: a Rule that neither Allow nor Deny has made")
		}
	}
	return func(next handler.Handler) handler.Handler {
		return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
			switch r.Message.Kind {
			case subprotocol.KindConnect, subprotocol.KindDisconnect, subprotocol.KindHeartbeat,
				subprotocol.KindUnsubscribe, subprotocol.KindAck, subprotocol.KindNack:
				return next.Handle(ctx, r)
			case subprotocol.KindSend, subprotocol.KindSubscribe:
				if isClean(r.Message.Destination) && allowed(rules, r) {
					return next.Handle(ctx, r)
				}
			}
			return &subprotocol.Error{
				Code:         "forbidden",
				Text:         r.Message.Kind.String() + " is not allowed here",
				Subscription: r.Message.Subscription,
			}
		})
	}
}

func allowed(rules []Rule, r handler.Request) bool {
	for i := range rules {
		rule := &rules[i]
		switch rule.pattern.match(r.Message.Kind, r.Message.Destination) {
		case matchExact:
			rule.pattern.setValues(r.Message)
			return rule.who(r)
		case matchAlmost:
			return false
		}
	}
	return false
}

// isClean reports whether everybody who takes a destination apart finds the same
// segments in it.
func isClean(destination string) bool {
	if destination == "" {
		return true
	}
	if !utf8.ValidString(destination) || strings.Contains(destination, `\`) {
		return false
	}
	rest := strings.TrimPrefix(destination, "/")
	for more := true; more; {
		var seg string
		seg, rest, more = strings.Cut(rest, "/")
		if seg == "" || seg == "." || seg == ".." || seg != strings.TrimSpace(seg) {
			return false
		}
	}
	return !strings.ContainsFunc(destination, func(c rune) bool { return !unicode.IsPrint(c) })
}

// pattern is what a Rule is about.
type pattern struct {
	send, subscribe bool
	none            bool // without a destination
	rooted          bool // begins with a slash
	segments        []segment
	literal         bool   // one of them is
	open            bool   // more segments may follow, and one must
	rest            string // their name
}

// segment is a literal, or a wildcard that has a name.
type segment struct{ literal, name string }

func parsePattern(s string) (pattern, error) {
	bad := func(why string) (pattern, error) {
		return pattern{}, fmt.Errorf("middleware: the pattern %q %s", s, why)
	}
	p := pattern{send: true, subscribe: true}
	kind, path, spaced := strings.Cut(s, " ")
	switch {
	case kind == "SEND":
		p.subscribe = false
	case kind == "SUBSCRIBE":
		p.send = false
	case spaced || isKind(s):
		return bad("has a kind that is neither SEND nor SUBSCRIBE")
	default:
		path = s
	}
	if path == "" {
		if spaced || s == "" {
			return bad("has no destination")
		}
		p.none = true
		return p, nil
	}
	path, p.rooted = strings.CutPrefix(path, "/")
	if path == "" {
		p.open = true
		return p, nil
	}
	names := make(map[string]bool)
	for more := true; more; {
		var seg string
		seg, path, more = strings.Cut(path, "/")
		name, wild := strings.CutPrefix(seg, "{")
		switch {
		case wild:
			name, closed := strings.CutSuffix(name, "}")
			name, open := strings.CutSuffix(name, "...")
			if !closed || strings.ContainsAny(name, "{}.$ ") || name == "" || names[name] {
				return bad("has a wildcard that is not {name} or {name...}, or two of one name")
			}
			names[name] = true
			if open {
				if more {
					return bad("has something behind {name...}")
				}
				p.open, p.rest = true, name
				return p, nil
			}
			p.segments = append(p.segments, segment{name: name})
		case strings.ContainsAny(seg, "{}"):
			return bad("has a wildcard that is not a whole segment")
		case !isClean(seg) || seg == "":
			return bad("has a segment that no destination may have")
		default:
			p.segments = append(p.segments, segment{literal: seg})
			p.literal = true
		}
		if more && path == "" {
			p.open = true
			return p, nil
		}
	}
	return p, nil
}

// isKind reports whether s is the name of a kind, in capitals or not.
func isKind(s string) bool {
	for k := subprotocol.KindConnect; k <= subprotocol.KindDisconnect; k++ {
		if strings.EqualFold(k.String(), s) {
			return true
		}
	}
	return false
}

// matching says how well a destination fits a pattern.
type matching uint8

const (
	matchNone   matching = iota
	matchAlmost          // but for case, or for the slash at the end of a prefix
	matchExact
)

func (p *pattern) match(k subprotocol.Kind, destination string) matching {
	if k == subprotocol.KindSend && !p.send || k == subprotocol.KindSubscribe && !p.subscribe {
		return matchNone
	}
	if p.none || destination == "" {
		if p.none && destination == "" {
			return matchExact
		}
		return matchNone
	}
	if p.open && !p.rooted && len(p.segments) == 0 {
		return matchExact // {name...} alone
	}
	result := matchExact
	rest, rooted := strings.CutPrefix(destination, "/")
	if rooted != p.rooted {
		if !p.literal {
			return matchNone
		}
		result = matchAlmost
	}
	more := true
	for i := range p.segments {
		if !more {
			return matchNone
		}
		var seg string
		seg, rest, more = strings.Cut(rest, "/")
		switch literal := p.segments[i].literal; {
		case literal == "" || literal == seg:
		case strings.EqualFold(literal, seg):
			result = matchAlmost
		default:
			return matchNone
		}
	}
	switch {
	case more == p.open:
		return result
	case p.open && len(p.segments) > 0:
		return matchAlmost
	default:
		return matchNone
	}
}

// setValues tells m what the wildcards match in its destination.
func (p *pattern) setValues(m *subprotocol.Message) {
	rest := m.Destination
	if p.rooted {
		rest = strings.TrimPrefix(rest, "/")
	}
	for i := range p.segments {
		var seg string
		seg, rest, _ = strings.Cut(rest, "/")
		if name := p.segments[i].name; name != "" {
			m.SetPathValue(name, seg)
		}
	}
	if p.rest != "" {
		m.SetPathValue(p.rest, rest)
	}
}
