package broker

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxSelector      = 1024 // bytes
	maxSelectorDepth = 16   // of parentheses and NOT
)

// parseSelector reads a selector. The error says at which byte, from 1, something else
// was expected.
func parseSelector(text string) (*selector, error) {
	if len(text) > maxSelector {
		return nil, fmt.Errorf("a selector has at most %d bytes", maxSelector)
	}
	if !utf8.ValidString(text) {
		return nil, errors.New("a selector is UTF-8")
	}
	p := selectorParser{text: text}
	p.next()
	c := p.either()
	if p.err == nil && p.is != tokenEnd {
		p.expected("AND, OR or the end")
	}
	if p.err != nil {
		return nil, p.err
	}
	return &selector{c}, nil
}

// token is the kind of what the parser looks at.
type token uint8

const (
	tokenEnd token = iota
	tokenName
	tokenText
	tokenNumber
	tokenSign // = <> < <= > >= ( ) ,
	tokenWord // AND and the like
)

// selectorParser is at one token. After an error that is the end, so that no rule goes
// on.
type selectorParser struct {
	text  string
	at    int // where the token begins
	rest  int // and what follows it
	is    token
	value string // a word in capitals, a text without its quotes
	depth int
	err   error
}

// expected fails at the token.
func (p *selectorParser) expected(what string) {
	if p.err != nil {
		return
	}
	found := strconv.Quote(p.text[p.at:p.rest])
	if p.is == tokenEnd {
		found = "the end"
	}
	p.fail(fmt.Sprintf("expected %s, found %s", what, found))
}

func (p *selectorParser) fail(why string) {
	if p.err == nil {
		p.err = fmt.Errorf("at %d: %s", p.at+1, why)
	}
	p.is, p.value = tokenEnd, ""
}

const blanks = " \t\r\n"

// next goes to the next token.
func (p *selectorParser) next() {
	if p.err != nil {
		return
	}
	left := strings.TrimLeft(p.text[p.rest:], blanks)
	p.at = len(p.text) - len(left)
	size := 0
	switch {
	case left == "":
		p.is, p.value = tokenEnd, ""
	case left[0] == '\'':
		size = p.quoted(left)
	case strings.IndexByte("(),=", left[0]) >= 0:
		size = 1
	case strings.HasPrefix(left, "<>"), strings.HasPrefix(left, "<="), strings.HasPrefix(left, ">="):
		size = 2
	case left[0] == '<', left[0] == '>':
		size = 1
	default:
		size = p.word(left)
	}
	p.rest = p.at + size
	if size > 0 && strings.IndexByte("(),=<>", left[0]) >= 0 {
		p.is, p.value = tokenSign, left[:size]
	}
}

// quoted reads a text and returns how long it is.
func (p *selectorParser) quoted(left string) int {
	for i := 1; i < len(left); i++ {
		if left[i] != '\'' {
			continue
		}
		if i+1 < len(left) && left[i+1] == '\'' {
			i++
			continue
		}
		p.is, p.value = tokenText, strings.ReplaceAll(left[1:i], "''", "'")
		return i + 1
	}
	p.fail("the text has no closing quote")
	return 0
}

// word reads a name, a word of the language, or a number.
func (p *selectorParser) word(left string) int {
	size := 0
	for size < len(left) && (isWord(left[size]) || size == 0 && left[0] == '+') {
		size++
	}
	if size == 0 {
		_, size = utf8.DecodeRuneInString(left)
		p.fail("expected a name, a text in single quotes, a number or an operator, found " + strconv.Quote(left[:size]))
		return 0
	}
	p.value = left[:size]
	switch upper := strings.ToUpper(p.value); {
	case upper == "AND", upper == "OR", upper == "NOT", upper == "IN", upper == "LIKE", upper == "ESCAPE",
		upper == "IS", upper == "NULL", upper == "BETWEEN":
		p.is, p.value = tokenWord, upper
	case strings.IndexByte("0123456789.+-", left[0]) >= 0:
		p.is = tokenNumber
		if _, ok := parseNumber(p.value); !ok {
			p.fail(strconv.Quote(p.value) + " is neither a name nor a decimal number")
			return 0
		}
	default:
		p.is = tokenName
	}
	return size
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == '$'
}

// take goes on if the token is that word or sign, and reports whether it was.
func (p *selectorParser) take(value string) bool {
	if p.is != tokenWord && p.is != tokenSign || p.value != value {
		return false
	}
	p.next()
	return true
}

