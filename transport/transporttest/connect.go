package transporttest

import (
	"context"
	"strconv"
	"sync"

	"github.com/weftws/weft/transport"
)

// gate is the kit as the server's acceptor.
type gate kit

// Accept admits the handshake that the kit waits for.
func (g *gate) Accept(h *transport.Handshake) (transport.Admission, error) {
	k := (*kit)(g)
	k.mu.Lock()
	adm, accept := k.pending, k.accept
	k.pending = nil
	k.mu.Unlock()
	if accept != nil {
		return accept(h)
	}
	if adm == nil {
		return nil, &transport.Refusal{Status: 503, Text: "the kit expects no connection"}
	}
	adm.mu.Lock()
	defer adm.mu.Unlock()
	adm.admitted = true
	return adm, nil
}

// An admission counts its calls.
type admission struct {
	k   *kit
	e   *end
	sub string

	mu              sync.Mutex
	admitted        bool
	opened, aborted int
	done            chan struct{} // closed by the first call
}

func (k *kit) newAdmission(e *end, sub string) *admission {
	a := &admission{k: k, e: e, sub: sub, done: make(chan struct{})}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.admits = append(k.admits, a)
	return a
}

func (a *admission) SubProtocol() string { return a.sub }

func (a *admission) Open(c transport.Conn) transport.Receiver {
	a.count(&a.opened)
	return a.e.open(c)
}

func (a *admission) Abort(error) { a.count(&a.aborted) }

func (a *admission) count(n *int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*n++
	if a.opened+a.aborted > 1 {
		a.k.report(ruleAdmission, "Open was called %d times and Abort %d times", a.opened, a.aborted)
		return
	}
	close(a.done)
}

func (a *admission) calls() (opened, aborted int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.opened, a.aborted
}

func (a *admission) accepted() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.admitted
}

// pair connects two ends. x is the acting side of the direction that is checked.
func (k *kit) pair(hx, hy hooks) (x, y *end) {
	server, client := k.pairWith(hx, hy, "", nil)
	if k.reversed {
		return client, server
	}
	return server, client
}

// pairWith connects with a sub-protocol chosen by the server of those offered.
func (k *kit) pairWith(hx, hy hooks, sub string, offered []string) (server, client *end) {
	if k.reversed {
		hx, hy = hy, hx
	}
	return k.connect(k.newEnd("server", hx), k.newEnd("client", hy), sub, offered)
}

func (k *kit) connect(server, client *end, sub string, offered []string) (*end, *end) {
	adm := k.newAdmission(server, sub)
	k.mu.Lock()
	k.pending = adm
	k.mu.Unlock()
	ctx, cancel := k.context()
	defer cancel()
	c, err := k.dial(ctx, offered, client.open)
	if err != nil {
		k.fatalf("Dial failed: %v", err)
	}
	if c != client.connection() {
		k.report(ruleOpenFirst, "Dial returned another Conn than open was given")
	}
	if !server.wait(func() bool { return server.opened }) {
		k.report(ruleAdmission, "Dial has returned, and Open was not called on the server's side")
		k.fatalf("there is no connection")
	}
	return server, client
}

func (k *kit) dial(
	ctx context.Context, offered []string, open func(transport.Conn) transport.Receiver,
) (transport.Conn, error) {
	cfg := k.server.DialConfig
	cfg.SubProtocols = offered
	return k.server.Dialer.Dial(ctx, k.server.URL, &cfg, open)
}

// rounds makes some round trips over another connection of the same server: time
// for whatever must not happen on the first one.
func (k *kit) rounds() {
	if k.sidecar == nil {
		server := k.newEnd("other server", hooks{receive: func(e *end, _ int, m transport.Message) {
			e.trySend(transport.Message{Type: m.Type, Data: m.Data}) // the rule may be over
		}})
		_, k.sidecar = k.connect(server, k.newEnd("other client", hooks{}), "", nil)
	}
	s := k.sidecar
	for range 20 {
		before := len(s.received())
		if !s.trySend(k.message(0, 10)) || !s.waitGot(before+1) {
			return
		}
	}
}

// message returns the i-th message of a rule with that many bytes: the number, then
// a pattern. Types alternate where both are carried.
func (k *kit) message(i, size int) transport.Message {
	t := transport.MessageBinary
	if !k.f.Binary || k.f.Text && i%2 == 1 {
		t = transport.MessageText
	}
	return k.typed(t, i, size)
}

func (k *kit) typed(t transport.MessageType, i, size int) transport.Message {
	b := make([]byte, 0, size+24)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, ':')
	seed := uint32(i)*2654435761 + uint32(size)
	for len(b) < size {
		seed = seed*1664525 + 1013904223
		c := byte(seed >> 24)
		if t == transport.MessageText {
			c = ' ' + c%95
		}
		b = append(b, c)
	}
	return transport.Message{Type: t, Data: b[:size:size]}
}

func (k *kit) messages(n int, size func(i int) int) []transport.Message {
	msgs := make([]transport.Message, n)
	for i := range msgs {
		msgs[i] = k.message(i, size(i))
	}
	return msgs
}
