package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/codec/msgpackcodec"
	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// form is how a page talks.
type form struct {
	name        string
	subProtocol subprotocol.SubProtocol
	codec       codec.Codec
}

var forms = []form{
	{"json", envelope.NewJSON(nil), jsoncodec.New(nil)},
	{"msgpack", envelope.NewMsgpack(nil), msgpackcodec.New(nil)},
	{"raw", raw.New(nil), jsoncodec.New(nil)},
	{"stomp", stomp.New(nil), jsoncodec.New(nil)},
}

// got is anything that a page gets, as the one or the other type.
type got struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Via     string   `json:"via"`
	Text    string   `json:"text"`
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Seq     uint64   `json:"seq"`
	At      int64    `json:"at"`
	People  []member `json:"people"`
	Lines   []event  `json:"lines"`
}

// page is what the server takes for a browser.
type page struct {
	t      *testing.T
	form   form
	conn   transport.Conn
	framer subprotocol.Framer
	buf    []byte
	n      int
	got    chan got
	over   chan error
}

func (p *page) Receive(m transport.Message) {
	if err := p.framer.Decode(m, p); err != nil {
		p.t.Errorf("the server sent %q: %v", m.Data, err)
	}
}

// Emit makes the same of all forms.
func (p *page) Emit(m *subprotocol.Message) error {
	g := got{Type: strings.ToLower(m.Kind.String())}
	switch m.Kind {
	case subprotocol.KindDeliver, subprotocol.KindReply:
		if err := p.form.codec.Unmarshal(m.Body, &g); err != nil {
			return err
		}
	case subprotocol.KindError:
		g.Code, g.Message = m.Error.Code, m.Error.Text
	case subprotocol.KindHeartbeat:
		return nil
	}
	p.got <- g
	return nil
}

func (p *page) Writable()        {}
func (p *page) Closed(err error) { p.over <- err }

func newPage(t *testing.T, f form) *page {
	return &page{t: t, form: f, framer: f.subProtocol.NewFramer("", subprotocol.FramerConfig{Client: true}), got: make(chan got, 4096), over: make(chan error, 1)}
}

// open connects a page through d.
func (p *page) open(d transport.Dialer, url string) {
	conn, err := d.Dial(p.t.Context(), url, &transport.DialConfig{SubProtocols: p.form.subProtocol.Names()},
		func(c transport.Conn) transport.Receiver { p.conn = c; return p })
	require.NoError(p.t, err)
	p.conn = conn
	if p.framer.Features().Connect {
		p.put(&subprotocol.Message{Kind: subprotocol.KindConnect})
		require.Equal(p.t, "connected", p.next().Type)
	}
}

func (p *page) put(m *subprotocol.Message) {
	b, typ, err := p.framer.Append(p.buf[:0], m)
	require.NoError(p.t, err)
	p.buf = b
	n, err := p.conn.Write([]transport.Message{{Type: typ, Data: b}})
	require.NoError(p.t, err)
	require.Equal(p.t, 1, n)
}

// ask sends a request, in the words of the form.
func (p *page) ask(kind subprotocol.Kind, destination string, body any) {
	b, err := p.form.codec.Append(nil, body)
	require.NoError(p.t, err)
	if !p.framer.Features().Subscriptions {
		p.put(&subprotocol.Message{Kind: subprotocol.KindSend, Body: fmt.Appendf(nil, "%v %s %s", kind, destination, b)})
		return
	}
	p.n++
	m := subprotocol.Message{Kind: kind, Destination: destination, Receipt: fmt.Sprint(p.n), Subscription: destination}
	if kind == subprotocol.KindSend {
		m.Body = b
		m.Header.Add("reply-to", "answers") // of STOMP; others ignore it
	}
	p.put(&m)
}

func (p *page) send(destination string, body any) { p.ask(subprotocol.KindSend, destination, body) }
func (p *page) say(text string)                   { p.send("/app/rooms/lobby/say", saying{text}) }
func (p *page) next() got                         { return <-p.got }

// event is the next thing that happened in the room.
func (p *page) event() got {
	for {
		if g := p.next(); g.Type == "said" || g.Type == "joined" || g.Type == "left" {
			return g
		}
	}
}

