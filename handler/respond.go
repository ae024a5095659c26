package handler

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/subprotocol"
)

// A Publisher sends messages to whoever has subscribed. It is safe for concurrent
// use.
type Publisher interface {
	// Publish sends m to the subscribers of destination, whatever Destination m has.
	// That there are none is no error. m is the caller's again when Publish returns.
	Publish(ctx context.Context, destination string, m *subprotocol.Message) error
}

// A UserPublisher sends messages to all sessions of one user. It is safe for
// concurrent use.
type UserPublisher interface {
	// PublishToUser sends m to those subscribers of destination that are sessions of
	// user, as Publish does.
	PublishToUser(ctx context.Context, user, destination string, m *subprotocol.Message) error
}

// FuncOption says what Func does with a result.
type FuncOption interface{ applyFunc(s *sending) }

type funcOption func(*sending)

func (o funcOption) applyFunc(s *sending) { o(s) }

// sending is what the options say.
type sending struct {
	targets []target
	reply   bool
}

// target is a place for results other than the caller.
type target struct {
	destination template
	user        template
	publisher   Publisher     // nil if it is toUser
	toUser      UserPublisher // nil if it is publisher
}

// WithSendTo publishes the result instead of answering with it. In destination,
// {name} stands for a path value: "/topic/rooms/{room}". All receivers get the body as the
// codec of the request has encoded it, with its content type. In a transaction the result is
// published at its end, with a context that ends with the session and has the values of the
// handler's. An error of p is the handler's. Several options add up. It panics if destination is
// malformed; a name without a value is an error at run time.
func WithSendTo(p Publisher, destination string) FuncOption {
	if p == nil {
		panic("handler: WithSendTo without a Publisher")
	}
	to := target{publisher: p, destination: parseTemplate("WithSendTo", destination)}
	return funcOption(func(s *sending) { s.targets = append(s.targets, to) })
}

// WithSendToUser publishes the result to one user's sessions, as WithSendTo does to
// all. user may have path values too; "" is the user of the session that the message
// came from.
func WithSendToUser(p UserPublisher, user, destination string) FuncOption {
	if p == nil {
		panic("handler: WithSendToUser without a UserPublisher")
	}
	to := target{toUser: p, destination: parseTemplate("WithSendToUser", destination)}
	if user != "" {
		to.user = parseTemplate("WithSendToUser", user)
	}
	return funcOption(func(s *sending) { s.targets = append(s.targets, to) })
}

// WithReply answers with the result although WithSendTo or WithSendToUser sends it
// elsewhere, after they have.
func WithReply() FuncOption { return funcOption(func(s *sending) { s.reply = true }) }

// template is a text with path values in it: literals at even places, names at odd
// ones.
type template []string

func parseTemplate(option, text string) template {
	var t template
	left := text
	for {
		before, behind, open := strings.Cut(left, "{")
		name, after, closed := strings.Cut(behind, "}")
		if text == "" || strings.Contains(before, "}") || open && (!closed || !isName(name)) {
			panic(fmt.Sprintf("handler: %s: %q is malformed: {name} stands for a path value", option, text))
		}
		t = append(t, before)
		if !open {
			return t
		}
		t = append(t, name)
		left = after
	}
}

// expand puts the path values of m in.
func (t template) expand(m *subprotocol.Message) (string, error) {
	if len(t) == 1 {
		return t[0], nil
	}
	var room [128]byte
	b := room[:0]
	for i, s := range t {
		if i%2 == 1 {
			if s = m.PathValue(s); s == "" {
				return "", fmt.Errorf("handler: there is no path value %q to send a result to", t[i])
			}
		}
		b = append(b, s...)
	}
	return string(b), nil
}

// result is an encoded result on its way.
type result struct {
	msg subprotocol.Message
	buf []byte
}

// maxKeptResult is how much room a result may have grown to and still be used again.
const maxKeptResult = 64 << 10

var results = sync.Pool{New: func() any { return new(result) }}

func (res *result) free() {
	if cap(res.buf) > maxKeptResult {
		return
	}
	res.msg = subprotocol.Message{}
	results.Put(res)
}

