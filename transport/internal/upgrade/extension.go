package upgrade

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ExtensionsHeader is the header of offers and answers.
const ExtensionsHeader = "Sec-WebSocket-Extensions"

// extension is one element of Sec-WebSocket-Extensions: an offer or an answer.
type extension struct {
	name   string
	params []param
}

type param struct {
	name, value string
	hasValue    bool
}

var errExtensionSyntax = errors.New("header " + ExtensionsHeader + " is malformed")

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
	for n < len(s) && IsToken(s[n:n+1]) {
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
			if !IsToken(b) {
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

// The sizes that a window can have, as powers of two.
const (
	MinBits = 8
	MaxBits = 15
)

// Deflate are the parameters of permessage-deflate (RFC 7692 section 7.1).
type Deflate struct {
	ServerNoTakeover, ClientNoTakeover bool
	ServerBits, ClientBits             int  // of the windows; 0: not named
	ClientLimit                        bool // client_max_window_bits stands there, in an offer perhaps without a value
}

const (
	deflate          = "permessage-deflate"
	serverNoTakeover = "server_no_context_takeover"
	clientNoTakeover = "client_no_context_takeover"
	serverMaxBits    = "server_max_window_bits"
	clientMaxBits    = "client_max_window_bits"
)

// Offers are a client's offers of permessage-deflate that keep the rules, in its order.
// A header that breaks its syntax offers nothing.
func Offers(lines []string) (offers []Deflate) {
	list, err := parseExtensions(lines)
	if err != nil {
		return nil
	}
	for _, e := range list {
		if e.name != deflate {
			continue
		}
		if d, err := parseParams(e.params, false); err == nil {
			offers = append(offers, d)
		}
	}
	return offers
}

// Answer is a server's answer to an offer of permessage-deflate, nil if it declines.
func Answer(lines []string) (*Deflate, error) {
	list, err := parseExtensions(lines)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, nil
	case len(list) > 1:
		return nil, errors.New("server answers with more than one extension")
	case list[0].name != deflate:
		return nil, fmt.Errorf("server answers with extension %q, which was not offered", list[0].name)
	}
	d, err := parseParams(list[0].params, true)
	if err != nil {
		return nil, fmt.Errorf("server answers %s: %w", deflate, err)
	}
	return &d, nil
}

// parseParams reads the parameters of an offer, or those of an answer. An error says
// which rule they break.
func parseParams(params []param, answer bool) (d Deflate, err error) {
	for i, p := range params {
		for _, q := range params[:i] {
			if q.name == p.name {
				return d, fmt.Errorf("parameter %s is repeated", p.name)
			}
		}
		switch p.name {
		case serverNoTakeover:
			d.ServerNoTakeover, err = true, p.flag()
		case clientNoTakeover:
			d.ClientNoTakeover, err = true, p.flag()
		case serverMaxBits:
			d.ServerBits, err = p.bits()
		case clientMaxBits:
			d.ClientLimit = true
			if p.hasValue || answer {
				d.ClientBits, err = p.bits()
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
	if err != nil || n < MinBits || n > MaxBits || strconv.Itoa(n) != p.value {
		return 0, fmt.Errorf("parameter %s has the value %q, want %d to %d", p.name, p.value, MinBits, MaxBits)
	}
	return n, nil
}

// String is the offer or the answer.
func (d Deflate) String() string {
	s := deflate
	if d.ServerNoTakeover {
		s += "; " + serverNoTakeover
	}
	if d.ClientNoTakeover {
		s += "; " + clientNoTakeover
	}
	if d.ServerBits > 0 {
		s += "; " + serverMaxBits + "=" + strconv.Itoa(d.ServerBits)
	}
	if d.ClientLimit {
		s += "; " + clientMaxBits
		if d.ClientBits > 0 {
			s += "=" + strconv.Itoa(d.ClientBits)
		}
	}
	return s
}
