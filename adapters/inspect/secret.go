package inspect

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mask stands where something is not shown.
const mask = "•••"

// A name is secret if one of secretParts stands in it, or one of its words is one of
// secretNames. Names are compared in lower case and without what is neither a letter nor a
// digit: Api-Key is apikey, and the words of dbPass and db_pass are db and pass.
var (
	secretParts = []string{
		"accesskey", "apikey", "assertion", "authkey", "authorization", "bearer", "cookie", "credential", "csrf", "jwt",
		"masterkey", "onetime", "passcode", "passphrase", "passwd", "password", "passwort", "privatekey", "pwd", "secret",
		"sessid", "sessionid", "sessionkey", "sharedkey", "signature", "signingkey", "token", "xsrf",
	}
	secretNames = []string{"auth", "mfa", "otp", "pass", "pin", "sid", "sig", "totp"}

	// What texts, which have spaces, say for some of secretParts.
	secretPhrases = []string{
		"access key", "api key", "master key", "private key", "session id", "session key", "shared key", "signing key",
	}
)

// isSecret reports whether what has this name is a credential.
func (m *masker) isSecret(name string) bool {
	if m.secret != nil && m.secret(name) {
		return true
	}
	n := plain(name)
	return short(name, n) || slices.ContainsFunc(secretParts, func(p string) bool { return strings.Contains(n, p) })
}

// short reports whether name, which is n when it is plain, has a word of secretNames.
func short(name, n string) bool {
	if strings.HasSuffix(n, "auth") || slices.Contains(secretNames, n) {
		return true
	}
	if !slices.ContainsFunc(secretNames, func(p string) bool { return strings.Contains(n, p) }) {
		return false
	}
	letters, begin := []rune(name), 0
	for i := 1; i <= len(letters); i++ {
		if i < len(letters) && fold(letters[i]) >= 0 && !capital(letters, i) {
			continue
		}
		if slices.Contains(secretNames, strings.TrimRight(plain(string(letters[begin:i])), "0123456789")) {
			return true
		}
		begin = i
	}
	return false
}

// capital reports whether a word begins at i, which is not 0, as in dbPass and in SMSOtp.
func capital(letters []rune, i int) bool {
	return unicode.IsUpper(letters[i]) &&
		(!unicode.IsUpper(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1]))
}

// plain returns the letters and digits of s as fold has them.
func plain(s string) string { return strings.Map(fold, s) }

// fold returns a letter or digit in lower case, and -1 for all else. Letters that are one of
// ASCII for those who don't look at case, such as the Kelvin sign, are that one.
func fold(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
		return r
	case r >= 'A' && r <= 'Z':
		return r + 'a' - 'A'
	case r < utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r):
		return -1
	}
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		if f < utf8.RuneSelf {
			return unicode.ToLower(f)
		}
	}
	return unicode.ToLower(r)
}

// scan returns a text of the client's up to the first word that names a credential, and
// whether there was something behind it.
func (m *masker) scan(s string) (string, bool) {
	cut := m.credential(s)
	visible := s
	if cut >= 0 {
		visible = s[:cut]
	}
	if strings.ContainsAny(visible, `%\`) { // it may be said in escapes
		d := visible
		for range 3 {
			d = unescape(d)
		}
		if c := m.credential(d); c >= 0 && (cut < 0 || c < len(d)) {
			return mask, true
		}
	}
	if cut < 0 || cut == len(s) {
		return s, false
	}
	return visible + mask, true
}

// unescape resolves the escapes of URLs, and of JSON by number, and leaves alone what is none.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if u, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(u)
				i += 2
				continue
			}
		}
		if strings.HasPrefix(s[i:], `\u`) && i+6 <= len(s) {
			if u, err := strconv.ParseUint(s[i+2:i+6], 16, 16); err == nil {
				b.WriteRune(rune(u))
				i += 5
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// credential returns where in s what is secret begins, -1 if nothing is.
func (m *masker) credential(s string) int {
	cut := -1
	earliest := func(i int) {
		if i >= 0 && (cut < 0 || i < cut) {
			cut = i
		}
	}
	// folded is s as plain has it, with a space wherever a word ends, and ends[i] the place
	// in s behind folded[i].
	folded := make([]byte, 0, len(s)+1)
	ends := make([]int, 0, len(s)+1)
	word, begin := 0, 0 // where the word under way begins in folded and in s
	flush := func(end int) {
		if len(folded) == word {
			return
		}
		if short(s[begin:end], string(folded[word:])) || m.secret != nil && m.secret(s[begin:end]) {
			earliest(end)
		}
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if f := fold(r); f >= 0 {
			if len(folded) == word {
				begin = i
			}
			for folded = utf8.AppendRune(folded, f); len(ends) < len(folded); {
				ends = append(ends, i+n)
			}
		} else if r != '-' && r != '_' && r != '.' {
			flush(i)
			folded, ends = append(folded, ' '), append(ends, i+n)
			word = len(folded)
		}
		i += n
	}
	flush(len(s))
	text := string(folded)
	for _, all := range [][]string{secretParts, secretPhrases} {
		for _, p := range all {
			if i := strings.Index(text, p); i >= 0 {
				earliest(ends[i+len(p)-1])
			}
		}
	}
	earliest(webToken(s))
	earliest(userinfo(s))
	earliest(basic(s))
	return cut
}

// webToken finds a JSON Web Token, which says by itself what it is.
func webToken(s string) int {
	for at := 0; ; {
		i := strings.Index(s[at:], "eyJ")
		if i < 0 {
			return -1
		}
		at += i
		if token68(s[at:]) >= 16 {
			return at
		}
		at += 3
	}
}

// userinfo finds the user and password of a URL.
func userinfo(s string) int {
	for at := 0; ; {
		i := strings.Index(s[at:], "://")
		if i < 0 {
			return -1
		}
		at += i + 3
		authority := s[at:]
		if end := strings.IndexAny(authority, "/?# \t\r\n\"'"); end >= 0 {
			authority = authority[:end]
		}
		if strings.Contains(authority, "@") {
			return at
		}
	}
}

// basic finds what follows the word Basic if it looks like its credentials.
func basic(s string) int {
	const word = "basic "
	for i := range max(0, len(s)-len(word)) {
		if strings.EqualFold(s[i:i+len(word)], word) && token68(strings.TrimLeft(s[i+len(word):], " ")) >= 8 {
			return i + len(word)
		}
	}
	return -1
}

// token68 is how many bytes at the front of s may stand in a token68 (RFC 9110 section 11.2).
func token68(s string) int {
	n := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~+/=", r))
	})
	if n < 0 {
		return len(s)
	}
	return n
}

// fromBase64 decodes what is base64 in any of its usual forms, and returns nil for what is not.
func fromBase64(s string) []byte {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
