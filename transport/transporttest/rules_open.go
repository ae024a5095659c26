package transporttest

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/weftws/weft/transport"
)

func handshake(k *kit) {
	server, client := k.newEnd("server", hooks{}), k.newEnd("client", hooks{})
	adm := k.newAdmission(server, "")
	u, err := url.Parse(k.server.URL)
	if err != nil {
		k.fatalf("Server.URL: %v", err)
	}
	const field = "X-Kit"
	cfg := &k.server.DialConfig
	header := make(http.Header)
	maps.Copy(header, cfg.Header)
	header.Set(field, "value")
	cfg.Header = header
	k.setAccept(func(h *transport.Handshake) (transport.Admission, error) {
		if h.Transport == "" || h.Header == nil || h.Context == nil || h.RemoteAddr == nil || h.LocalAddr == nil {
			k.errorf("a field of the handshake is empty: %+v", h)
			return adm, nil
		}
		if got := h.Header.Get(strings.ToLower(field)); k.f.Header && got != "value" {
			k.errorf("the header field %s is %q, want %q", field, got, "value")
		}
		if h.Path != "" && (h.Host != u.Host || h.Path != u.Path || h.Query != u.RawQuery) {
			k.errorf("the acceptor saw host %q, path %q and query %q of %s", h.Host, h.Path, h.Query, u)
		}
		if got := h.Header.Get("X-Absent"); got != "" {
			k.errorf("a header field that was not sent is %q", got)
		}
		if got := strings.Join(h.SubProtocols, " "); k.f.SubProtocols && got != "two one" {
			k.errorf("SubProtocols are %q, want %q", got, "two one")
		}
		return adm, nil
	})
	ctx, cancel := k.context()
	defer cancel()
	var offered []string
	if k.f.SubProtocols {
		offered = []string{"two", "one"}
	}
	if _, err := k.dial(ctx, offered, client.open); err != nil {
		k.fatalf("Dial failed: %v", err)
	}
	if !k.soon(adm.done) {
		k.fatalf("Open was not called on the server's side")
	}
}

