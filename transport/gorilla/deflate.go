package gorilla

import (
	"errors"
	"strings"

	"github.com/weftws/weft/transport/internal/upgrade"
)

const (
	deflateName    = "permessage-deflate"
	serverTakeover = "server_no_context_takeover"
	clientTakeover = "client_no_context_takeover"
	serverWindow   = "server_max_window_bits"
	clientWindow   = "client_max_window_bits"
)

// acceptOffers reports whether one of a client's offers can be answered with what
// gorilla does: no context takeover, windows of 32 KiB (RFC 7692 section 7.1).
func acceptOffers(lines []string) bool {
	for _, line := range lines {
		offers, ok := parseExtensions(line)
		if !ok {
			continue
		}
		for _, offer := range offers {
			if offer.name == deflateName && offer.acceptable() {
				return true
			}
		}
	}
	return false
}

// acceptable reports whether all parameters of an offer are known, well-formed and not
// repeated. A smaller window for the server is not acceptable: gorilla has none.
func (e *extension) acceptable() bool {
	seen := map[string]bool{}
	for _, p := range e.params {
		if seen[p.name] {
			return false
		}
		seen[p.name] = true
		switch p.name {
		case serverTakeover, clientTakeover:
			if p.hasValue {
				return false
			}
		case clientWindow:
			// A hint that the client can use a smaller window: not taken up.
			if p.hasValue && !windowBits(p.value) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func windowBits(s string) bool {
	return s == "8" || s == "9" || len(s) == 2 && s[0] == '1' && s[1] >= '0' && s[1] <= '5'
}

var (
	errNotOffered = errors.New("the answer names extensions that were not offered")
	errTakeover   = errors.New("the answer to " + deflateName + " is not what was offered")
)

// checkAnswer says whether compression was agreed on. offered is whether it was.
func checkAnswer(lines []string, offered bool) (deflate bool, err error) {
	if len(lines) == 0 {
		return false, nil
	}
	if len(lines) > 1 || !offered {
		return false, errNotOffered
	}
	answers, ok := parseExtensions(lines[0])
	if !ok || len(answers) != 1 || answers[0].name != deflateName {
		return false, errNotOffered
	}
	// The server may compress with a smaller window on its own account; the offer does
	// not say that this side could.
	seen := map[string]bool{}
	for _, p := range answers[0].params {
		known := !p.hasValue && (p.name == serverTakeover || p.name == clientTakeover) ||
			p.hasValue && p.name == serverWindow && windowBits(p.value)
		if !known || seen[p.name] {
			return false, errTakeover
		}
		seen[p.name] = true
	}
	if !seen[serverTakeover] || !seen[clientTakeover] {
		return false, errTakeover
	}
	return true, nil
}

// extension is one of a Sec-WebSocket-Extensions line.
type extension struct {
	name   string
	params []param
}

type param struct {
	name, value string
	hasValue    bool
}

// maxExtensions bounds the extensions of a line, and the parameters of each.
const maxExtensions = 16

// parseExtensions parses a line (RFC 6455 section 9.1); one that is malformed is not
// used at all.
func parseExtensions(line string) (all []extension, ok bool) {
	for {
		var e extension
		if e.name, line = token(line); e.name == "" || len(all) == maxExtensions {
			return nil, false
		}
		for strings.HasPrefix(line, ";") {
			var p param
			if p.name, line = token(line[1:]); p.name == "" || len(e.params) == maxExtensions {
				return nil, false
			}
			if strings.HasPrefix(line, "=") {
				p.hasValue = true
				if p.value, line = value(line[1:]); p.value == "" {
					return nil, false
				}
			}
			e.params = append(e.params, p)
		}
		all = append(all, e)
		if line == "" {
			return all, true
		}
		if line[0] != ',' {
			return nil, false
		}
		line = line[1:]
	}
}

// token cuts a token and the white space around it off the front of s.
func token(s string) (t, rest string) {
	s = strings.TrimLeft(s, " \t")
	n := strings.IndexAny(s, " \t;,=")
	if n < 0 {
		n = len(s)
	}
	if !upgrade.IsToken(s[:n]) {
		return "", s
	}
	return s[:n], strings.TrimLeft(s[n:], " \t")
}

// value cuts a token, or a string in quotes that is one without them, off the front
// of s.
func value(s string) (v, rest string) {
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		return token(s)
	}
	v, rest, found := strings.Cut(s[1:], `"`)
	if !found || !upgrade.IsToken(v) {
		return "", s
	}
	return v, strings.TrimLeft(rest, " \t")
}
