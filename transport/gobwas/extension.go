package gobwas

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weftws/weft/transport/internal/upgrade"
)

const extensionsHeader = "Sec-WebSocket-Extensions"

// extension is one element of Sec-WebSocket-Extensions: an offer or an answer.
type extension struct {
	name   string
	params []param
}

type param struct {
	name, value string
	hasValue    bool
}

var errExtensionSyntax = errors.New("header " + extensionsHeader + " is malformed")

// parseExtensions reads all lines of the header (RFC 6455 section 9.1). Empty
// elements of a list mean nothing (RFC 9110 section 5.6.1.2).
func parseExtensions(lines []string) (list []extension, err error) {
	for _, s := range lines {
		for s = trimSpace(s); s != ""; {
			if rest, comma := strings.CutPrefix(s, ","); comma {
				s = trimSpace(rest)
				continue
			}
			var e extension
			if e, s, err = cutExtension(s); err != nil {
				return nil, err
			}
			list = append(list, e)
			if s != "" && s[0] != ',' {
				return nil, errExtensionSyntax
			}
		}
	}
	return list, nil
}

// cutExtension takes an extension and its parameters from the front of s.
func cutExtension(s string) (e extension, rest string, err error) {
	if e.name, s = cutToken(s); e.name == "" {
		return e, s, errExtensionSyntax
	}
	for {
		after, semicolon := strings.CutPrefix(s, ";")
		if !semicolon {
			return e, s, nil
		}
		var p param
		if p.name, s = cutToken(trimSpace(after)); p.name == "" {
			return e, s, errExtensionSyntax
		}
		if after, p.hasValue = strings.CutPrefix(s, "="); p.hasValue {
			if p.value, s = cutValue(trimSpace(after)); p.value == "" {
				return e, s, errExtensionSyntax
			}
		}
		e.params = append(e.params, p)
	}
}

func trimSpace(s string) string { return strings.Trim(s, " \t") }

// cutToken returns "" if there is no token at the front of s.
func cutToken(s string) (token, rest string) {
	n := 0
	for n < len(s) && upgrade.IsToken(s[n:n+1]) {
		n++
	}
	return s[:n], trimSpace(s[n:])
}

// cutValue takes a token that may be quoted, and returns "" if there is none.
func cutValue(s string) (token, rest string) {
	if s == "" || s[0] != '"' {
		return cutToken(s)
	}
	var b []byte
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			if !upgrade.IsToken(b) {
				return "", s
			}
			return string(b), trimSpace(s[i+1:])
		case '\\':
			if i++; i == len(s) {
				return "", s
			}
		}
		b = append(b, s[i])
	}
	return "", s
}

// deflateParams are the parameters of permessage-deflate (RFC 7692 section 7.1).
type deflateParams struct {
	serverNoTakeover, clientNoTakeover bool
	serverBits, clientBits             int  // of the windows; 0: not named
	clientLimit                        bool // client_max_window_bits stands there, in an offer perhaps without a value
}

const (
	deflateName      = "permessage-deflate"
	serverNoTakeover = "server_no_context_takeover"
	clientNoTakeover = "client_no_context_takeover"
	serverMaxBits    = "server_max_window_bits"
	clientMaxBits    = "client_max_window_bits"

	minBits, maxBits = 8, 15
)

// parseParams reads the parameters of an offer, or those of an answer. An error says
// which rule they break.
func parseParams(params []param, answer bool) (d deflateParams, err error) {
	for i, p := range params {
		for _, q := range params[:i] {
			if q.name == p.name {
				return d, fmt.Errorf("parameter %s is repeated", p.name)
			}
		}
		switch p.name {
		case serverNoTakeover:
			d.serverNoTakeover, err = true, p.flag()
		case clientNoTakeover:
			d.clientNoTakeover, err = true, p.flag()
		case serverMaxBits:
			d.serverBits, err = p.bits()
		case clientMaxBits:
			d.clientLimit = true
			if p.hasValue || answer {
				d.clientBits, err = p.bits()
			}
		default:
			err = fmt.Errorf("parameter %q is unknown", p.name)
		}
		if err != nil {
			return d, err
		}
	}
	return d, nil
}

