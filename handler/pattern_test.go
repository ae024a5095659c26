package handler

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParsePattern(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"SEND /a":                "SEND /a",
		"SEND":                   "SEND {$}",
		"CONNECT":                "CONNECT",
		"DISCONNECT":             "DISCONNECT",
		"/topic/":                "none /topic/",
		"topic.news":             "none topic.news",
		"SEND my topic":          "SEND my topic",
		"SUBSCRIBE /a/{b}/{c_1}": "SUBSCRIBE /a/{b}/{c_1}",
		"ACK {all...}":           "ACK {all...}",
		"NACK /a/{$}":            "NACK /a/{$}",
		"/{$}":                   "none /{$}",
		"/a//b":                  "none /a//b",
		"UNSUBSCRIBE /":          "UNSUBSCRIBE /",
		"/ä/{größe}":             "none /ä/{größe}",
	}
	for text, want := range good {
		p, err := parsePattern(text)
		require.NoError(t, err, text)
		require.Equal(t, want, describe(p), text)
	}
	bad := map[string]string{
		"":             "it is empty",
		"SEND ":        "there is no destination behind the blank",
		"SEND  /a":     "there is no destination behind the blank",
		"send /a":      "the kind is written SEND",
		"Ack":          "the kind is written ACK",
		"PUT /a":       `"PUT" is no kind of message`,
		"SEND\t/a":     "it has control characters",
		"CONNECT /a":   "CONNECT has no destination",
		"BEGIN":        "no handler gets to see BEGIN",
		"HEARTBEAT /a": "no handler gets to see HEARTBEAT",
		"SEND/a":       "there is no blank behind SEND",
		"/a/*":         "* is no wildcard here: {name} stands for one segment, {name...} or a slash at the end for the rest",
		"/a/**":        "** is no wildcard here: {name} stands for one segment, {name...} or a slash at the end for the rest",
		"/a/{b":        `"{b" is not a whole segment in braces`,
		"/a/b}":        `"b}" is not a whole segment in braces`,
		"/a/x{b}":      `"x{b}" is not a whole segment in braces`,
		"/a/{b}x":      `"{b}x" is not a whole segment in braces`,
		"/a/{{b}}":     `"{{b}}" is not a whole segment in braces`,
		"/{}":          `"{}" has no name made of letters, digits and _`,
		"/{...}":       `"{...}" has no name made of letters, digits and _`,
		"/{1}":         `"{1}" has no name made of letters, digits and _`,
		"/{a b}":       `"/{a" is no kind of message`,
		"/{a...}/b":    `"{a...}" is not at the end`,
		"/{a...}/":     `"{a...}" is not at the end`,
		"/{$}/b":       "{$} is not at the end",
		"/{a}/{a}":     `the name "a" stands twice`,
		"/{a}/{a...}":  `the name "a" stands twice`,
	}
	for text, want := range bad {
		_, err := parsePattern(text)
		require.EqualError(t, err, want, text)
	}
}

// describe writes p out again, the kind in front of all.
func describe(p *pattern) string {
	if p.segments == nil {
		return p.kind.String()
	}
	var parts []string
	for i, s := range p.segments {
		switch s.how {
		case literal:
			if s.text == "" && i == len(p.segments)-1 {
				s.text = "{$}"
			}
			parts = append(parts, s.text)
		case wild:
			parts = append(parts, "{"+s.text+"}")
		case rest:
			if s.text != "" {
				s.text = "{" + s.text + "...}"
			}
			parts = append(parts, s.text)
		}
	}
	return p.kind.String() + " " + strings.Join(parts, "/")
}

// matchNaive is the meaning of a pattern, written down without a thought for speed.
func matchNaive(segments []segment, destination string) bool {
	parts := strings.Split(destination, "/")
	for i, s := range segments {
		switch {
		case i >= len(parts):
			return false
		case s.how == rest:
			return true
		case s.how == wild && parts[i] == "", s.how == literal && parts[i] != s.text:
			return false
		}
	}
	return len(segments) == len(parts)
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		p, q string
		want relation
	}{
		{"/a", "/a", equal},
		{"/a/{x}", "/a/{y}", equal},
		{"/a/{x...}", "/a/", equal},
		{"/a", "/b", disjoint},
		{"/a", "a", disjoint},
		{"/a", "/a/", disjoint},
		{"/a/{$}", "/a/{x}", disjoint},
		{"/a/{$}", "/a/", narrower},
		{"/a/b", "/a/{x}", narrower},
		{"/a/{x}", "/a/", narrower},
		{"/a/", "/", narrower},
		{"/", "{x...}", narrower},
		{"/a/{x}", "/{y}/b", overlapping},
		{"/a/", "/{x}/{y}", overlapping},
		{"/a/{x}/c", "/a/b/", overlapping},
		{"/a/{x}/c", "/a/b/d", disjoint},
	} {
		p, q := mustParse(t, tt.p), mustParse(t, tt.q)
		require.Equal(t, tt.want, compare(p, q), "%s %s", tt.p, tt.q)
		back := map[relation]relation{narrower: wider}
		if w, ok := back[tt.want]; ok {
			tt.want = w
		}
		require.Equal(t, tt.want, compare(q, p), "%s %s", tt.q, tt.p)
	}
}

func mustParse(t *testing.T, text string) []segment {
	p, err := parsePattern(text)
	require.NoError(t, err, text)
	return p.segments
}

// TestCompareMeansWhatMatches: what compare says of two random patterns is so for
// all short destinations.
func TestCompareMeansWhatMatches(t *testing.T) {
	t.Parallel()
	var all []string
	alphabet := []string{"", "a", "b", "z"} // z stands for all that no pattern names
	for n := 1; n <= 5; n++ {
		for i := range pow(len(alphabet), n) {
			var parts []string
			for range n {
				parts = append(parts, alphabet[i%len(alphabet)])
				i /= len(alphabet)
			}
			all = append(all, strings.Join(parts, "/"))
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func() string {
		var parts []string
		n := 1 + rnd.IntN(4)
		for i := range n {
			options := []string{"", "a", "b", fmt.Sprintf("{w%d}", i)}
			if i == n-1 {
				options = append(options, "{rest...}", "{$}")
			}
			parts = append(parts, options[rnd.IntN(len(options))])
		}
		return strings.Join(parts, "/")
	}
	for range 2000 {
		p, q := random(), random()
		if p == "" || q == "" {
			continue
		}
		ps, qs := mustParse(t, p), mustParse(t, q)
		var both, onlyP, onlyQ bool
		for _, d := range all {
			inP, inQ := matchNaive(ps, d), matchNaive(qs, d)
			both = both || inP && inQ
			onlyP = onlyP || inP && !inQ
			onlyQ = onlyQ || inQ && !inP
		}
		want := disjoint
		switch {
		case !both:
		case onlyP && onlyQ:
			want = overlapping
		case onlyP:
			want = wider
		case onlyQ:
			want = narrower
		default:
			want = equal
		}
		require.Equal(t, want, compare(ps, qs), "%s %s", p, q)
		if want != disjoint {
			c := common(ps, qs)
			require.True(t, matchNaive(ps, c) && matchNaive(qs, c), "%q is not in %s and %s", c, p, q)
		}
	}
}

func pow(base, n int) int {
	p := 1
	for range n {
		p *= base
	}
	return p
}
