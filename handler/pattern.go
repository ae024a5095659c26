package handler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/weftws/weft/subprotocol"
)

// pattern is what Mux.Route was told.
type pattern struct {
	text     string
	kind     subprotocol.Kind // 0 for all that have a destination
	segments []segment
}

// segment is one part of a pattern between two slashes. It matches one segment of a
// destination, but for rest, which is last and matches one or more.
type segment struct {
	how  matching
	text string // what a literal matches, the name of a wildcard
}

type matching uint8

const (
	literal matching = iota
	wild
	rest
)

// destined are the kinds that are routed by destination; a tree's place in a Mux is
// that of its kind here.
var destined = [...]subprotocol.Kind{
	subprotocol.KindSend, subprotocol.KindSubscribe, subprotocol.KindUnsubscribe, subprotocol.KindAck, subprotocol.KindNack,
}

// parsePattern reads "KIND destination", "KIND" or "destination".
func parsePattern(text string) (*pattern, error) {
	p := &pattern{text: text}
	word, destination, both := strings.Cut(text, " ")
	kind, known := kindNamed(word)
	switch {
	case text == "":
		return nil, errors.New("it is empty")
	case strings.ContainsFunc(text, unicode.IsControl):
		return nil, errors.New("it has control characters")
	case both && !known:
		return nil, fmt.Errorf("%q is no kind of message", word)
	case known && word != kind.String():
		return nil, fmt.Errorf("the kind is written %v", kind)
	case both && (destination == "" || destination[0] == ' '):
		return nil, errors.New("there is no destination behind the blank")
	case both:
		p.kind = kind
	case known:
		p.kind = kind
	default:
		word, _, _ = strings.Cut(text, "/")
		if kind, known := kindNamed(word); known && word == kind.String() {
			return nil, fmt.Errorf("there is no blank behind %v", kind)
		}
		destination = text
	}
	switch p.kind {
	case 0:
	case subprotocol.KindConnect, subprotocol.KindDisconnect:
		if both {
			return nil, fmt.Errorf("%v has no destination", p.kind)
		}
		return p, nil
	default:
		if !slices.Contains(destined[:], p.kind) {
			return nil, fmt.Errorf("no handler gets to see %v", p.kind)
		}
	}
	var err error
	p.segments, err = parseSegments(destination)
	return p, err
}

// kindNamed finds a kind by its name, also by one that is not in capitals.
func kindNamed(name string) (subprotocol.Kind, bool) {
	for k := subprotocol.KindConnect; k <= subprotocol.KindDisconnect; k++ {
		if strings.EqualFold(k.String(), name) {
			return k, true
		}
	}
	return 0, false
}

func parseSegments(destination string) ([]segment, error) {
	parts := strings.Split(destination, "/")
	segments := make([]segment, 0, len(parts))
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "" && last && i > 0 {
			return append(segments, segment{how: rest}), nil
		}
		if part == "{$}" {
			if !last {
				return nil, errors.New("{$} is not at the end")
			}
			return append(segments, segment{}), nil
		}
		name, wildcard := strings.CutPrefix(part, "{")
		if !wildcard {
			switch {
			case strings.ContainsAny(part, "{}"):
				return nil, fmt.Errorf("%q is not a whole segment in braces", part)
			case part == "*" || part == "**":
				return nil, fmt.Errorf("%s is no wildcard here: {name} stands for one segment, {name...} or a slash at the end for the rest", part)
			}
			segments = append(segments, segment{literal, part})
			continue
		}
		name, closed := strings.CutSuffix(name, "}")
		name, many := strings.CutSuffix(name, "...")
		switch {
		case !closed || strings.ContainsAny(name, "{}"):
			return nil, fmt.Errorf("%q is not a whole segment in braces", part)
		case !isName(name):
			return nil, fmt.Errorf("%q has no name made of letters, digits and _", part)
		case many && !last:
			return nil, fmt.Errorf("%q is not at the end", part)
		case slices.ContainsFunc(segments, func(s segment) bool { return s.how == wild && s.text == name }):
			return nil, fmt.Errorf("the name %q stands twice", name)
		case many:
			segments = append(segments, segment{rest, name})
		default:
			segments = append(segments, segment{wild, name})
		}
	}
	return segments, nil
}

// isName reports whether s is an identifier.
func isName(s string) bool {
	for i, c := range s {
		if !unicode.IsLetter(c) && c != '_' && (i == 0 || !unicode.IsDigit(c)) {
			return false
		}
	}
	return s != ""
}

// bind gives m the values of the wildcards. p matches destination.
func (p *pattern) bind(m *subprotocol.Message, destination string) {
	for _, s := range p.segments {
		if s.how == rest {
			if s.text != "" {
				m.SetPathValue(s.text, destination)
			}
			return
		}
		part, more, _ := strings.Cut(destination, "/")
		if s.how == wild {
			m.SetPathValue(s.text, part)
		}
		destination = more
	}
}

