package inspect

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weftws/weft/transport"
)

// maxText bounds the text of a frame, in bytes.
const maxText = 4096

// The sub-protocols whose frames are of one format. Frames of others are taken for what they
// look like.
const (
	envelopeJSON    = "v1.json.weft"
	envelopeMsgpack = "v1.msgpack.weft"
	stompSuffix     = ".stomp"
)

// masker makes texts of frames in which no credential stands.
type masker struct {
	secret func(name string) bool // may be nil
	opaque bool
}

// shown is what is shown of a frame.
type shown struct {
	Format string `json:"format,omitempty"` // "JSON", "msgpack", "STOMP", "" if it is in none of them
	Text   string `json:"text,omitempty"`
	Masked int    `json:"masked,omitempty"`
}

// frame shows data, which is a whole transport message of a session that speaks subProtocol.
func (m *masker) frame(subProtocol string, typ transport.MessageType, data []byte) shown {
	p := printer{masker: m}
	format := ""
	switch {
	case subProtocol == envelopeJSON:
		if n, err := parseJSON(data); err == nil {
			format = "JSON"
			p.envelope(n)
		}
	case subProtocol == envelopeMsgpack:
		if n, err := parseMsgpack(data); err == nil {
			format = "msgpack"
			p.envelope(n)
		}
	case strings.HasSuffix(subProtocol, stompSuffix):
		if p.stomp(data, 0) {
			format = "STOMP"
		}
	default:
		format = p.structured(data, 0)
	}
	if format == "" {
		p = printer{masker: m}
		p.unknown(data, typ == transport.MessageText)
	}
	return shown{format, p.String(), p.masked}
}

// clean returns a text of the client's that is about a session, in at most maxName bytes,
// without its credentials.
func (m *masker) clean(s string) string {
	s, cut := prefix(s, maxName)
	s, _ = m.scan(s)
	p := printer{masker: m}
	p.text(s)
	if cut {
		p.WriteString("…")
	}
	return p.String()
}

const maxName = 256

// prefix returns at most n bytes of s that are whole letters, and whether that is not all.
func prefix(s string, n int) (string, bool) {
	if len(s) <= n {
		return s, false
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], true
}

// printer writes a frame as text, and stops a little behind maxText.
type printer struct {
	strings.Builder
	*masker
	masked int
}

func (p *printer) String() string {
	s, cut := prefix(p.Builder.String(), maxText)
	if cut {
		s += "…"
	}
	return s
}

func (p *printer) full() bool { return p.Len() > maxText }

// printf can't fail.
func (p *printer) printf(format string, args ...any) { _, _ = fmt.Fprintf(&p.Builder, format, args...) }

func (p *printer) mask() {
	p.masked++
	p.WriteString(mask)
}

// text writes s so that it can neither hide nor turn around what stands beside it.
func (p *printer) text(s string) {
	for _, r := range s {
		switch {
		case p.full():
			return
		case r == '\n', unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
			p.WriteRune(r)
		default:
			p.printf(`\u{%x}`, r)
		}
	}
}

// structured writes data if it is a value with names, or STOMP, and returns its format.
func (p *printer) structured(data []byte, depth int) string {
	if n, err := parseJSON(data); err == nil && n.kind >= array {
		p.value(n, false, depth)
		return "JSON"
	}
	if p.stomp(data, depth) {
		return "STOMP"
	}
	if n, err := parseMsgpack(data); err == nil && n.kind >= array {
		p.value(n, false, depth)
		return "msgpack"
	}
	return ""
}

// unknown writes what has no names for its parts.
func (p *printer) unknown(data []byte, text bool) {
	text = text || utf8.Valid(data)
	switch {
	case len(data) == 0:
	case !p.opaque && text:
		p.printf("(text, %d bytes)", len(data))
	case !p.opaque:
		p.printf("(%d bytes)", len(data))
	case text:
		p.scanned(string(data))
	default:
		p.WriteString(hex.EncodeToString(data[:min(len(data), maxText/2)]))
	}
}

// scanned writes a text without the credentials that are named in it.
func (p *printer) scanned(s string) {
	s, masked := p.scan(s)
	p.text(s)
	if masked {
		p.masked++
	}
}

