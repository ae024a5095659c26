package inspect

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

var stompCommands = []string{
	"CONNECT", "STOMP", "CONNECTED", "SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT",
	"DISCONNECT", "MESSAGE", "RECEIPT", "ERROR",
}

// stomp writes frames of STOMP, and heartbeats, if data begins with a frame or consists of
// heartbeats. What it does not understand behind that, it leaves out.
func (p *printer) stomp(data []byte, depth int) bool {
	if depth > maxDepth {
		return false
	}
	for first := true; ; first = false {
		rest := bytes.TrimLeft(data, "\r\n")
		if len(rest) == 0 {
			if first && len(data) > 0 {
				p.WriteString("(heartbeat)")
			}
			return !first || len(data) > 0
		}
		f, rest, ok := stompFrame(rest)
		if !ok {
			if first {
				return false
			}
			p.WriteByte('\n')
			p.unknown(data, false)
			return true
		}
		if !first {
			p.WriteByte('\n')
		}
		p.stompFrame(&f, depth)
		data = rest
		if p.full() {
			return true
		}
	}
}

type stompHeader struct{ name, value string }

type stompParts struct {
	command string
	header  []stompHeader
	body    []byte
	broken  bool // it ends before its end; what is missing is not in header or body
	left    int  // bytes that are left out for that
}

// stompFrame cuts one frame from the front of data, which is not empty. A frame that is not
// all there keeps its whole headers only.
func stompFrame(data []byte) (f stompParts, rest []byte, ok bool) {
	line, rest, more := cutLine(data)
	f.command = string(line)
	if !more || !slices.Contains(stompCommands, f.command) {
		return f, nil, false
	}
	length := -1
	for {
		whole := rest
		line, rest, more = cutLine(rest)
		if !more {
			f.broken, f.left = true, len(whole)
			return f, nil, true
		}
		if len(line) == 0 {
			break
		}
		name, value, colon := strings.Cut(string(line), ":")
		if !colon || bytes.IndexByte(line, 0) >= 0 || !utf8.Valid(line) {
			return f, nil, false
		}
		f.header = append(f.header, stompHeader{name, value})
		if strings.TrimSpace(name) == "content-length" && length < 0 {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
			if err != nil {
				return f, nil, false
			}
			length = int(n)
		}
	}
	if length < 0 {
		length = bytes.IndexByte(rest, 0)
	}
	if length < 0 || length >= len(rest) {
		f.broken, f.left = true, len(rest)
		return f, nil, true
	}
	if rest[length] != 0 {
		return f, nil, false
	}
	f.body = rest[:length]
	return f, rest[length+1:], true
}

func cutLine(data []byte) (line, rest []byte, ok bool) {
	line, rest, ok = bytes.Cut(data, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest, ok
}

var stompEscapes = strings.NewReplacer(`\\`, `\`, `\c`, ":", `\n`, "\n", `\r`, "\r")

func (p *printer) stompFrame(f *stompParts, depth int) {
	p.WriteString(f.command)
	p.WriteByte('\n')
	for _, h := range f.header {
		p.text(h.name)
		p.WriteByte(':')
		// Whether the escapes count depends on the frame and the version.
		if p.isSecret(h.name) || p.isSecret(stompEscapes.Replace(h.name)) {
			p.mask()
		} else {
			p.string(stompEscapes.Replace(h.value), depth, func(s string) { p.text(strings.ReplaceAll(s, "\n", `\n`)) })
		}
		p.WriteByte('\n')
	}
	switch {
	case f.broken:
		p.WriteString("\n(and ")
		p.WriteString(strconv.Itoa(f.left))
		p.WriteString(" bytes of a frame that goes on)")
	case len(f.body) > 0:
		p.WriteByte('\n')
		p.body(f.body, depth)
	}
}
