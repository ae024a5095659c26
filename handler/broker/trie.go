package broker

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

const (
	// maxSegments bounds what a pattern or a destination is cut into, so that the set
	// of positions in a destination fits into one word.
	maxSegments = 63

	// maxPattern is how many segments a subscription with wildcards has at most. Each may
	// take a node of 250 bytes, though it counts as one subscription.
	maxPattern = 16

	// maxDeep bounds the segments "**" of one pattern.
	maxDeep = 4

	// trieIndexed is how many values a node searches one by one; a node with more has an
	// index.
	trieIndexed = 16
)

// A trie finds which of many patterns a destination matches.
//
// Patterns and destinations are cut into segments at the separator. A segment that
// is "*" stands for exactly one segment, "**" for any number of them, also for none,
// wherever in the pattern they are. All other segments are compared exactly, and
// empty ones count: "/a/" has the three segments "", "a" and "". Where the separator
// is not the slash, the first folder is a segment of its own: "/topic/a.b" is
// "/topic/", "a" and "b".
//
// A match visits a node at most once, and only nodes whose pattern fits some
// beginning of the destination: unrelated patterns cost nothing, and no pattern
// costs more than its length. Several goroutines may call match at a time while none
// calls add or remove.
type trie[V comparable] struct {
	root      trieNode[V]
	separator byte
	n         int
}

// newTrie returns an empty trie whose patterns are cut at separator.
func newTrie[V comparable](separator byte) *trie[V] { return &trie[V]{separator: separator} }

// len returns how many pairs of a pattern and a value there are.
func (t *trie[V]) len() int { return t.n }

// add registers v under pattern and reports whether that is new. A pattern that
// checkPattern refuses is never added.
func (t *trie[V]) add(pattern string, v V) bool {
	if checkPattern(pattern, t.separator) != nil {
		return false
	}
	n := &t.root
	for rest, more := pattern, true; more; {
		var seg string
		seg, rest, more = cutSegment(rest, t.separator, len(rest) == len(pattern))
		n = n.grow(seg)
	}
	if !n.add(v) {
		return false
	}
	t.n++
	return true
}

// remove takes v from pattern, frees what nothing needs any more, and reports
// whether v was there.
func (t *trie[V]) remove(pattern string, v V) bool {
	if !t.root.prune(pattern, t.separator, true, v) {
		return false
	}
	t.n--
	return true
}

// match yields the values of each pattern that destination matches: one that is
// registered under several of these as often. A destination that checkDestination
// refuses matches nothing. yield must not change the trie.
func (t *trie[V]) match(destination string, yield func(V)) { t.search(destination, yield) }

// search is match, and returns how many nodes it has visited.
func (t *trie[V]) search(destination string, yield func(V)) int {
	var w trieWalk[V]
	for rest, more := destination, true; more; {
		if w.n == maxSegments {
			return 0
		}
		w.seg[w.n], rest, more = cutSegment(rest, t.separator, w.n == 0)
		for i := range w.n {
			if w.seg[i] == w.seg[w.n] {
				w.same[i] |= 1 << w.n
			}
		}
		w.same[w.n] = 1 << w.n
		w.n++
	}
	w.visit(&t.root, 1, yield)
	return w.visits
}

// A trieWalk is one match under way.
type trieWalk[V comparable] struct {
	visits int
	n      int
	seg    [maxSegments]string
	same   [maxSegments]uint64 // the positions from this one on that have the same segment
}

// visit goes on at node n, which the first i segments lead to for each bit i that
// is set in at. To go on with all positions at once keeps it from going through a
// node below "**" again and again.
func (w *trieWalk[V]) visit(n *trieNode[V], at uint64, yield func(V)) {
	w.visits++
	if at>>w.n&1 != 0 {
		for _, v := range n.values {
			yield(v)
		}
	}
	if n.deep != nil {
		from := at & -at // the first position, and all after it
		w.visit(n.deep, (2<<w.n-1)&^(from-1), yield)
	}
	at &^= 1 << w.n
	if n.one != nil && at != 0 {
		w.visit(n.one, at<<1, yield)
	}
	if n.next == nil {
		return
	}
	for at != 0 {
		i := bits.TrailingZeros64(at)
		if c := n.next[w.seg[i]]; c != nil {
			w.visit(c, at&w.same[i]<<1, yield)
		}
		at &^= w.same[i]
	}
}

// A trieNode is the end of a beginning that some patterns share.
type trieNode[V comparable] struct {
	next   map[string]*trieNode[V]
	one    *trieNode[V] // behind "*"
	deep   *trieNode[V] // behind "**"
	values []V
	index  map[V]int // where in values, if there are many
}

// grow returns the node behind seg, which it makes if need be.
func (n *trieNode[V]) grow(seg string) *trieNode[V] {
	c := n.child(seg)
	if c != nil {
		return c
	}
	c = new(trieNode[V])
	switch seg {
	case "*":
		n.one = c
	case "**":
		n.deep = c
	default:
		if n.next == nil {
			n.next = make(map[string]*trieNode[V])
		}
		n.next[seg] = c
	}
	return c
}