// relation says how the destinations that one pattern matches stand to those of
// another.
type relation uint8

const (
	disjoint relation = iota
	equal
	narrower
	wider
	overlapping // each matches some that the other does not
)

func compare(p, q []segment) relation {
	var less, more bool // p matches less than q in some place, more in another
	for i := 0; i < len(p) || i < len(q); i++ {
		if i == len(p) || i == len(q) {
			return disjoint
		}
		a, b := p[i], q[i]
		if a.how == rest || b.how == rest {
			less = less || a.how != rest
			more = more || b.how != rest
			break
		}
		if a.how == literal && b.how == literal {
			if a.text != b.text {
				return disjoint
			}
			continue
		}
		if a.how == literal && a.text == "" || b.how == literal && b.text == "" {
			return disjoint
		}
		less = less || a.how == literal
		more = more || b.how == literal
	}
	switch {
	case less && more:
		return overlapping
	case less:
		return narrower
	case more:
		return wider
	default:
		return equal
	}
}

// common is a destination that both match. They are not disjoint.
func common(p, q []segment) string {
	if len(p) < len(q) {
		p, q = q, p
	}
	var parts []string
	for i, s := range p {
		if t := q[min(i, len(q)-1)]; s.how != literal && t.how == literal && i < len(q) {
			s = t
		}
		switch {
		case s.how == literal:
			parts = append(parts, s.text)
		case s.text == "":
			parts = append(parts, "x")
		default:
			parts = append(parts, s.text)
		}
	}
	return strings.Join(parts, "/")
}

// node is a place in a tree of patterns: what came before a slash.
type node struct {
	literals map[string]*node
	wild     *node
	rest     *route // its pattern ends with rest here
	end      *route // its pattern ends here
}

// route is a pattern and what handles it in one tree.
type route struct {
	pattern *pattern
	handler Handler
	rank    rank
}

// rank says why a pattern is in the tree of a kind. Of two that match the same
// destinations the lower one gets the messages.
type rank uint8

const (
	rankStated  rank = iota // it names that kind
	rankImplied             // it names SUBSCRIBE, and the kind is about subscriptions
	rankAny                 // it names none
)

// find returns the most specific route for a destination, nil if there is none.
// Patterns that match the same destination never overlap otherwise than one inside
// the other, so that the first one found is that.
func (n *node) find(destination string) *route {
	part, more, slash := strings.Cut(destination, "/")
	if next := n.literals[part]; next != nil {
		if r := next.behind(more, slash); r != nil {
			return r
		}
	}
	if n.wild != nil && part != "" {
		if r := n.wild.behind(more, slash); r != nil {
			return r
		}
	}
	return n.rest
}

func (n *node) behind(destination string, slash bool) *route {
	if !slash {
		return n.end
	}
	return n.find(destination)
}

// insert puts r into the tree, unless one of lower rank has its place.
func (n *node) insert(r *route) {
	place := &n.end
	for _, s := range r.pattern.segments {
		switch s.how {
		case literal:
			next := n.literals[s.text]
			if next == nil {
				next = new(node)
				if n.literals == nil {
					n.literals = make(map[string]*node)
				}
				n.literals[s.text] = next
			}
			n = next
		case wild:
			if n.wild == nil {
				n.wild = new(node)
			}
			n = n.wild
		case rest:
			place = &n.rest
			continue
		}
		place = &n.end
	}
	if *place == nil || (*place).rank > r.rank {
		*place = r
	}
}

// conflict returns a route that r can't stand beside, nil if there is none.
func (n *node) conflict(r *route) *route {
	var found *route
	n.meeting(r.pattern.segments, func(other *route) bool {
		switch compare(r.pattern.segments, other.pattern.segments) {
		case overlapping:
			found = other
		case equal:
			if r.rank == other.rank {
				found = other
			}
		}
		return found == nil
	})
	return found
}

// meeting calls f for the routes below n that may have a destination in common with
// segments, until f returns false, which it reports.
func (n *node) meeting(segments []segment, f func(*route) bool) bool {
	if n.rest != nil && !f(n.rest) {
		return false
	}
	s := segments[0]
	visit := func(next *node) bool {
		switch {
		case next == nil:
			return true
		case s.how == rest:
			return (next.end == nil || f(next.end)) && next.meeting(segments, f)
		case len(segments) == 1:
			return next.end == nil || f(next.end)
		default:
			return next.meeting(segments[1:], f)
		}
	}
	if s.how == literal {
		return visit(n.literals[s.text]) && visit(n.wild)
	}
	for _, next := range n.literals {
		if !visit(next) {
			return false
		}
	}
	return visit(n.wild)
}
