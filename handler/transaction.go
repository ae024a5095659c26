package handler

import (
	"fmt"
	"slices"

	"github.com/weftws/weft/subprotocol"
)

// transaction is what a client does together. Until Commit the session keeps its
// messages; then they are handled one after the other, and if all went well, what
// they do to others follows, in order.
type transaction struct {
	name     string
	messages []*subprotocol.Message
	bytes    int
	failed   error // why it can't be committed any more; it holds nothing then
	effects  []func() error
}

// beginTransaction opens a transaction.
func (s *Session) beginTransaction(m *subprotocol.Message) error {
	d := s.dialogue
	switch {
	case s.transaction(m.Transaction) >= 0:
		return s.deny(m, "transaction-exists", "this session has an open transaction of that name already")
	case len(d.open) >= s.endpoint.cfg.maxTransactions:
		return s.deny(m, "too-many-transactions", "this session has as many open transactions as it may have")
	}
	d.open = append(d.open, &transaction{name: m.Transaction})
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
		return s.deny(m, "no-transaction", "this session has no open transaction of that name")
	}
	d, t, l := s.dialogue, s.dialogue.open[i], &s.endpoint.cfg.transaction
	size := sizeOf(m)
	if t.failed == nil && (d.held.Messages >= l.Messages || d.held.Bytes+size > l.Bytes) {
		t.failed = fmt.Errorf("its parts exceed %d messages or %d bytes", l.Messages, l.Bytes)
		d.release(t)
	}
	if t.failed != nil {
		return s.deny(m, "transaction-too-large", "the transaction can't be committed any more: "+t.failed.Error())
	}
	t.messages = append(t.messages, m.Clone())
	t.bytes += size
	d.held.Messages++
	d.held.Bytes += size
	return nil
}

// release forgets the parts of t.
func (d *dialogue) release(t *transaction) {
	d.held.Messages -= len(t.messages)
	d.held.Bytes -= t.bytes
	t.messages, t.bytes = nil, 0
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
		return s.deny(m, "no-transaction", "this session has no open transaction of that name")
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
	parts := t.messages
	d.release(t)
	t.messages = parts // the caller's
	return t
}

// commit handles the parts of a transaction. Its effects follow only if none of the
// parts failed; then each part, and the Commit, gets its receipt.
func (s *Session) commit(m *subprotocol.Message) error {
	t := s.takeTransaction(m.Transaction)
	if t == nil {
		return s.deny(m, "no-transaction", "this session has no open transaction of that name")
	}
	if t.failed != nil {
		return s.deny(m, "transaction-failed", "nothing of the transaction was done: "+t.failed.Error())
	}
	receipts := make([]string, 0, len(t.messages)+1)
	for i, part := range t.messages {
		if s.in.Load()&inStopped != 0 {
			return errStopped
		}
		receipt := part.Receipt
		if failure := s.handle(part, t); failure != nil {
			return s.rollBack(m, t, i, failure)
		}
		if !s.replied() {
			receipts = append(receipts, receipt)
		}
	}
	receipts = append(receipts, m.Receipt)
	for _, f := range t.effects {
		if err := f(); err != nil {
			return s.incomplete(m, receipts, err)
		}
	}
	for _, receipt := range receipts {
		s.done(receipt)
	}
	return nil
}

// incomplete answers a Commit, one of whose effects failed with err, and the parts that
// asked for a receipt. receipts are theirs and the Commit's.
func (s *Session) incomplete(m *subprotocol.Message, receipts []string, err error) error {
	s.handlerError(m, err)
	shown := shownError(err, subprotocol.Error{Code: "transaction-incomplete", Text: "only a part of the transaction was done"})
	commit := len(receipts) - 1
	for i, receipt := range receipts {
		if receipt == "" && i != commit {
			continue
		}
		shown.Receipt = receipt
		if err := s.fail(&shown); err != nil {
			return err
		}
	}
	return nil
}

// rollBack answers a Commit, of which part i failed, and all that asked for a receipt.
func (s *Session) rollBack(m *subprotocol.Message, t *transaction, i int, failure *subprotocol.Error) error {
	if err := s.fail(failure); err != nil {
		return err
	}
	for _, other := range slices.Concat(t.messages[:i], t.messages[i+1:]) {
		if other.Receipt == "" {
			continue
		}
		if err := s.deny(other, "transaction-failed", "another part of the transaction failed"); err != nil {
			return err
		}
	}
	return s.deny(m, "transaction-failed", "a part of the transaction failed, nothing of it was done")
}

// reply keeps m, the answer to a part, until the effects are done.
func (t *transaction) reply(s *Session, m *subprotocol.Message) {
	m = m.Clone()
	t.effects = append(t.effects, func() error {
		_, err := s.reply(s.endpoint.pools.scratch(m))
		return err
	})
}
