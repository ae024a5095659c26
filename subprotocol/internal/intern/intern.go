// Package intern makes the strings of decoded messages with as few allocations as
// possible.
package intern

// The bounds of what a Recent keeps: 2 KiB.
const (
	maxStrings = 16
	maxLength  = 128
)

// Recent are strings that are likely to come again. The oldest makes room. The zero
// value is empty and takes no memory.
type Recent struct{ table *table }

type table struct {
	strings [maxStrings]string
	next    int
}

// Set makes *to of b, and leaves it as it is if b is empty. A string that is too long to
// be kept is one of its own too: who keeps the name of a subscription does not keep the
// rest of the message with it.
func (r *Recent) Set(to *string, b []byte) {
	if len(b) == 0 {
		return
	}
	if len(b) > maxLength {
		*to = string(b)
		return
	}
	if r.table == nil {
		r.table = new(table)
	}
	t := r.table
	for _, s := range t.strings {
		if s == string(b) {
			*to = s
			return
		}
	}
	*to = string(b)
	t.strings[t.next] = *to
	t.next = (t.next + 1) % maxStrings
}

// A Batch is strings that are made together, with one allocation. The zero value is an
// empty one.
type Batch struct {
	pending []pending
	joined  []byte
}

// pending is a string that is still to be made.
type pending struct {
	to *string
	n  int
}

// Set has Make make *to of b, which is copied. It does nothing if b is empty.
func (s *Batch) Set(to *string, b []byte) {
	if len(b) > 0 {
		s.joined = append(s.joined, b...)
		s.pending = append(s.pending, pending{to, len(b)})
	}
}

// Make makes the strings.
func (s *Batch) Make() {
	all := string(s.joined)
	for _, p := range s.pending {
		*p.to, all = all[:p.n], all[p.n:]
	}
}

// Reset empties s and keeps its memory.
func (s *Batch) Reset() {
	clear(s.pending)
	s.pending, s.joined = s.pending[:0], s.joined[:0]
}

// Cap is for how many strings, and for how many bytes of them, s has memory.
func (s *Batch) Cap() (strings, bytes int) { return cap(s.pending), cap(s.joined) }