// answer is the next thing that did not, and says more than that all is well.
func (p *page) answer() got {
	for {
		if g := p.next(); g.Type != "said" && g.Type != "joined" && g.Type != "left" && g.Type != "receipt" {
			return g
		}
	}
}

// enter makes p somebody in a room, who has seen all so far.
func (p *page) enter(name, room string) got {
	p.send("/app/name", hello{name})
	g := p.answer()
	require.Equal(p.t, "named", g.Type)
	p.ask(subprotocol.KindSubscribe, "/topic/rooms/"+room, nil)
	p.ask(subprotocol.KindSubscribe, "/app/rooms/"+room+"/members", nil)
	all := p.answer()
	require.Equal(p.t, "present", all.Type)
	all.Name = g.Name
	return all
}

// house is a chat with one pipe for each form.
type house struct {
	t     *testing.T
	chat  *chat
	pipes map[string]*pipe.Transport
}

// inChat runs f with a chat of its own, under a clock that stands still until
// everybody waits. In the end nothing of the pages may be left.
func inChat(t *testing.T, f func(h *house)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, chat: newChat(jsoncodec.New(nil), msgpackcodec.New(nil)), pipes: make(map[string]*pipe.Transport)}
		mux := h.chat.mux(slog.New(slog.DiscardHandler))
		var endpoints []*handler.Endpoint
		for _, form := range forms {
			opts := []handler.Option{handler.WithSubProtocols(form.subProtocol), handler.WithCodecs(form.codec)}
			if form.name == "raw" {
				opts = append(opts, handler.WithMiddleware(lines))
			}
			h.pipes[form.name] = pipe.New(nil)
			endpoints = append(endpoints, handler.NewEndpoint(h.pipes[form.name], mux, opts...))
		}
		f(h)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, ep := range endpoints {
			require.NoError(t, ep.Shutdown(ctx))
		}
		require.Empty(t, h.chat.people)
		require.Empty(t, h.chat.names)
		for _, m := range h.chat.rooms {
			require.Empty(t, m.people)
		}
	})
}

func (h *house) open(f form) *page {
	p := newPage(h.t, f)
	p.open(h.pipes[f.name], "pipe://chat/ws/pipe/"+f.name)
	return p
}

// join opens a page in the lobby and lets everybody hear of it.
func (h *house) join(f form, name string) *page {
	p := h.open(f)
	p.enter(name, "lobby")
	synctest.Wait()
	p.skip()
	return p
}

// nothing wants that nothing more comes: everybody waits.
func (p *page) nothing() {
	synctest.Wait()
	for len(p.got) > 0 {
		require.Equal(p.t, "receipt", p.next().Type)
	}
}

func (p *page) skip() {
	synctest.Wait()
	for len(p.got) > 0 {
		<-p.got
	}
}

// Each form hears each other one, in the same words and the same order.
func TestFormsMeet(t *testing.T) {
	inChat(t, func(h *house) {
		var pages []*page
		for i, f := range forms {
			p := h.open(f)
			all := p.enter("Ann", "lobby")
			require.Len(t, all.People, i+1)
			require.Equal(t, "pipe/"+f.name, all.People[i].Via)
			require.EqualValues(t, i+1, all.Seq)
			pages = append(pages, p)
		}
		for _, p := range pages {
			p.skip()
		}
		now := time.Now().UnixMilli()
		for i, from := range pages {
			from.say("  <b>hello</b>  ")
			name := []string{"Ann", "Ann (2)", "Ann (3)", "Ann (4)"}[i]
			for _, to := range pages {
				require.Equal(t, got{
					Type: "said", Name: name, Via: "pipe/" + from.form.name, Text: "<b>hello</b>", Seq: uint64(len(forms) + 1 + i), At: now,
				}, to.event())
			}
		}
		for _, p := range pages {
			p.send("/app/ping", nil)
			require.Equal(t, got{Type: "pong", At: now}, p.answer())
		}
		require.NoError(t, pages[0].conn.Close(transport.StatusNormalClosure, ""))
		for _, p := range pages[1:] {
			require.Equal(t, "left", p.event().Type)
		}
	})
}

