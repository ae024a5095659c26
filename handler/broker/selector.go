package broker

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftws/weft/subprotocol"
)

// A selector picks messages by their header, with the words that SQL and JMS have for
// it:
//
//	kind = 'trade' AND (price BETWEEN 10 AND 99.5 OR NOT symbol LIKE 'X%')
//	region IN ('eu', 'us') AND expires IS NULL AND destination <> '/topic/test'
//
// A name is that of a header field, compared exactly, of which the first counts;
// destination and content-type are the message's own. A name has letters, digits and any of _-.$, and
// begins with a letter, _ or $. Texts stand in single quotes, a quote in
// them twice. Numbers are decimal, without an exponent. Words such as AND are
// recognised in either case and can't be names.
//
// = and <> compare a field with a text as text and with a number as a number, and two
// fields as texts. <, <=, >, >= and BETWEEN are about numbers. LIKE fits the
// whole text: _ is any one character, % any number of them, and what follows the
// character of ESCAPE itself.
//
// What is said about a field that is missing, or that is no number where
// one is needed, is unknown: neither it nor its NOT picks the message. IS NULL asks
// whether a field is missing.
//
// A selector is immutable. Its match takes time by the length of the selector and of the fields, and
// no memory.
type selector struct{ root condition }

// match reports whether the selector picks m.
func (s *selector) match(m *subprotocol.Message) bool { return s.root.holds(m) == isTrue }

// truth is one of the three values of SQL's logic, in such an order that AND is the
// smallest and OR the largest.
type truth uint8

const (
	isFalse truth = iota
	isUnknown
	isTrue
)

func truthOf(b bool) truth {
	if b {
		return isTrue
	}
	return isFalse
}

func (t truth) not() truth { return isTrue - t }

// A condition is a part of a selector that holds or does not.
type condition interface {
	holds(m *subprotocol.Message) truth
}

type (
	allOf  []condition
	anyOf  []condition
	negate struct{ condition }
)

func (c allOf) holds(m *subprotocol.Message) truth {
	t := isTrue
	for _, part := range c {
		if t = min(t, part.holds(m)); t == isFalse {
			break
		}
	}
	return t
}

func (c anyOf) holds(m *subprotocol.Message) truth {
	t := isFalse
	for _, part := range c {
		if t = max(t, part.holds(m)); t == isTrue {
			break
		}
	}
	return t
}

func (c negate) holds(m *subprotocol.Message) truth { return c.condition.holds(m).not() }

// An operand is a name, a text or a number.
type operand struct {
	is     token // tokenName, tokenText or tokenNumber
	text   string
	number float64
}

// value is the text of o, and whether there is one.
func (o *operand) value(m *subprotocol.Message) (string, bool) {
	if o.is != tokenName {
		return o.text, true
	}
	switch o.text {
	case "destination":
		return m.Destination, m.Destination != ""
	case "content-type":
		return m.ContentType, m.ContentType != ""
	}
	for i := range m.Header {
		if m.Header[i].Name == o.text {
			return m.Header[i].Value, true
		}
	}
	return "", false
}

// amount is the number that o is, and whether it is one.
func (o *operand) amount(m *subprotocol.Message) (float64, bool) {
	if o.is == tokenNumber {
		return o.number, true
	}
	text, ok := o.value(m)
	if !ok {
		return 0, false
	}
	return parseNumber(text)
}

// maxNumber is how long a number may be. It keeps ParseFloat from failing, which would
// allocate.
const maxNumber = 32

