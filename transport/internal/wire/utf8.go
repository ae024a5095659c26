package wire

import "unicode/utf8"

// UTF8 checks text that comes in parts, and fails at the first byte that no
// continuation could make valid. The zero value is ready.
type UTF8 struct {
	pend [utf8.UTFMax]byte // the beginning of a rune
	n    uint8
}

// Write reports whether what has come, with p, may still become valid text.
func (u *UTF8) Write(p []byte) bool {
	for u.n > 0 && len(p) > 0 {
		u.pend[u.n] = p[0]
		u.n++
		p = p[1:]
		if utf8.FullRune(u.pend[:u.n]) {
			if r, size := utf8.DecodeRune(u.pend[:u.n]); r == utf8.RuneError && size == 1 {
				return false
			}
			u.n = 0
		}
	}
	// A rune that is cut at the end waits for its rest.
	for i := len(p) - 1; i >= 0 && i > len(p)-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				u.n = uint8(copy(u.pend[:], p[i:]))
				p = p[:i]
			}
			break
		}
	}
	return utf8.Valid(p)
}

// Complete reports whether the text may end here.
func (u *UTF8) Complete() bool { return u.n == 0 }