func TestLeaving(t *testing.T) {
	inChat(t, func(h *house) {
		ann := h.join(forms[0], "Ann")
		for _, f := range forms {
			bob := h.join(f, "Bob")
			require.Equal(t, "joined", ann.event().Type)
			bob.conn.(*pipe.Conn).Cut()
			require.Equal(t, "left", ann.event().Type)

			// Who only leaves the room hears nothing more of it, and may come back.
			bob = h.join(f, "Bob")
			require.Equal(t, "joined", ann.event().Type)
			bob.ask(subprotocol.KindUnsubscribe, "/topic/rooms/lobby", nil)
			require.Equal(t, "left", ann.event().Type)
			ann.say("gone?")
			require.Equal(t, "said", ann.event().Type)
			bob.nothing()
			if !bob.framer.Features().FatalErrors {
				bob.say("I am not here")
				require.Equal(t, "not-present", bob.answer().Code)
			}
			bob.ask(subprotocol.KindSubscribe, "/topic/rooms/lobby", nil)
			require.Equal(t, "joined", ann.event().Type)
			require.NoError(t, bob.conn.Close(transport.StatusNormalClosure, ""))
			require.Equal(t, "left", ann.event().Type)
		}
	})
}

func TestNames(t *testing.T) {
	inChat(t, func(h *house) {
		for _, c := range []struct{ asked, got string }{
			{"Ann", "Ann"},
			{"ann", "ann (2)"},
			{" Ann \n", "Ann (3)"},
			{"Jo\u202e\u0000hn   Doe", "John Doe"},
			{strings.Repeat("ä", maxName), strings.Repeat("ä", maxName)},
		} {
			p := h.open(forms[0])
			p.send("/app/name", hello{c.asked})
			require.Equal(t, c.got, p.next().Name)
		}
		p := h.open(forms[0])
		for _, name := range []string{"", " \t", "\u200b", "\u3164\u2800\ufe0f\u034f", strings.Repeat("n", maxName+1)} {
			p.send("/app/name", hello{name})
			g := p.next()
			require.Equal(t, "invalid", g.Code, "%q", name)
			require.Contains(t, g.Message, "A name")
		}
		p.send("/app/name", hello{"Zoe"}) // a refusal is not the end
		require.Equal(t, "Zoe", p.next().Name)
		p.send("/app/name", hello{"Zoe"})
		require.Equal(t, "named", p.next().Code)
	})
}

// A transaction of which a part is wrong says nothing.
func TestTransaction(t *testing.T) {
	for _, f := range forms {
		if f.name == "raw" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			inChat(t, func(h *house) {
				ann := h.join(f, "Ann")
				for i, last := range []string{"two", ""} {
					tx := fmt.Sprint(i)
					ann.put(&subprotocol.Message{Kind: subprotocol.KindBegin, Transaction: tx})
					for _, text := range []string{"one", last} {
						body, err := f.codec.Append(nil, saying{text})
						require.NoError(t, err)
						ann.put(&subprotocol.Message{
							Kind: subprotocol.KindSend, Transaction: tx, Destination: "/app/rooms/lobby/say", Body: body,
						})
					}
					ann.put(&subprotocol.Message{Kind: subprotocol.KindCommit, Transaction: tx})
				}
				require.Equal(t, "error", ann.answer().Type)
				synctest.Wait()
				require.Len(t, h.chat.rooms["lobby"].history, 2)
				ann.skip()
			})
		})
	}
}