// parseNumber reads digits, of which some may stand behind a point, and a sign.
func parseNumber(s string) (float64, bool) {
	if len(s) > maxNumber {
		return 0, false
	}
	digits := strings.TrimLeft(s[:min(1, len(s))], "+-") + s[min(1, len(s)):]
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole == "" && fraction == "" || !isDigits(whole) || !isDigits(fraction) {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// relation is one of = <> < <= > >=, as the results of a comparison that fit.
type relation struct{ less, equal, greater bool }

var relations = map[string]relation{
	"=": {equal: true}, "<>": {less: true, greater: true},
	"<": {less: true}, "<=": {less: true, equal: true},
	">": {greater: true}, ">=": {greater: true, equal: true},
}

func (o relation) fits(c int) truth {
	return truthOf(c < 0 && o.less || c == 0 && o.equal || c > 0 && o.greater)
}

// comparison compares two operands, as numbers or as texts.
type comparison struct {
	relation
	numbers     bool
	left, right operand
}

func (c *comparison) holds(m *subprotocol.Message) truth {
	if c.numbers {
		l, ok := c.left.amount(m)
		r, also := c.right.amount(m)
		if !ok || !also {
			return isUnknown
		}
		return c.fits(cmp.Compare(l, r))
	}
	l, ok := c.left.value(m)
	r, also := c.right.value(m)
	if !ok || !also {
		return isUnknown
	}
	return c.fits(cmp.Compare(l, r))
}

// between is a number within two others.
type between struct{ what, low, high operand }

func (c *between) holds(m *subprotocol.Message) truth {
	// As SQL has it: what >= low AND what <= high, so that one known bound may decide.
	l := comparison{relations[">="], true, c.what, c.low}
	h := comparison{relations["<="], true, c.what, c.high}
	return min(l.holds(m), h.holds(m))
}

// isNull is a field that is missing.
type isNull struct{ what operand }

func (c *isNull) holds(m *subprotocol.Message) truth {
	_, ok := c.what.value(m)
	return truthOf(!ok)
}

// oneOf is a text of a list.
type oneOf struct {
	what operand
	list []string
}

func (c *oneOf) holds(m *subprotocol.Message) truth {
	text, ok := c.what.value(m)
	if !ok {
		return isUnknown
	}
	return truthOf(slices.Contains(c.list, text))
}

// like is a text that fits a pattern. The pattern is a machine with one state for each
// character but %, and one for the end: it is in many of them at once, so that a text is
// read through once, whatever the pattern is.
type like struct {
	what operand
	end  uint64      // the last state
	loop uint64      // the states that any character leaves it in: % is there
	any  uint64      // the states that any character takes it on from: _
	take []character // from which states a character takes it on, in order of the characters
}

type character struct {
	r     rune
	where uint64
}

// maxLike is how many characters a pattern has, not counting %.
const maxLike = 63

func (c *like) holds(m *subprotocol.Message) truth {
	text, ok := c.what.value(m)
	if !ok {
		return isUnknown
	}
	at := uint64(1)
	for _, r := range text {
		on := c.any
		if i, found := slices.BinarySearchFunc(c.take, r, func(c character, r rune) int { return cmp.Compare(c.r, r) }); found {
			on |= c.take[i].where
		}
		if at = at&on<<1 | at&c.loop; at == 0 {
			return isFalse
		}
	}
	return truthOf(at&c.end != 0)
}

// newLike makes the machine. It reports what is wrong with the pattern, "" for nothing.
func newLike(what operand, pattern string, escape rune) (*like, string) {
	c := &like{what: what}
	n, escaped := 0, false
	for _, r := range pattern {
		state := uint64(1) << n
		switch {
		case !escaped && escape != 0 && r == escape:
			escaped = true
			continue
		case !escaped && r == '%':
			c.loop |= state
			continue
		case n == maxLike:
			return nil, "a pattern of at most " + strconv.Itoa(maxLike) + " characters"
		case !escaped && r == '_':
			c.any |= state
		default:
			i, found := slices.BinarySearchFunc(c.take, r, func(c character, r rune) int { return cmp.Compare(c.r, r) })
			if !found {
				c.take = slices.Insert(c.take, i, character{r: r})
			}
			c.take[i].where |= state
		}
		escaped = false
		n++
	}
	if escaped {
		return nil, "a character behind the one of ESCAPE"
	}
	c.end = 1 << n
	return c, ""
}
