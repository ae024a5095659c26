package handler

import (
	"sync"
	"sync/atomic"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// maxForms bounds the encodings that a Publication keeps.
const maxForms = 4

// Publication is one message on its way to many sessions. What the receivers have
// in common is encoded once for each form that their sub-protocols have (at most
// four; those of a fifth are encoded one by one), and once more by each transport.
// The encodings live as long as the Publication. It is safe for concurrent use and
// may go to sessions of several endpoints.
type Publication struct {
	msg   subprotocol.Message
	forms [maxForms]atomic.Pointer[sharedForm]
	mu    sync.Mutex // held to add a form
}

// formKey says which framers encode alike: those of one sub-protocol that have
// equal forms.
type formKey struct{ protocol, form any }

// sharedForm is the common part of a publication for framers of one key.
type sharedForm struct {
	key    formKey
	shared *transport.Shared
	err    error

	// While anything is queued that refers to it, its bytes count in the sum of
	// the endpoint that encoded it.
	owner *Endpoint
	refs  atomic.Int64
}

func (f *sharedForm) hold() {
	if f.refs.Add(1) == 1 {
		f.owner.queuedBytes.Add(int64(len(f.shared.Data())))
	}
}

func (f *sharedForm) release() {
	if f.refs.Add(-1) == 0 {
		f.owner.queuedBytes.Add(-int64(len(f.shared.Data())))
	}
}

// NewPublication copies m, which becomes a Deliver. Its Subscription and ID are
// each receiver's, and what Session.Publish says.
func NewPublication(m *subprotocol.Message) *Publication {
	p := &Publication{msg: *m.Clone()}
	p.msg.Kind = subprotocol.KindDeliver
	p.msg.Subscription, p.msg.ID = "", ""
	return p
}

// form returns the common part for framers of that key, and has f encode it the
// first time. It returns nil if p keeps too many forms already.
func (p *Publication) form(e *Endpoint, key formKey, f subprotocol.Framer, split subprotocol.Splitter, sc *scratch) *sharedForm {
	if found := p.find(key); found != nil {
		return found
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.find(key); found != nil {
		return found
	}
	for i := range p.forms {
		if p.forms[i].Load() != nil {
			continue
		}
		n := &sharedForm{key: key, owner: e}
		var b []byte
		var typ transport.MessageType
		if split != nil {
			b, typ, n.err = split.AppendTail(sc.buf[:0], &p.msg)
		} else {
			b, typ, n.err = f.Append(sc.buf[:0], &p.msg)
		}
		if n.err == nil {
			sc.buf = b
		}
		// A copy has no more room than it needs.
		n.shared = transport.NewShared(typ, append([]byte(nil), b...))
		p.forms[i].Store(n)
		return n
	}
	return nil
}

func (p *Publication) find(key formKey) *sharedForm {
	for i := range p.forms {
		f := p.forms[i].Load()
		if f == nil {
			return nil
		}
		if f.key == key {
			return f
		}
	}
	return nil
}

// Publish queues p for this session, as Send does. subscription and id
// are this receiver's, both "" where the sub-protocol has no subscriptions.
func (s *Session) Publish(p *Publication, subscription, id string) (Status, error) {
	if s.in.Load()&inReady == 0 {
		return s.tooEarly()
	}
	if out := s.endpoint.outbound; out != nil {
		sc := s.endpoint.pools.scratch(&p.msg)
		sc.msg.Subscription, sc.msg.ID = subscription, id
		status, err := out.Send(Outgoing{Session: s, Message: &sc.msg, way: wayPublish, pub: p, seen: &sc.msg})
		s.endpoint.pools.freeScratch(sc)
		return status, err
	}
	return s.publish(p, subscription, id)
}

// publish is Publish behind all Senders.
func (s *Session) publish(p *Publication, subscription, id string) (Status, error) {
	if f := s.encoded(p, subscription, id); f != nil {
		return s.enqueue(entry{form: f, typ: f.shared.Type()})
	}
	e := s.endpoint
	sc := e.pools.scratch(&p.msg)
	sc.msg.Subscription, sc.msg.ID = subscription, id
	ent, err := s.encodePublication(sc, p)
	e.pools.freeScratch(sc)
	if err != nil {
		return s.refuse(err)
	}
	return s.enqueue(ent)
}

// encoded returns the common part of p if it is encoded already and all that this
// session gets. That is the usual case, and needs no copy of the message.
func (s *Session) encoded(p *Publication, subscription, id string) *sharedForm {
	former, ok := s.framer.(subprotocol.Former)
	if !ok || s.endpoint.cfg.overflow.key != nil {
		return nil
	}
	if _, ok := s.framer.(subprotocol.Splitter); ok {
		return nil
	}
	if (subscription != "" || id != "") && s.framer.Features().Subscriptions {
		return nil
	}
	f := p.find(formKey{s.spoken.identity, former.Form()})
	if f == nil || f.err != nil {
		return nil
	}
	return f
}

func (s *Session) encodePublication(sc *scratch, p *Publication) (entry, error) {
	e := s.endpoint
	former, ok := s.framer.(subprotocol.Former)
	if !ok {
		return s.encode(sc)
	}
	split, _ := s.framer.(subprotocol.Splitter)
	if split == nil && (sc.msg.Subscription != "" || sc.msg.ID != "") && s.framer.Features().Subscriptions {
		return s.encode(sc)
	}
	f := p.form(e, formKey{s.spoken.identity, former.Form()}, s.framer, split, sc)
	if f == nil {
		return s.encode(sc)
	}
	if f.err != nil {
		return entry{}, f.err
	}
	ent := entry{form: f, typ: f.shared.Type(), key: s.conflationKey(sc)}
	if split != nil {
		b, err := split.AppendHead(sc.buf[:0], &sc.msg)
		if err != nil {
			return entry{}, err
		}
		sc.buf = b
		if len(b) > 0 {
			ent.buf = e.pools.buffer(b)
		}
	}
	return ent, nil
}