func (n *trieNode[V]) child(seg string) *trieNode[V] {
	switch seg {
	case "*":
		return n.one
	case "**":
		return n.deep
	default:
		return n.next[seg]
	}
}

func (n *trieNode[V]) drop(seg string) {
	switch seg {
	case "*":
		n.one = nil
	case "**":
		n.deep = nil
	default:
		if delete(n.next, seg); len(n.next) == 0 {
			n.next = nil
		}
	}
}

// prune takes v from the node at the end of rest and drops the nodes on the way that
// are empty then.
func (n *trieNode[V]) prune(rest string, separator byte, first bool, v V) bool {
	seg, rest, more := cutSegment(rest, separator, first)
	c := n.child(seg)
	if c == nil {
		return false
	}
	if more && !c.prune(rest, separator, false, v) || !more && !c.remove(v) {
		return false
	}
	if c.next == nil && c.one == nil && c.deep == nil && len(c.values) == 0 {
		n.drop(seg)
	}
	return true
}

func (n *trieNode[V]) find(v V) int {
	if n.index != nil {
		if i, ok := n.index[v]; ok {
			return i
		}
		return -1
	}
	for i := range n.values {
		if n.values[i] == v {
			return i
		}
	}
	return -1
}

func (n *trieNode[V]) add(v V) bool {
	if n.find(v) >= 0 {
		return false
	}
	n.values = append(n.values, v)
	switch {
	case n.index != nil:
		n.index[v] = len(n.values) - 1
	case len(n.values) > trieIndexed:
		n.index = make(map[V]int, 2*trieIndexed)
		for i, v := range n.values {
			n.index[v] = i
		}
	}
	return true
}

func (n *trieNode[V]) remove(v V) bool {
	i := n.find(v)
	if i < 0 {
		return false
	}
	last := len(n.values) - 1
	n.values[i] = n.values[last]
	if n.index != nil {
		n.index[n.values[i]] = i
		delete(n.index, v)
	}
	clear(n.values[last:])
	if n.values = n.values[:last]; last == 0 {
		n.values, n.index = nil, nil
	}
	return true
}

// cutSegment takes the first segment from s and reports whether there are more.
func cutSegment(s string, separator byte, first bool) (seg, rest string, more bool) {
	if first && separator != '/' && len(s) > 0 && s[0] == '/' {
		if i := strings.IndexByte(s[1:], '/'); i >= 0 {
			return s[:i+2], s[i+2:], true
		}
	}
	if i := strings.IndexByte(s, separator); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// checkPattern says in words what is wrong with the pattern p, nil if nothing is.
func checkPattern(p string, separator byte) error {
	return checkSegments(p, separator, func(seg string, deep int) error {
		switch {
		case seg != "*" && seg != "**" && strings.Contains(seg, "*"):
			return fmt.Errorf("%q stands beside other characters: * and ** are whole segments", "*")
		case deep > maxDeep:
			return fmt.Errorf("it has more than %d segments **", maxDeep)
		}
		return nil
	})
}

// checkLength says in words why nobody may subscribe to the pattern p, nil if one may.
func checkLength(p string, separator byte) error {
	n := 0
	return checkSegments(p, separator, func(string, int) error {
		if n++; n > maxPattern {
			return fmt.Errorf("it has a wildcard and more than %d segments", maxPattern)
		}
		return nil
	})
}

// checkDestination says in words why nothing can be sent to d, nil if it can: a
// destination has no wildcards.
func checkDestination(d string, separator byte) error {
	return checkSegments(d, separator, func(seg string, _ int) error {
		if seg == "*" || seg == "**" {
			return fmt.Errorf("its segment %s is a wildcard, which only subscriptions have", seg)
		}
		return nil
	})
}

// checkSegments cuts s and has each segment looked at, with how many "**" there were so far.
func checkSegments(s string, separator byte, look func(seg string, deep int) error) error {
	if s == "" {
		return errors.New("it is empty")
	}
	n, deep := 0, 0
	for rest, more := s, true; more; n++ {
		if n == maxSegments {
			return fmt.Errorf("it has more than %d segments", maxSegments)
		}
		var seg string
		seg, rest, more = cutSegment(rest, separator, n == 0)
		if seg == "**" {
			deep++
		}
		if err := look(seg, deep); err != nil {
			return err
		}
	}
	return nil
}

// hasWildcard reports whether p has a segment "*" or "**".
func hasWildcard(p string, separator byte) bool {
	if !strings.Contains(p, "*") {
		return false
	}
	first := true
	for rest, more := p, true; more; first = false {
		var seg string
		seg, rest, more = cutSegment(rest, separator, first)
		if seg == "*" || seg == "**" {
			return true
		}
	}
	return false
}
