package broker

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
)

func TestSelector(t *testing.T) {
	t.Parallel()
	m := &subprotocol.Message{
		Destination: "/topic/trades", ContentType: "text/plain",
		Header: subprotocol.Header{
			{Name: "kind", Value: "trade"}, {Name: "kind", Value: "second"}, {Name: "price", Value: "10.5"},
			{Name: "neg", Value: "-3"}, {Name: "note", Value: "it's 100% äöü_x"}, {Name: "empty", Value: ""},
			{Name: "same", Value: "trade"}, {Name: "x-high", Value: "12"}, {Name: "huge", Value: strings.Repeat("9", 40)},
		},
	}
	for text, want := range map[string]truth{
		"kind = 'trade'":                            isTrue,
		"kind='trade'":                              isTrue,
		"kind = 'second'":                           isFalse,
		"'trade' = kind":                            isTrue,
		"kind <> 'trade'":                           isFalse,
		"kind = same":                               isTrue,
		"kind <> price":                             isTrue,
		"KIND = 'trade'":                            isUnknown,
		"destination = '/topic/trades'":             isTrue,
		"content-type = 'text/plain'":               isTrue,
		"price = 10.5":                              isTrue,
		"price = 10.50":                             isTrue,
		"price = '10.50'":                           isFalse,
		"price < 11":                                isTrue,
		"price<=10.5":                               isTrue,
		"price > 10.5":                              isFalse,
		"price>=+10.5":                              isTrue,
		"11 > price":                                isTrue,
		"neg < -2":                                  isTrue,
		"neg<-3":                                    isFalse,
		"price < x-high":                            isTrue,
		"kind > 1":                                  isUnknown,
		"NOT kind > 1":                              isUnknown,
		"huge > 1":                                  isUnknown,
		"empty > 1":                                 isUnknown,
		"missing = 'x'":                             isUnknown,
		"missing <> 'x'":                            isUnknown,
		"NOT missing = 'x'":                         isUnknown,
		"missing = missing":                         isUnknown,
		"missing IS NULL":                           isTrue,
		"missing IS NOT NULL":                       isFalse,
		"empty IS NULL":                             isFalse,
		"empty = ''":                                isTrue,
		"kind is not null":                          isTrue,
		"missing = 1 OR kind = 'trade'":             isTrue,
		"missing = 1 OR kind = 'x'":                 isUnknown,
		"missing = 1 AND kind = 'trade'":            isUnknown,
		"missing = 1 AND kind = 'x'":                isFalse,
		"kind IN ('a', 'trade')":                    isTrue,
		"kind in ('a')":                             isFalse,
		"kind NOT IN ('a','b')":                     isTrue,
		"missing IN ('a')":                          isUnknown,
		"missing NOT IN ('a')":                      isUnknown,
		"price BETWEEN 10 AND 11":                   isTrue,
		"price BETWEEN 10.5 AND 10.5":               isTrue,
		"price BETWEEN 11 AND 10":                   isFalse,
		"price NOT BETWEEN 11 AND 12":               isTrue,
		"price BETWEEN neg AND x-high":              isTrue,
		"price BETWEEN missing AND 5":               isFalse,
		"price BETWEEN missing AND 50":              isUnknown,
		"missing BETWEEN 1 AND 2":                   isUnknown,
		"price BETWEEN 1 AND 20 AND neg = -3":       isTrue,
		"kind LIKE 'trade'":                         isTrue,
		"kind LIKE 'tr%'":                           isTrue,
		"kind LIKE '%de'":                           isTrue,
		"kind LIKE '%ra%'":                          isTrue,
		"kind LIKE 't___e'":                         isTrue,
		"kind LIKE 't__e'":                          isFalse,
		"kind LIKE 'rade'":                          isFalse,
		"kind LIKE '%'":                             isTrue,
		"kind LIKE '%%%'":                           isTrue,
		"kind LIKE ''":                              isFalse,
		"empty LIKE ''":                             isTrue,
		"empty LIKE '%'":                            isTrue,
		"empty LIKE '_'":                            isFalse,
		"kind NOT LIKE 'x%'":                        isTrue,
		"missing LIKE '%'":                          isUnknown,
		"note LIKE 'it''s 100!% ___!_x' ESCAPE '!'": isTrue,
		"note LIKE '%ö%'":                           isTrue,
		"note LIKE '%ä_ü%'":                         isTrue,
		"note LIKE '%!ä%' ESCAPE '!'":               isTrue,
		"note = 'it''s 100% äöü_x'":                 isTrue,
		"kind = 'x' OR kind = 'trade' AND price = 10.5": isTrue,
		"(kind = 'trade' OR kind = 'x') AND price = 1":  isFalse,
		"kind = 'trade' OR kind = 'x' AND price = 1":    isTrue,
		"NOT kind = 'x' AND price = 10.5":               isTrue,
		"NOT (kind = 'trade' AND price = 10.5)":         isFalse,
		"not not kind = 'trade'":                        isTrue,
		"\t\r\n kind\n=\n'trade' ":                      isTrue,
		"1 = 1":                                         isTrue,
		"'a' = 'b'":                                     isFalse,
		"3 < 2":                                         isFalse,
	} {
		s, err := parseSelector(text)
		require.NoError(t, err, text)
		require.Equal(t, want, s.root.holds(m), text)
		require.Equal(t, want == isTrue, s.match(m), text)
	}
}