// respond encodes out, by the codec of the request if that had one, and sends it.
func (t *typed[In, Out]) respond(ctx context.Context, r Request, c codec.Codec, out Out) error {
	reply := (len(t.sending.targets) == 0 || t.sending.reply) && answerable(r)
	if !reply && len(t.sending.targets) == 0 {
		return nil
	}
	res := results.Get().(*result)
	switch t.out {
	case formBytes:
		b, _ := any(out).([]byte)
		res.buf = append(res.buf[:0], b...)
	case formString:
		text, _ := any(out).(string)
		res.buf, res.msg.ContentType = append(res.buf[:0], text...), "text/plain"
	default:
		if c != nil && reply {
			// What came as binary is answered so.
			res.msg.Type = r.Message.Type
		}
		if c == nil {
			c = r.Session.Codec("")
		}
		if c == nil {
			res.free()
			return errNoCodec
		}
		b, err := c.Append(res.buf[:0], out)
		if err != nil {
			res.free()
			return fmt.Errorf("handler: encoding the result: %w", err)
		}
		res.buf, res.msg.ContentType = b, c.ContentType()
	}
	res.msg.Body = res.buf
	return t.sending.send(ctx, r, res, reply)
}

// answerable reports whether a reply to r reaches the client and is expected there.
func answerable(r Request) bool {
	if r.Message.Kind == subprotocol.KindSubscribe {
		return true
	}
	f := r.Session.Features()
	switch {
	case f.Replies:
		return r.Message.Receipt != ""
	case f.Subscriptions:
		return r.Message.Header.Get(replyTo) != ""
	default:
		return true
	}
}

// send sends res to all places, and frees it. Nothing is sent if a place is not known.
func (s *sending) send(ctx context.Context, r Request, res *result, reply bool) error {
	if r.tx != nil && len(s.targets) > 0 {
		return s.sendOnCommit(ctx, r, res, reply)
	}
	var room [4]address
	to, err := s.addresses(room[:0], r)
	for i := 0; i < len(to) && err == nil; i++ {
		err = to[i].publish(ctx, &res.msg)
	}
	if err == nil && reply {
		_, err = r.Reply(&res.msg)
	}
	res.free()
	return err
}

// sendOnCommit is send within a transaction. res is not used again. The handler's own
// context may have ended by then: middleware lets go of it when Handle returns.
func (s *sending) sendOnCommit(ctx context.Context, r Request, res *result, reply bool) error {
	to, err := s.addresses(nil, r)
	if err != nil {
		return err
	}
	ctx = commitContext{r.Session.Context(), ctx}
	err = r.OnCommit(func() error {
		for i := range to {
			if err := to[i].publish(ctx, &res.msg); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && reply {
		_, err = r.Reply(&res.msg)
	}
	return err
}

// commitContext is the session's, with the values of a handler's that may have ended. Those
// by which package context knows its own contexts are the session's.
type commitContext struct {
	context.Context
	handler context.Context
}

func (c commitContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.handler.Value(key)
}

// address is a target with all names filled in.
type address struct {
	*target
	to, name string
}

// addresses appends where the result of r goes. There are none after an error.
func (s *sending) addresses(dst []address, r Request) ([]address, error) {
	for i := range s.targets {
		a, err := s.targets[i].address(r)
		if err != nil {
			return nil, err
		}
		dst = append(dst, a)
	}
	return dst, nil
}

func (t *target) address(r Request) (address, error) {
	a := address{target: t}
	var err error
	if a.to, err = t.destination.expand(r.Message); err != nil || t.toUser == nil {
		return a, err
	}
	if t.user != nil {
		a.name, err = t.user.expand(r.Message)
		return a, err
	}
	if a.name = r.Session.User(); a.name == "" {
		err = &subprotocol.Error{Code: "no-user", Text: "this session has no user to send the result to"}
	}
	return a, err
}

func (a *address) publish(ctx context.Context, m *subprotocol.Message) error {
	var err error
	if a.toUser != nil {
		err = a.toUser.PublishToUser(ctx, a.name, a.to, m)
	} else {
		err = a.publisher.Publish(ctx, a.to, m)
	}
	if err != nil {
		return fmt.Errorf("handler: publishing the result: %w", err)
	}
	return nil
}