// What is refused is told to the sender alone, by a code, and is not the end where the
// sub-protocol goes on after errors.
func TestRefused(t *testing.T) {
	for _, f := range forms[:3] {
		t.Run(f.name, func(t *testing.T) {
			inChat(t, func(h *house) {
				quiet, p := h.join(forms[0], "Quiet"), h.open(f)
				refused := func(code string, kind subprotocol.Kind, destination string, body any) {
					t.Helper()
					p.ask(kind, destination, body)
					g := p.answer()
					require.Equal(t, "error", g.Type)
					require.Equal(t, code, g.Code)
					require.NotEmpty(t, g.Message)
				}
				const send, subscribe = subprotocol.KindSend, subprotocol.KindSubscribe
				refused("no-name", subscribe, "/topic/rooms/lobby", nil)
				refused("not-present", subscribe, "/app/rooms/lobby/members", nil)
				refused("not-found", send, "/app/nowhere", nil)
				refused("not-found", subscribe, "/topic/elsewhere", nil)
				refused("not-allowed", send, "/topic/rooms/lobby", nil)
				refused("not-present", send, "/app/rooms/lobby/say", saying{"too early"})
				p.send("/app/name", hello{"P"})
				require.Equal(t, "P", p.next().Name)
				for _, room := range []string{"Lobby", "a_b", "ü", "-\u200b", strings.Repeat("r", maxName+1)} {
					refused("bad-room", subscribe, "/topic/rooms/"+room, nil)
				}
				refused("not-present", subscribe, "/app/rooms/lobby/members", nil)
				p.ask(subscribe, "/topic/rooms/lobby", nil)
				require.Equal(t, "joined", p.event().Type)
				p.skip()
				for _, text := range []string{"", "  ", strings.Repeat("x", maxText+1)} {
					refused("invalid", send, "/app/rooms/lobby/say", saying{text})
				}
				refused("bad-body", send, "/app/rooms/lobby/say", []int{1})
				synctest.Wait()
				time.Sleep(maxBurst / perSecond * time.Second)
				p.say(strings.Repeat("\U0001f9f5", maxText)) // characters are counted, not bytes
				require.Equal(t, "said", p.event().Type)

				require.Equal(t, "joined", quiet.event().Type)
				require.Equal(t, "said", quiet.event().Type)
				quiet.nothing()
			})
		})
	}
}

// STOMP ends with the first error, which says why.
func TestRefusedBySTOMP(t *testing.T) {
	inChat(t, func(h *house) {
		quiet := h.join(forms[0], "Quiet")
		const send, subscribe = subprotocol.KindSend, subprotocol.KindSubscribe
		for _, tt := range []struct {
			code, name  string
			kind        subprotocol.Kind
			destination string
			body        any
		}{
			{"no-name", "", subscribe, "/topic/rooms/lobby", nil},
			{"not-present", "", subscribe, "/app/rooms/lobby/members", nil},
			{"not-found", "", send, "/app/nowhere", nil},
			{"not-allowed", "", send, "/topic/rooms/lobby", nil},
			{"invalid", "", send, "/app/name", hello{}},
			{"named", "P", send, "/app/name", hello{"P"}},
			{"bad-room", "P", subscribe, "/topic/rooms/Lobby", nil},
			{"not-present", "P", send, "/app/rooms/lobby/say", saying{"too early"}},
			{"invalid", "P", send, "/app/rooms/lobby/say", saying{}},
		} {
			p := h.open(forms[3])
			if tt.name != "" {
				p.send("/app/name", hello{tt.name})
				require.Equal(t, tt.name, p.answer().Name, "the one before it has left")
			}
			p.ask(tt.kind, tt.destination, tt.body)
			g := p.answer()
			require.Equal(t, tt.code, g.Code)
			require.NotEmpty(t, g.Message)
			require.Equal(t, transport.StatusPolicyViolation, transport.CloseStatus(<-p.over))
			synctest.Wait()
		}
		quiet.nothing()
	})
}

// A line that is none is answered like any other mistake.
func TestMalformedLines(t *testing.T) {
	inChat(t, func(h *house) {
		p := h.open(forms[2])
		for _, line := range []string{"", " ", "SHOUT /app/ping {}", "send /app/ping {}", "\n", "DISCONNECT", strings.Repeat("x", 1000)} {
			p.put(&subprotocol.Message{Kind: subprotocol.KindSend, Body: []byte(line)})
			require.Equal(t, "malformed", p.next().Code, "%q", line)
		}
		p.put(&subprotocol.Message{Kind: subprotocol.KindSend, Body: []byte("SEND /app/ping")})
		require.Equal(t, "pong", p.next().Type)
		p.put(&subprotocol.Message{Kind: subprotocol.KindSend, Type: transport.MessageBinary, Body: []byte("UNSUBSCRIBE /topic/rooms/lobby")})
		require.Equal(t, "no-name", p.next().Code)
	})
}