func (k *kit) setAccept(accept func(*transport.Handshake) (transport.Admission, error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.accept = accept
}

func refuse(k *kit) {
	for _, tt := range []struct {
		err  error
		want transport.Refusal
	}{
		{&transport.Refusal{Status: 403, Text: "not from here"}, transport.Refusal{Status: 403, Text: "not from here"}},
		{&transport.Refusal{Status: 503, Text: "full: 10 €"}, transport.Refusal{Status: 503, Text: "full: 10 €"}},
		{errors.New("the password is secret"), transport.Refusal{Status: 500}},
	} {
		var asked, opened atomic.Int32
		client := k.newEnd("client", hooks{})
		k.setAccept(func(*transport.Handshake) (transport.Admission, error) {
			asked.Add(1)
			return nil, tt.err
		})
		ctx, cancel := k.context()
		_, err := k.dial(ctx, nil, func(c transport.Conn) transport.Receiver {
			opened.Add(1)
			return client.open(c)
		})
		cancel()
		if err == nil && !k.f.answers() {
			client.closedErr()
			if n := len(client.received()); n > 0 || asked.Load() != 1 {
				k.fatalf("Accept was called %d times for one Dial, and the refused client received %d messages", asked.Load(), n)
			}
			continue
		}
		got, ok := errors.AsType[*transport.Refusal](err)
		switch {
		case asked.Load() != 1:
			k.fatalf("Accept was called %d times for one Dial", asked.Load())
		case opened.Load() > 0:
			k.fatalf("the acceptor refused, and the dialer opened a connection")
		case !ok:
			k.fatalf("Dial returned %v, want a *Refusal with status %d", err, tt.want.Status)
		case got.Status != tt.want.Status:
			k.fatalf("Dial was refused with status %d, want %d", got.Status, tt.want.Status)
		case strings.Contains(got.Text, "secret"):
			k.fatalf("the text of an internal error was shown to the client: %q", got.Text)
		case tt.want.Text != "" && strings.TrimSpace(got.Text) != tt.want.Text:
			k.fatalf("Dial was refused with the text %q, want %q", got.Text, tt.want.Text)
		}
	}
	k.setAccept(nil) // the server must have taken no harm
	k.pair(hooks{}, hooks{})
}

func admissionOnce(k *kit) {
	k.pair(hooks{}, hooks{})

	// A client that goes away while the acceptor thinks. The answer may still be
	// written into a buffer, so that Open is as good as Abort; Closed must follow it.
	server := k.newEnd("server", hooks{})
	adm := k.newAdmission(server, "")
	adm.admitted = true
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h := k.hold()
	k.setAccept(func(*transport.Handshake) (transport.Admission, error) {
		cancel()
		h.wait()
		return adm, nil
	})
	done := k.guard(ruleAdmission, "Dial with a context that has ended")
	c, err := k.dial(ctx, nil, func(c transport.Conn) transport.Receiver { return k.newEnd("client", hooks{}).open(c) })
	done()
	switch {
	case err != nil:
	case !k.f.answers():
		_ = c.Close(transport.StatusNormalClosure, "")
	default:
		k.errorf("Dial with a context that ended during the handshake returned no error")
	}
	h.release()
	if !k.soon(adm.done) {
		k.fatalf("the client went away during the handshake, and neither Open nor Abort was called")
	}
	if opened, _ := adm.calls(); opened > 0 {
		server.closedErr()
	}
}

func subProtocol(k *kit) {
	for _, tt := range []struct {
		offered []string
		chosen  string
	}{{[]string{"one", "two"}, "two"}, {[]string{"one", "two"}, "one"}, {[]string{"one"}, ""}, {nil, ""}} {
		server, client := k.pairWith(hooks{}, hooks{}, tt.chosen, tt.offered)
		for _, e := range []*end{server, client} {
			if got := e.connection().SubProtocol(); got != tt.chosen {
				k.fatalf("%s: SubProtocol is %q, want %q", e.name, got, tt.chosen)
			}
		}
	}

	server := k.newEnd("server", hooks{})
	adm := k.newAdmission(server, "three")
	adm.admitted = true
	k.setAccept(func(*transport.Handshake) (transport.Admission, error) { return adm, nil })
	ctx, cancel := k.context()
	defer cancel()
	_, err := k.dial(ctx, []string{"one"}, func(c transport.Conn) transport.Receiver {
		k.errorf("the dialer opened a connection with a sub-protocol that it had not offered")
		return k.newEnd("client", hooks{}).open(c)
	})
	if err == nil {
		k.errorf("Dial accepted a sub-protocol that it had not offered")
	}
	if !k.soon(adm.done) {
		k.fatalf("neither Open nor Abort was called")
	}
}

// cut breaks the connection at e's side.
func (k *kit) cut(e *end) { k.server.Cut(e.connection()) }

func lastData(k *kit) {
	if k.server.Cut == nil {
		return
	}
	for range 10 {
		x, y := k.pair(hooks{}, hooks{})
		// One that y has certainly read first, so that the end comes with data alone.
		first, last := k.message(0, 10), k.message(1, 20)
		x.send(first)
		y.expect([]transport.Message{first})
		x.send(last)
		k.cut(x)
		y.expect([]transport.Message{first, last})
		y.closedErr()
	}
}

func vanish(k *kit) {
	if k.server.Cut == nil {
		return
	}
	x, y := k.pair(hooks{}, hooks{})
	m := k.message(0, 10)
	x.send(m)
	y.expect([]transport.Message{m})
	k.cut(x)
	err := y.closedErr()
	if e, ok := errors.AsType[*transport.EndError](err); !ok || e.Code != transport.StatusAbnormalClosure {
		k.errorf("%s: Closed got %v, want an *EndError with status 1006", y.name, err)
	}
	err = x.closedErr()
	if _, ok := errors.AsType[*transport.EndError](err); !ok {
		k.errorf("%s: Closed got %v, want an *EndError", x.name, err)
	}
}

func leak(k *kit) {
	for i := range 12 {
		x, y := k.pair(hooks{}, hooks{})
		msgs := k.messages(3, func(i int) int { return 100 * i })
		x.send(msgs...)
		y.expect(msgs)
		switch cuts := k.server.Cut != nil; {
		case i%4 == 0:
			_ = x.close(transport.StatusNormalClosure, "")
		case i%4 == 1:
			_ = y.close(transport.StatusNormalClosure, "")
		case i%4 == 2 && cuts:
			k.cut(x)
		default: // the kit ends it
			continue
		}
		_ = x.waitClosed()
		_ = y.waitClosed()
	}
}
