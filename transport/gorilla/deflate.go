package gorilla

import (
	"errors"
	"slices"

	"github.com/weftws/weft/transport/internal/upgrade"
)

// acceptOffers reports whether one of a client's offers can be answered with what
// gorilla does: no context takeover, windows of 32 KiB (RFC 7692 section 7.1).
func acceptOffers(lines []string) bool {
	return slices.ContainsFunc(upgrade.Offers(lines), func(d upgrade.Deflate) bool {
		return d.ServerBits == 0 // gorilla has no smaller window
	})
}

var (
	errNotOffered = errors.New("the answer names extensions that were not offered")
	errTakeover   = errors.New("the answer to permessage-deflate is not what was offered")
)

// checkAnswer says whether compression was agreed on. offered is whether it was.
func checkAnswer(lines []string, offered bool) (deflate bool, err error) {
	d, err := upgrade.Answer(lines)
	switch {
	case d == nil:
		return false, err
	case !offered:
		return false, errNotOffered
	// The server may compress with a smaller window on its own account; the offer does
	// not say that this side could.
	case !d.ServerNoTakeover, !d.ClientNoTakeover, d.ClientLimit:
		return false, errTakeover
	}
	return true, nil
}