func (p param) flag() error {
	if p.hasValue {
		return fmt.Errorf("parameter %s has a value", p.name)
	}
	return nil
}

// bits reads a decimal number without leading zeros.
func (p param) bits() (int, error) {
	n, err := strconv.Atoi(p.value)
	if err != nil || n < minBits || n > maxBits || strconv.Itoa(n) != p.value {
		return 0, fmt.Errorf("parameter %s has the value %q, want %d to %d", p.name, p.value, minBits, maxBits)
	}
	return n, nil
}

func (d deflateParams) String() string {
	s := deflateName
	if d.serverNoTakeover {
		s += "; " + serverNoTakeover
	}
	if d.clientNoTakeover {
		s += "; " + clientNoTakeover
	}
	if d.serverBits > 0 {
		s += "; " + serverMaxBits + "=" + strconv.Itoa(d.serverBits)
	}
	if d.clientLimit {
		s += "; " + clientMaxBits
		if d.clientBits > 0 {
			s += "=" + strconv.Itoa(d.clientBits)
		}
	}
	return s
}

// negotiate answers a client's offers with the first that is acceptable. The
// answer is "" if there is none; the connection is then not compressed.
func (o *Options) negotiate(lines []string) (a *agreement, answer string) {
	if o.Compression == nil {
		return nil, ""
	}
	offers, err := parseExtensions(lines)
	if err != nil {
		return nil, ""
	}
	for _, e := range offers {
		if e.name != deflateName {
			continue
		}
		p, err := parseParams(e.params, false)
		if err != nil {
			continue
		}
		p.serverNoTakeover = p.serverNoTakeover || !o.Compression.ContextTakeover
		p.clientNoTakeover = p.clientNoTakeover || !o.Compression.ContextTakeover
		p.clientLimit = p.clientBits > 0 // without a value the client only says that it could
		return o.Compression.agree(p, false), p.String()
	}
	return nil, ""
}

// offer is what a dialer asks for.
func (c *Compression) offer() deflateParams {
	return deflateParams{serverNoTakeover: !c.ContextTakeover, clientNoTakeover: !c.ContextTakeover, clientLimit: true}
}

// checkAnswer holds the server's answer against the offer (RFC 7692 section 7.1).
func (o *Options) checkAnswer(lines []string) (*agreement, error) {
	if o.Compression == nil {
		return nil, nil // ws.Dialer refuses an answer to nothing
	}
	answers, err := parseExtensions(lines)
	switch {
	case err != nil:
		return nil, err
	case len(answers) == 0:
		return nil, nil
	case len(answers) > 1:
		return nil, errors.New("server answers with more than one extension")
	case answers[0].name != deflateName:
		return nil, fmt.Errorf("server answers with extension %q, which was not offered", answers[0].name)
	}
	p, err := parseParams(answers[0].params, true)
	if err != nil {
		return nil, fmt.Errorf("server answers %s: %w", deflateName, err)
	}
	if o.Compression.offer().serverNoTakeover && !p.serverNoTakeover {
		return nil, fmt.Errorf("server answers %s without %s", deflateName, serverNoTakeover)
	}
	p.clientNoTakeover = p.clientNoTakeover || !o.Compression.ContextTakeover
	return o.Compression.agree(p, true), nil
}

// agree makes what both sides know of p.
func (c *Compression) agree(p deflateParams, client bool) *agreement {
	out, in := p.serverBits, p.clientBits
	outDrops, inDrops := p.serverNoTakeover, p.clientNoTakeover
	if client {
		out, in, outDrops, inDrops = in, out, inDrops, outDrops
	}
	a := newAgreement(c, out, !outDrops, !inDrops)
	if in > 0 {
		a.readWindow = 1 << in
	}
	return a
}