// value writes n. named says that something has a name for it.
func (p *printer) value(n node, named bool, depth int) {
	if p.full() {
		return
	}
	if depth > maxDepth {
		p.WriteString(mask)
		return
	}
	switch n.kind {
	case literal:
		if named {
			p.WriteString(n.text)
		} else {
			p.mask()
		}
	case str:
		if named {
			p.string(n.text, depth, p.quote)
		} else {
			p.body([]byte(n.text), depth)
		}
	case bin:
		p.body([]byte(n.text), depth)
	case ext:
		p.printf("(ext, %d bytes)", len(n.text)-1)
	case array:
		p.WriteByte('[')
		secret := false
		for i, item := range n.items {
			p.comma(i > 0)
			if secret {
				p.mask()
				continue
			}
			secret = p.names(item) || len(n.items) == 2 && item.kind == str && p.isSecret(item.text)
			p.value(item, named, depth+1)
		}
		p.WriteByte(']')
	case object:
		p.object(n, depth, nil)
	}
}

func (p *printer) comma(needed bool) {
	if needed {
		p.WriteByte(',')
	}
}

// object writes an object. A member for which special writes something is written by it.
func (p *printer) object(n node, depth int, special func(name string, v node) bool) {
	// {"name":"token","value":"..."} says which secret it is in a value.
	told := -1
	for i := 1; i < len(n.items) && told < 0; i += 2 {
		if name := n.items[i-1].text; (p.names(n.items[i]) || name == "path" && p.leads(n.items[i])) && !p.isSecret(name) {
			told = i
		}
	}
	p.WriteByte('{')
	for i := 0; i < len(n.items) && !p.full(); i += 2 {
		name, v := n.items[i], n.items[i+1]
		p.comma(i > 0)
		switch {
		case name.kind >= array:
			p.value(name, false, depth+1)
		case isName(name.text):
			p.quote(name.text)
		default:
			p.string(name.text, maxDepth, p.quote)
		}
		p.WriteByte(':')
		switch {
		case name.kind >= array, p.isSecret(name.text), told >= 0 && told != i+1:
			p.mask()
		case special != nil && special(name.text, v):
		default:
			p.value(v, true, depth+1)
		}
	}
	p.WriteByte('}')
}

// envelope writes an envelope of weft's. The fields that hold bodies are bytes of any kind.
func (p *printer) envelope(n node) {
	if n.kind != object {
		p.value(n, false, 0)
		return
	}
	p.object(n, 0, func(name string, v node) bool {
		switch {
		case (name == "text" || name == "body") && v.kind == str:
			p.body([]byte(v.text), 1)
		case name == "base64" && v.kind == str:
			if b := fromBase64(v.text); b != nil {
				p.body(b, 1)
			} else {
				p.mask()
			}
		default:
			return false
		}
		return true
	})
}

// body writes bytes that are a value of their own.
func (p *printer) body(b []byte, depth int) {
	if p.structured(b, depth+1) == "" {
		p.unknown(b, false)
	}
}

// string writes a string that has a name, with write unless it holds a value of its own.
func (p *printer) string(s string, depth int, write func(string)) {
	if strings.ContainsAny(s, "{[\n") && p.structured([]byte(s), depth+1) != "" {
		return
	}
	if b := fromBase64(s); len(b) >= minBase64 {
		inner := printer{masker: p.masker}
		if format := inner.structured(b, maxDepth); format != "" {
			p.masked++
			p.printf("(base64 of %s, %d bytes)", format, len(s))
			return
		}
	}
	s, masked := p.scan(s)
	if masked {
		p.masked++
	}
	write(s)
}

// minBase64 is how long a value must be for its base64 to be looked into.
const minBase64 = 6

// quote writes s as a string of JSON, but for what text does.
func (p *printer) quote(s string) {
	p.WriteByte('"')
	p.text(quoter.Replace(s))
	p.WriteByte('"')
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// names reports whether a value is the name of a credential, so that what stands beside it
// is the credential.
func (p *printer) names(n node) bool {
	return n.kind == str && len(n.text) <= 40 && len(strings.Fields(n.text)) <= 2 && isName(n.text) && p.isSecret(n.text)
}

// leads reports whether a path, such as JSON Patch has, ends at a credential.
func (p *printer) leads(n node) bool {
	if n.kind == array && len(n.items) > 0 {
		n = n.items[len(n.items)-1]
	}
	return p.isSecret(n.text[strings.LastIndexByte(n.text, '/')+1:])
}

func isName(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" _-.:$@[]", r)
	})
}
