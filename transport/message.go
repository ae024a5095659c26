package transport

import (
	"sync"
	"sync/atomic"
)

// MessageType tells text from binary messages. The zero value is neither.
type MessageType uint8

const (
	// MessageText is UTF-8 text. A transport checks what comes in and trusts what
	// goes out.
	MessageText MessageType = iota + 1
	// MessageBinary is any bytes.
	MessageBinary
)

// String returns "text", "binary" or "none".
func (t MessageType) String() string {
	switch t {
	case MessageText:
		return "text"
	case MessageBinary:
		return "binary"
	default:
		return "none"
	}
}

// A Message is one whole unit that a transport carries: Head followed by Data.
//
// On the way out Head is what this receiver alone gets and Data what it may have
// in common with others; the peer sees one message. On the way in all is in Data.
type Message struct {
	Type MessageType
	Head []byte
	Data []byte

	// Shared, if not nil, is where Data comes from: Data is Shared.Data() and Type
	// Shared.Type(). It lets a transport encode once for all receivers.
	Shared *Shared
}

// Len is the number of bytes that the peer will see.
func (m *Message) Len() int { return len(m.Head) + len(m.Data) }

// maxForms bounds what a publication keeps besides its own bytes.
const maxForms = 4

// Shared is the part of a message that many connections send alike. It carries
// the wire forms that transports made of it, so that each form is encoded once.
// Its bytes and its forms are immutable and go with it; nothing of it is pooled.
// It is safe for concurrent use.
type Shared struct {
	typ  MessageType
	data []byte

	forms [maxForms]atomic.Pointer[form]
	mu    sync.Mutex // held to add a form
}

type form struct{ key, value any }

// NewShared makes a Shared of data, which must not change any more.
func NewShared(t MessageType, data []byte) *Shared {
	return &Shared{typ: t, data: data}
}

// Type is the message type of the data.
func (s *Shared) Type() MessageType { return s.typ }

// Data returns the bytes. They must not be changed.
func (s *Shared) Data() []byte { return s.data }

// Message returns a message that consists of head and the shared part.
func (s *Shared) Message(head []byte) Message {
	return Message{Type: s.typ, Head: head, Data: s.data, Shared: s}
}

// Form returns the wire form that is kept under key, and asks encode for it the
// first time. A transport uses keys of a type of its own, so that no two
// transports meet. A Shared keeps at most four forms; a fifth key is encoded at
// every call. encode must not change data and its result must be immutable; it
// runs under a lock and must not call Form.
func (s *Shared) Form(key any, encode func(key any, t MessageType, data []byte) any) any {
	if v, ok := s.find(key); ok {
		return v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.forms {
		f := s.forms[i].Load()
		if f == nil {
			f = &form{key, encode(key, s.typ, s.data)}
			s.forms[i].Store(f)
		}
		if f.key == key {
			return f.value
		}
	}
	return encode(key, s.typ, s.data)
}

func (s *Shared) find(key any) (any, bool) {
	for i := range s.forms {
		f := s.forms[i].Load()
		if f == nil {
			break
		}
		if f.key == key {
			return f.value, true
		}
	}
	return nil, false
}