// demand is take of what must be there.
func (p *selectorParser) demand(value string) {
	if !p.take(value) {
		p.expected(value)
	}
}

// either is parts with OR between them.
func (p *selectorParser) either() condition {
	parts := anyOf{p.both()}
	for p.take("OR") {
		parts = append(parts, p.both())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return parts
}

// both is parts with AND between them.
func (p *selectorParser) both() condition {
	parts := allOf{p.part()}
	for p.take("AND") {
		parts = append(parts, p.part())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return parts
}

// part is NOT, parentheses, or a single condition.
func (p *selectorParser) part() condition {
	not := p.is == tokenWord && p.value == "NOT"
	if !not && (p.is != tokenSign || p.value != "(") {
		return p.single()
	}
	if p.depth == maxSelectorDepth {
		p.fail(fmt.Sprintf("parentheses and NOT are nested more than %d deep", maxSelectorDepth))
		return nil
	}
	p.depth++
	p.next()
	var c condition
	if not {
		c = negate{p.part()}
	} else {
		c = p.either()
		p.demand(")")
	}
	p.depth--
	return c
}

// single is a condition about one operand.
func (p *selectorParser) single() condition {
	what := p.operand("a name, a text in single quotes, a number, NOT or (")
	if p.is == tokenSign {
		if o, ok := relations[p.value]; ok {
			return p.comparison(what, o)
		}
	}
	if p.take("IS") {
		not := p.take("NOT")
		p.demand("NULL")
		return negated(not, &isNull{what})
	}
	not := p.take("NOT")
	switch {
	case p.take("IN"):
		return negated(not, p.list(what))
	case p.take("LIKE"):
		return negated(not, p.pattern(what))
	case p.take("BETWEEN"):
		low := p.number()
		p.demand("AND")
		return negated(not, &between{what, low, p.number()})
	case not:
		p.expected("IN, LIKE or BETWEEN")
	default:
		p.expected("a comparison, IN, LIKE, BETWEEN or IS")
	}
	return nil
}

func negated(not bool, c condition) condition {
	if not {
		return negate{c}
	}
	return c
}

// operand reads a name, a text or a number.
func (p *selectorParser) operand(what string) operand {
	o := operand{is: p.is, text: p.value}
	switch p.is {
	case tokenName, tokenText:
	case tokenNumber:
		o.number, _ = parseNumber(p.value)
	default:
		p.expected(what)
		return o
	}
	p.next()
	return o
}

// number reads what can be a number.
func (p *selectorParser) number() operand {
	if p.is == tokenText {
		p.expected("a name or a number")
	}
	return p.operand("a name or a number")
}

// comparison reads what stands behind left.
func (p *selectorParser) comparison(left operand, o relation) condition {
	ordered := o.less != o.greater
	if ordered && left.is == tokenText {
		p.expected("= or <> beside a text")
	}
	p.next()
	if p.is == tokenText && (ordered || left.is == tokenNumber) {
		p.expected("a name or a number")
	}
	if p.is == tokenNumber && left.is == tokenText {
		p.expected("a name or a text in single quotes")
	}
	right := p.operand("a name, a text in single quotes or a number")
	return &comparison{o, ordered || left.is == tokenNumber || right.is == tokenNumber, left, right}
}

// list reads the texts of IN.
func (p *selectorParser) list(what operand) condition {
	c := &oneOf{what: what}
	p.demand("(")
	for {
		c.list = append(c.list, p.quotedText())
		if !p.take(",") {
			break
		}
	}
	p.demand(")")
	return c
}

// quotedText reads a text.
func (p *selectorParser) quotedText() string {
	if p.is != tokenText {
		p.expected("a text in single quotes")
		return ""
	}
	text := p.value
	p.next()
	return text
}

// pattern reads what stands behind LIKE.
func (p *selectorParser) pattern(what operand) condition {
	at := p.at
	text := p.quotedText()
	var escape rune
	if p.take("ESCAPE") {
		e := p.at
		s := p.quotedText()
		if escape, _ = utf8.DecodeRuneInString(s); p.err == nil && utf8.RuneCountInString(s) != 1 {
			p.at = e
			p.fail("expected one character in single quotes")
		}
	}
	c, wrong := newLike(what, text, escape)
	if wrong != "" && p.err == nil {
		p.at = at
		p.fail("expected " + wrong)
	}
	return c
}
