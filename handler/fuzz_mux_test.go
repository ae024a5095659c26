package handler

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftws/weft/subprotocol"
)

// register adds a pattern and reports whether the Mux took it. A panic that is not
// one of set-up goes on.
func register(m *Mux, pattern string) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			text, isText := v.(string)
			if !isText || !strings.HasPrefix(text, "handler: ") {
				panic(v)
			}
			ok = false
		}
	}()
	m.Route(pattern, marks(pattern))
	return true
}

// FuzzPattern: whatever a pattern is, it is taken or refused in words.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{
		"", "SEND", "SEND /a/{b}/{c...}", "/topic/", "ACK /{$}", "CONNECT", "{x}", "/{a}/{a}", "a//b/", "send /a", "SEND  x", "/{\xff}", "/{$}/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := NewMux()
		if !register(m, s) {
			return
		}
		p := m.patterns[0]
		if register(m, s) {
			t.Fatalf("%q was taken twice", s)
		}
		if p.segments == nil {
			return
		}
		// What a pattern is made from its own segments matches it.
		kind := subprotocol.KindSend
		if p.kind != 0 {
			kind = p.kind
		}
		destination := common(p.segments, p.segments)
		if got := by(t, m, &subprotocol.Message{Kind: kind, Destination: destination}); got != s {
			t.Fatalf("%q does not match %q: %s", s, destination, got)
		}
		again, err := parsePattern(strings.Replace(describe(p), "none ", "", 1))
		if err != nil || compare(again.segments, p.segments) != equal {
			t.Fatalf("%q is read differently when it is written again: %v", s, err)
		}
	})
}

// FuzzMatch compares a Mux with a search through all patterns, one by one.
func FuzzMatch(f *testing.F) {
	f.Add("SEND /a/{b}\n/a/\nSUBSCRIBE /a/b\nACK /{x}", "/a/b")
	f.Add("{all...}\nSEND\nSEND /\n/a/{$}", "")
	f.Add("/a/a/1\n/{x}/a/2\n/a/{x}/3\n/{x}/{y}/4", "/a/a/4")
	f.Add("SEND x/{y}/\nSEND x/{y}/z/{$}\nx/", "x/1/z/")
	f.Fuzz(func(t *testing.T, patterns, destination string) {
		m := NewMux()
		for p := range strings.SplitSeq(patterns, "\n") {
			register(m, p)
		}
		for _, kind := range destined {
			want := naive(m.patterns, kind, destination)
			msg := &subprotocol.Message{Kind: kind, Destination: destination}
			if got := by(t, m, msg); got != want.text {
				t.Fatalf("%v %q got to %q, not to %q of %q", kind, destination, got, want.text, patterns)
			}
			checkValues(t, want, msg)
		}
	})
}

// naive is the pattern that a message should get to. Its text is the code of an error if
// there is none.
func naive(patterns []*pattern, kind subprotocol.Kind, destination string) *pattern {
	var best *pattern
	others := false
	rankOf := func(p *pattern) (rank, bool) {
		switch {
		case p.kind == kind:
			return rankStated, true
		case p.kind == subprotocol.KindSubscribe && kind != subprotocol.KindSend:
			return rankImplied, true
		default:
			return rankAny, p.kind == 0
		}
	}
	for _, p := range patterns {
		if p.segments == nil || !matchNaive(p.segments, destination) {
			continue
		}
		r, ok := rankOf(p)
		if !ok {
			others = true
			continue
		}
		if best == nil {
			best = p
			continue
		}
		have, _ := rankOf(best)
		switch c := compare(p.segments, best.segments); {
		case c == narrower, c == equal && r < have:
			best = p
		case c == wider, c == equal && r > have:
		default:
			panic(fmt.Sprintf("%q and %q were both taken", p.text, best.text))
		}
	}
	switch {
	case best != nil:
		return best
	case others:
		return &pattern{text: "not-allowed"}
	default:
		return &pattern{text: "not-found"}
	}
}

func checkValues(t *testing.T, p *pattern, m *subprotocol.Message) {
	parts := strings.Split(m.Destination, "/")
	for i, s := range p.segments {
		if s.text == "" || s.how == literal {
			continue
		}
		want := parts[i]
		if s.how == rest {
			want = strings.Join(parts[i:], "/")
		}
		if got := m.PathValue(s.text); got != want {
			t.Fatalf("%q: %q has the value %q, not %q", p.text, s.text, got, want)
		}
	}
}
