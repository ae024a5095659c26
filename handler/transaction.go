package handler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftws/weft/subprotocol"
)

// transaction is what a client does together. Until Commit the session keeps its
// messages; then they are handled one after the other, and if all went well, what
// they do to others follows, in order.
type transaction struct {
	name    string
	parts   []part
	bytes   int
	failed  string // why it can't be committed any more; it holds no messages then
	large   bool   // failed for want of room
	cut     bool   // a part found the session ended
	effects []func() error
	unpaid  []string // while it is committed: receipts that were asked for and not answered
}

// part is a message of a transaction, and what its answer needs: the handler may change
// the message.
type part struct {
	message               *subprotocol.Message
	receipt, subscription string
}

// beginTransaction opens a transaction.
func (s *Session) beginTransaction(m *subprotocol.Message) error {
	d := s.dialogue
	switch {
	case s.transaction(m.Transaction) >= 0:
		return s.deny(m, "transaction-exists", "this session has an open transaction "+quoted(m.Transaction)+" already")
	case len(d.open) >= s.endpoint.cfg.maxTransactions:
		return s.deny(m, "too-many-transactions", "this session has as many open transactions as it may have")
	}
	// A copy, because a framer may have made all strings of a message in one piece.
	d.open = append(d.open, &transaction{name: strings.Clone(m.Transaction)})
	s.done(m.Receipt)
	return nil
}

// transaction is where the open transaction of that name stands, -1 for none.
func (s *Session) transaction(name string) int {
	return slices.IndexFunc(s.dialogue.open, func(t *transaction) bool { return t.name == name })
}

// enlist keeps m, a part of a transaction, for its Commit. A transaction that can't
// have all of its parts must not be committed.
func (s *Session) enlist(m *subprotocol.Message) error {
	i := s.transaction(m.Transaction)
	if i < 0 {
		return s.deny(m, "no-transaction", "this session has no open transaction "+quoted(m.Transaction))
	}
	d, t, l := s.dialogue, s.dialogue.open[i], &s.endpoint.cfg.transaction
	size := sizeOf(m)
	if t.failed == "" && (d.held.Messages >= l.Messages || d.held.Bytes+size > l.Bytes) {
		t.large = true
		d.spoil(t, fmt.Sprintf("its parts exceed %d messages or %d bytes", l.Messages, l.Bytes))
	}
	if t.failed != "" {
		code := "transaction-failed"
		if t.large {
			code = "transaction-too-large"
		}
		return s.deny(m, code, "the transaction can't be committed any more: "+t.failed)
	}
	d.hold(t, part{m.Clone(), m.Receipt, m.Subscription}, size)
	return nil
}

// hold adds p to t.
func (d *dialogue) hold(t *transaction, p part, size int) {
	t.parts = append(t.parts, p)
	t.bytes += size
	d.held.Messages++
	d.held.Bytes += size
}

// release forgets the parts of t.
func (d *dialogue) release(t *transaction) {
	d.held.Messages -= len(t.parts)
	d.held.Bytes -= t.bytes
	t.parts, t.bytes = nil, 0
}

// spoil has t fail, and keeps of its parts only what the answers to them need.
func (d *dialogue) spoil(t *transaction, why string) {
	const fixed = 64
	parts := t.parts
	d.release(t)
	t.failed = why
	for _, p := range parts {
		if p.receipt != "" {
			// Copies, as the name is one.
			p = part{nil, strings.Clone(p.receipt), strings.Clone(p.subscription)}
			d.hold(t, p, fixed+len(p.receipt)+len(p.subscription))
		}
	}
}

// refused notes that a message was refused that is, or may have been, a part of a
// transaction: of any that is open if name is "".
func (d *dialogue) refused(name string) {
	for _, t := range d.open {
		if t.failed == "" && (name == "" || name == t.name) {
			d.spoil(t, "a message was refused that may be a part of it")
		}
	}
}

// sizeOf is about the memory that a clone of m takes.
func sizeOf(m *subprotocol.Message) int {
	const fixed, field = 320, 32
	n := fixed + len(m.Destination) + len(m.ID) + len(m.Subscription) + len(m.Receipt) + len(m.Transaction) +
		len(m.Version) + len(m.ContentType) + len(m.Body)
	for _, h := range m.Header {
		n += field + len(h.Name) + len(h.Value)
	}
	return n
}

