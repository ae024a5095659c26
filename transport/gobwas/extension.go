package gobwas

import (
	"errors"

	"github.com/weftws/weft/transport/internal/upgrade"
)

// negotiate answers a client's offers with the first that is acceptable. The
// answer is "" if there is none; the connection is then not compressed.
func (o *Options) negotiate(lines []string) (a *agreement, answer string) {
	if o.Compression == nil {
		return nil, ""
	}
	offers := upgrade.Offers(lines)
	if len(offers) == 0 {
		return nil, ""
	}
	p := offers[0]
	p.ServerNoTakeover = p.ServerNoTakeover || !o.Compression.ContextTakeover
	p.ClientNoTakeover = p.ClientNoTakeover || !o.Compression.ContextTakeover
	p.ClientLimit = p.ClientBits > 0 // without a value the client only says that it could
	return o.Compression.agree(p, false), p.String()
}

// offer is what a dialer asks for.
func (c *Compression) offer() upgrade.Deflate {
	return upgrade.Deflate{ServerNoTakeover: !c.ContextTakeover, ClientNoTakeover: !c.ContextTakeover, ClientLimit: true}
}

// checkAnswer holds the server's answer against the offer (RFC 7692 section 7.1).
func (o *Options) checkAnswer(lines []string) (*agreement, error) {
	if o.Compression == nil {
		return nil, nil // ws.Dialer refuses an answer to nothing
	}
	p, err := upgrade.Answer(lines)
	if p == nil {
		return nil, err
	}
	if o.Compression.offer().ServerNoTakeover && !p.ServerNoTakeover {
		return nil, errors.New("server answers permessage-deflate without server_no_context_takeover")
	}
	p.ClientNoTakeover = p.ClientNoTakeover || !o.Compression.ContextTakeover
	return o.Compression.agree(*p, true), nil
}

// agree makes what both sides know of p.
func (c *Compression) agree(p upgrade.Deflate, client bool) *agreement {
	out, in := p.ServerBits, p.ClientBits
	outDrops, inDrops := p.ServerNoTakeover, p.ClientNoTakeover
	if client {
		out, in, outDrops, inDrops = in, out, inDrops, outDrops
	}
	a := newAgreement(c, out, !outDrops, !inDrops)
	if in > 0 {
		a.readWindow = 1 << in
	}
	return a
}