func TestSelectorErrors(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("(", n) + "a = 1" + strings.Repeat(")", n) }
	for text, want := range map[string]string{
		"":                "at 1: expected a name, a text in single quotes, a number, NOT or (, found the end",
		"  ":              "at 3: expected a name",
		"kind":            "at 5: expected a comparison, IN, LIKE, BETWEEN or IS, found the end",
		"kind =":          "at 7: expected a name, a text in single quotes or a number, found the end",
		"kind = 'a":       "at 8: the text has no closing quote",
		"kind = 'a' kind": `at 12: expected AND, OR or the end, found "kind"`,
		"kind = 'a')":     `at 11: expected AND, OR or the end, found ")"`,
		"(kind = 'a'":     "at 12: expected ), found the end",
		"kind == 'a'":     `at 7: expected a name, a text in single quotes or a number, found "="`,
		"kind ! 'a'":      `at 6: expected a name, a text in single quotes, a number or an operator, found "!"`,
		"kind < 'a'":      `at 8: expected a name or a number, found "'a'"`,
		"'a' < kind":      `at 5: expected = or <> beside a text, found "<"`,
		"'a' = 1":         `at 7: expected a name or a text in single quotes, found "1"`,
		"1 = 'a'":         `at 5: expected a name or a number, found "'a'"`,
		"price > 1e3":     `at 9: "1e3" is neither a name nor a decimal number`,
		"price > 1.2.3":   `at 9: "1.2.3" is neither a name nor a decimal number`,
		"price > -":       `at 9: "-" is neither a name nor a decimal number`,
		"price > " + strings.Repeat("1", maxNumber+1): "at 9: ",
		"a + b = 1":              `at 3: "+" is neither a name nor a decimal number`,
		"a IN":                   "at 5: expected (, found the end",
		"a IN ()":                `at 7: expected a text in single quotes, found ")"`,
		"a IN (1)":               `at 7: expected a text in single quotes, found "1"`,
		"a IN ('a' 'b')":         `at 11: expected ), found "'b'"`,
		"a LIKE b":               `at 8: expected a text in single quotes, found "b"`,
		"a LIKE 'b!' ESCAPE '!'": "at 8: expected a character behind the one of ESCAPE",
		"a LIKE 'b' ESCAPE 'xy'": "at 19: expected one character in single quotes",
		"a LIKE 'b' ESCAPE ''":   "at 19: expected one character in single quotes",
		"a LIKE '" + strings.Repeat("x", maxLike+1) + "'": "at 8: expected a pattern of at most 63 characters",
		"a BETWEEN 1":                        "at 12: expected AND, found the end",
		"a BETWEEN 'x' AND 2":                `at 11: expected a name or a number, found "'x'"`,
		"a IS 1":                             `at 6: expected NULL, found "1"`,
		"a NOT = 1":                          `at 7: expected IN, LIKE or BETWEEN, found "="`,
		"a NOT":                              "at 6: expected IN, LIKE or BETWEEN, found the end",
		"AND = 1":                            `at 1: expected a name, a text in single quotes, a number, NOT or (, found "AND"`,
		"a = 1 OR":                           "at 9: expected a name",
		"NOT":                                "at 4: expected a name",
		"é = 1":                              `at 1: expected a name, a text in single quotes, a number or an operator, found "é"`,
		deep(maxSelectorDepth + 1):           "at 17: parentheses and NOT are nested more than 16 deep",
		strings.Repeat("NOT ", 17) + "a = 1": "nested more than 16 deep",
		"a = '" + strings.Repeat("x", maxSelector): "at most 1024 bytes",
		"a = '\xff'": "a selector is UTF-8",
	} {
		s, err := parseSelector(text)
		require.ErrorContains(t, err, want, text)
		require.Nil(t, s)
	}
	_, err := parseSelector(deep(maxSelectorDepth))
	require.NoError(t, err)
}