// abort forgets a transaction. Its parts get no answer, because they took no effect.
func (s *Session) abort(m *subprotocol.Message) error {
	if s.takeTransaction(m.Transaction) == nil {
		return s.deny(m, "no-transaction", "this session has no open transaction "+quoted(m.Transaction))
	}
	s.done(m.Receipt)
	return nil
}

// takeTransaction takes the transaction of that name, with its parts, out of the open ones.
// It returns nil if there is none.
func (s *Session) takeTransaction(name string) *transaction {
	i := s.transaction(name)
	if i < 0 {
		return nil
	}
	d := s.dialogue
	t := d.open[i]
	d.open = slices.Delete(d.open, i, i+1)
	parts := t.parts
	d.release(t)
	t.parts = parts // the caller's
	return t
}

// commit handles the parts of a transaction. Its effects follow only if none of the
// parts failed; then each part, and the Commit, gets its receipt.
func (s *Session) commit(m *subprotocol.Message) error {
	t := s.takeTransaction(m.Transaction)
	if t == nil {
		return s.deny(m, "no-transaction", "this session has no open transaction "+quoted(m.Transaction))
	}
	if t.failed != "" {
		return s.none(m, t, -1, "nothing of the transaction was done: "+t.failed)
	}
	for i, p := range t.parts {
		if s.in.Load()&inStopped != 0 {
			return errStopped
		}
		if failure := s.handle(p.message, t); failure != nil {
			if failure.Receipt == "" && (failure.Fatal || s.framer.Features().FatalErrors) {
				failure.Receipt = m.Receipt // no other answer follows
			}
			if err := s.fail(failure); err != nil {
				return err
			}
			return s.none(m, t, i, "a part of the transaction failed, nothing of it was done")
		}
		if t.cut {
			return errStopped
		}
	}
	for _, p := range t.parts {
		t.unpaid = append(t.unpaid, p.receipt)
	}
	// An effect may add another.
	for i := 0; i < len(t.effects); i++ {
		if err := t.effects[i](); err != nil {
			return s.incomplete(m, t, err)
		}
	}
	for _, receipt := range append(t.unpaid, m.Receipt) {
		s.done(receipt)
	}
	return nil
}

// none answers a Commit that did nothing, and all parts but number i that asked for a
// receipt.
func (s *Session) none(m *subprotocol.Message, t *transaction, i int, text string) error {
	const code = "transaction-failed"
	for j, p := range t.parts {
		if j == i || p.receipt == "" {
			continue
		}
		err := s.fail(&subprotocol.Error{
			Code: code, Text: "another part of the transaction failed", Receipt: p.receipt, Subscription: p.subscription,
		})
		if err != nil {
			return err
		}
	}
	return s.deny(m, code, text)
}

// incomplete answers a Commit, one of whose effects failed with err, and the parts that
// asked for a receipt and have no answer yet.
func (s *Session) incomplete(m *subprotocol.Message, t *transaction, err error) error {
	s.handlerError(m, err)
	shown := s.shownError(err, subprotocol.Error{Code: "transaction-incomplete", Text: "only a part of the transaction was done"})
	for _, receipt := range t.unpaid {
		if receipt == "" {
			continue
		}
		shown.Receipt = receipt
		if err := s.fail(&shown); err != nil {
			return err
		}
	}
	shown.Receipt = m.Receipt
	return s.fail(&shown)
}

// reply keeps m, the answer to a part, until the effects are done. It refuses what can't be
// sent, because the part can still fail now. paid is the receipt that m answers, "" for none.
func (t *transaction) reply(s *Session, sc *scratch, paid string) (Status, error) {
	b, _, err := s.framer.Append(sc.buf[:0], &sc.msg)
	if err != nil {
		s.endpoint.pools.freeScratch(sc)
		return s.refuse(err)
	}
	sc.buf = b
	m := sc.msg.Clone()
	s.endpoint.pools.freeScratch(sc)
	t.effects = append(t.effects, func() error {
		status, _ := s.reply(s.endpoint.pools.scratch(m))
		s.closeAfter(m)
		// That this client gets no answer does not keep the others from theirs.
		if i := slices.Index(t.unpaid, paid); i >= 0 && (status == Sent || status == Queued) {
			t.unpaid[i] = ""
		}
		return nil
	})
	return Queued, nil
}