func TestHistoryIsBounded(t *testing.T) {
	inChat(t, func(h *house) {
		ann := h.join(forms[1], "Ann")
		for i := range maxHistory + 10 {
			time.Sleep(time.Second) // by the bubble's clock
			ann.say(fmt.Sprint(i))
			ann.event()
		}
		late := h.open(forms[0])
		lines := late.enter("Late", "lobby").Lines
		require.Len(t, lines, maxHistory)
		require.Equal(t, "10", lines[0].Text)
		require.Equal(t, fmt.Sprint(maxHistory+9), lines[maxHistory-1].Text)
	})
}

func TestRateIsBounded(t *testing.T) {
	inChat(t, func(h *house) {
		ann, bob := h.join(forms[0], "Ann"), h.join(forms[1], "Bob")
		time.Sleep(time.Minute) // the whole burst is there again
		ann.skip()
		for i := range 3 * maxBurst {
			ann.say("flood")
			if i >= maxBurst {
				require.Equal(t, "rate-exceeded", ann.answer().Code, i)
			}
		}
		for range maxBurst {
			require.Equal(t, "said", bob.event().Type)
		}
		bob.nothing()
		time.Sleep(time.Second / perSecond)
		ann.say("once more")
		require.Equal(t, "once more", bob.event().Text)
	})
}

func TestRoomsAreBounded(t *testing.T) {
	inChat(t, func(h *house) {
		h.join(forms[0], "Ann")
		lobby := h.chat.rooms["lobby"]
		crowd := &person{name: "Crowd"} // as many sessions would take the test long
		lobby.people = append(lobby.people, slices.Repeat([]*person{crowd}, maxPeople-2)...)
		h.join(forms[1], "The last one")
		p := h.open(forms[2])
		p.send("/app/name", hello{"One too many"})
		p.next()
		p.ask(subprotocol.KindSubscribe, "/topic/rooms/lobby", nil)
		require.Equal(t, "full", p.next().Code)
		lobby.people = slices.DeleteFunc(lobby.people, func(p *person) bool { return p == crowd })

		stays := h.open(forms[0])
		stays.send("/app/name", hello{"Stays"})
		for i := range maxRooms - 1 {
			time.Sleep(time.Second)
			stays.ask(subprotocol.KindSubscribe, fmt.Sprint("/topic/rooms/r", i), nil)
		}
		synctest.Wait()
		p.ask(subprotocol.KindSubscribe, "/topic/rooms/new", nil)
		require.Equal(t, "no-room", p.next().Code)
		stays.ask(subprotocol.KindUnsubscribe, "/topic/rooms/r7", nil)
		synctest.Wait()
		p.ask(subprotocol.KindSubscribe, "/topic/rooms/new", nil)
		require.Equal(t, "joined", p.event().Type)
		require.Len(t, h.chat.rooms, maxRooms)
		require.NotContains(t, h.chat.rooms, "r7")
	})
}

// A page that does not read keeps nobody waiting, and is gone in the end.
func TestSlowPage(t *testing.T) {
	inChat(t, func(h *house) {
		ann, slow := h.join(forms[0], "Ann"), h.join(forms[2], "Slow")
		ann.skip()
		slow.conn.(*pipe.Conn).Pause()
		text := strings.Repeat("\U0001f9f5", maxText)
		left := false
		for range 400 {
			time.Sleep(time.Second)
			ann.say(text)
			g := ann.event()
			for g.Type == "left" {
				left = true
				g = ann.event()
			}
			require.Equal(t, "said", g.Type)
		}
		for !left {
			left = ann.event().Type == "left" // comes when the close was waited for
		}
		ann.say("still here")
		require.Equal(t, "still here", ann.event().Text)
		slow.conn.(*pipe.Conn).Resume()
		require.Error(t, <-slow.over)
	})
}

// What a page says fits into what the server takes, however it is written.
func TestLongestText(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(saying{strings.Repeat("\u0001", maxText)})
	require.NoError(t, err)
	require.Less(t, len(text)+512, maxMessage)
}
