package middleware

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// How many bytes of what others wrote stand in a line of the log.
const (
	maxName = 200
	maxText = 500
)

// clean returns s without anything that could forge a line of a log or move a
// terminal's cursor, and cut after limit bytes.
func clean(s string, limit int) string {
	if len(s) <= limit && plain(s) {
		return s
	}
	var b strings.Builder
	for i, c := range s {
		n := utf8.RuneLen(c)
		if i+n > limit {
			b.WriteString("...")
			break
		}
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			c = '?'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// plain reports whether s is printable ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