// The pattern of LIKE and the header are as long and as misleading as they may be.
func TestSelectorLikeIsLinear(t *testing.T) {
	t.Parallel()
	s, err := parseSelector("a LIKE '" + strings.Repeat("%a", 31) + strings.Repeat("_", 31) + "%b'")
	require.NoError(t, err)
	m := &subprotocol.Message{Header: subprotocol.Header{{Name: "a", Value: strings.Repeat("a", 1<<20)}}}
	require.False(t, s.match(m))
	m.Header[0].Value += "b"
	require.True(t, s.match(m))
}

func TestSelectorMatchAllocates(t *testing.T) {
	s, err := parseSelector("a LIKE '%x_' AND b BETWEEN 1 AND 3 AND c IN ('x', 'y') AND NOT d > 3 AND (destination = '/a' OR e IS NULL)")
	require.NoError(t, err)
	m := &subprotocol.Message{Header: subprotocol.Header{
		{Name: "a", Value: "äxé"}, {Name: "b", Value: "2.25"}, {Name: "c", Value: "y"}, {Name: "d", Value: "3"},
	}}
	require.True(t, s.match(m))
	require.Zero(t, testing.AllocsPerRun(100, func() { s.match(m) }))
	m.Header[1].Value = "no number at all"
	require.Zero(t, testing.AllocsPerRun(100, func() { s.match(m) }))
}

// likely is LIKE by the plainest means.
func likely(pattern, text []rune) bool {
	fits := make([]bool, len(text)+1)
	fits[0] = true
	for _, p := range pattern {
		next := make([]bool, len(text)+1)
		for j := range next {
			switch {
			case p == '%':
				next[j] = fits[j] || j > 0 && next[j-1]
			case j > 0:
				next[j] = fits[j-1] && (p == '_' || p == text[j-1])
			}
		}
		fits = next
	}
	return fits[len(text)]
}

func FuzzSelector(f *testing.F) {
	for _, s := range []string{
		"kind = 'a' AND size > 10", "a IN ('x','y') OR NOT b LIKE '%x_' ESCAPE '!'", "a BETWEEN 1 AND 2 AND b IS NOT NULL",
		"((a<>b))", "destination='/a''b'", "a LIKE '%%'", "a NOT", "'", "1..2 = -", "\xff", "a NOT BETWEEN -1 AND +.5",
	} {
		f.Add(s, "%a_b", "xaab")
	}
	f.Fuzz(func(t *testing.T, text, pattern, value string) {
		m := &subprotocol.Message{Header: subprotocol.Header{{Name: "a", Value: value}, {Name: "b", Value: pattern}}}
		if s, err := parseSelector(text); err == nil {
			// A part is never both true and not true.
			if holds := s.root.holds(m); holds > isTrue {
				t.Fatalf("%q holds %d", text, holds)
			}
			if n, err := parseSelector("NOT (" + text + ")"); err == nil && n.root.holds(m) != s.root.holds(m).not() {
				t.Fatalf("NOT (%q) is not the contrary of it", text)
			}
		}
		quote := strings.ReplaceAll(pattern, "'", "''")
		s, err := parseSelector("a LIKE '" + quote + "'")
		if err != nil {
			return
		}
		if want := likely([]rune(pattern), []rune(value)); s.match(m) != want {
			t.Fatalf("%q LIKE %q is %t", value, pattern, !want)
		}
	})
}

func BenchmarkSelector(b *testing.B) {
	s, err := parseSelector("kind = 'trade' AND price BETWEEN 10 AND 99.5 AND symbol LIKE 'X%'")
	if err != nil {
		b.Fatal(err)
	}
	m := &subprotocol.Message{Header: subprotocol.Header{
		{Name: "kind", Value: "trade"}, {Name: "price", Value: "12"}, {Name: "symbol", Value: "XYZ"},
	}}
	b.ReportAllocs()
	for b.Loop() {
		if !s.match(m) {
			b.Fatal("no match")
		}
	}
}
