package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a page sends. Validate also brings it into the form that others see.
type (
	hello struct {
		Name string `json:"name"`
	}
	saying struct {
		Text string `json:"text"`
	}
)

func (h *hello) Validate() error {
	h.Name = clean(h.Name)
	switch {
	case h.Name == "":
		return problem("invalid", "A name needs at least one letter.")
	case length(h.Name) > maxName:
		return problem("invalid", "A name has at most %d characters.", maxName)
	}
	return nil
}

func (s *saying) Validate() error {
	s.Text = strings.TrimSpace(s.Text)
	switch {
	case s.Text == "":
		return problem("invalid", "There was nothing in that message.")
	case length(s.Text) > maxText:
		return problem("invalid", "A message has at most %d characters.", maxText)
	}
	return nil
}

// What a page gets. Type is there for pages without envelopes, which have nothing
// else to tell messages apart. Times are in milliseconds since 1970, as JavaScript
// counts.
type (
	named struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	pong struct {
		Type string `json:"type"`
		At   int64  `json:"at"`
	}
	present struct {
		Type   string   `json:"type"`
		Seq    uint64   `json:"seq"`
		People []member `json:"people"`
		Lines  []event  `json:"lines"`
	}
	member struct {
		Name string `json:"name"`
		Via  string `json:"via"`
	}
	event struct {
		Type string `json:"type"` // "said", "joined" or "left"
		Seq  uint64 `json:"seq"`
		Name string `json:"name"`
		Via  string `json:"via"`
		Text string `json:"text,omitempty"`
		At   int64  `json:"at,omitempty"`
	}
	trouble struct { // for raw, which has no errors of its own
		Type string `json:"type"`
		To   string `json:"to"`
		Code string `json:"code"`
		Text string `json:"message"`
	}
)

// isRoom reports whether a room may have that name.
func isRoom(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}

// clean makes one line of a name, without characters that can't be seen or that
// turn the direction of the text behind them.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r), unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector), r == brailleBlank:
			return -1
		}
		return r
	}, name)
	return strings.Join(strings.Fields(name), " ")
}

// brailleBlank is a symbol without a mark.
const brailleBlank = '\u2800'

func length(s string) int { return utf8.RuneCountInString(s) }
