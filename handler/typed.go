package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/subprotocol"
)

// None is the In of a Func that reads no body, and the Out of one without a result.
type None struct{}

// Func makes a Handler of a function over Go values. It is for SEND and SUBSCRIBE;
// other kinds it accepts and does nothing.
//
// The body is decoded into in by the endpoint's codec for the message's content
// type, the first one if the message names none. A []byte or a string is the body as
// it came, and the []byte is valid until f returns; None leaves the body alone. If in
// has a method Validate() error, on the value or on its pointer, it decides whether f
// is called.
//
// The result is encoded by the codec of the request, or the first where there was
// nothing to decode, and answers a SUBSCRIBE, or a SEND that can be answered: one that
// asks for a receipt, where the sub-protocol ties replies to receipts; where it does not,
// such as STOMP, one whose header reply-to names a subscription for the answer; and any where it
// has no subscriptions either, such as raw. The answer to a SUBSCRIBE is the only
// message of that subscription. WithSendTo and WithSendToUser send the result elsewhere
// instead. A []byte goes out as it is, without
// a content type, a string as text/plain; None sends nothing; any other result is sent,
// also a zero value or nil.
//
// What the client gets wrong is a *subprotocol.Error that is not fatal (STOMP ends with any; there a
// result that says what was wrong keeps the session):
//
//	unsupported-content-type  no codec for it; names those that there are
//	bad-body                  the codec can't read it; names the field if the codec does
//	invalid                   what Validate returned, with its text
//	no-user                   WithSendToUser, and the session has no user
//
// The text of an error of Validate is shown to the client, so it must be written
// for it; a *subprotocol.Error is shown with its own code.
func Func[In, Out any](f func(ctx context.Context, r Request, in In) (Out, error), opts ...FuncOption) Handler {
	if f == nil {
		panic("handler: Func without a function")
	}
	t := &typed[In, Out]{f: f, in: formOf[In](), out: formOf[Out]()}
	for _, o := range opts {
		o.applyFunc(&t.sending)
	}
	if t.out == formNone && len(t.sending.targets) > 0 {
		panic("handler: Func without a result, and an option that says where to send it")
	}
	t.pointer = reflect.TypeFor[In]().Kind() == reflect.Pointer
	return t
}

// Do is Func for a function without a result.
func Do[In any](f func(ctx context.Context, r Request, in In) error) Handler {
	if f == nil {
		panic("handler: Do without a function")
	}
	return Func(func(ctx context.Context, r Request, in In) (None, error) { return None{}, f(ctx, r, in) })
}

// form is how a value and a body stand to each other.
type form uint8

const (
	formCodec form = iota
	formNone
	formBytes
	formString
)

func formOf[T any]() form {
	switch reflect.TypeFor[T]() {
	case reflect.TypeFor[None]():
		return formNone
	case reflect.TypeFor[[]byte]():
		return formBytes
	case reflect.TypeFor[string]():
		return formString
	default:
		return formCodec
	}
}

// typed is what Func makes.
type typed[In, Out any] struct {
	f       func(context.Context, Request, In) (Out, error)
	in, out form
	pointer bool // In is a pointer
	sending sending
}

func (*typed[In, Out]) typed() {}

func (t *typed[In, Out]) Handle(ctx context.Context, r Request) error {
	if k := r.Message.Kind; k != subprotocol.KindSend && k != subprotocol.KindSubscribe {
		return nil
	}
	var c codec.Codec
	var in In
	var err error
	switch t.in {
	case formNone:
	case formBytes:
		in, _ = any(r.Message.Body).(In)
	case formString:
		in, _ = any(string(r.Message.Body)).(In)
	default:
		if c, err = codecFor(r); err != nil {
			return err
		}
		if in, err = decode[In](c, r.Message.Body, t.pointer); err != nil {
			return err
		}
	}
	out, err := t.f(ctx, r, in)
	if err != nil || t.out == formNone {
		return err
	}
	return t.respond(ctx, r, c, out)
}

// codecFor returns the codec for the body of r.
func codecFor(r Request) (codec.Codec, error) {
	if c := r.Session.Codec(r.Message.ContentType); c != nil {
		return c, nil
	}
	codecs := r.Session.endpoint.cfg.codecs
	if len(codecs) == 0 {
		return nil, errNoCodec
	}
	var have []string
	for _, c := range codecs {
		have = append(have, c.ContentType())
	}
	return nil, &subprotocol.Error{
		Code: "unsupported-content-type",
		Text: fmt.Sprintf("the content type %.64q is not supported, but %s", r.Message.ContentType, strings.Join(have, ", ")),
	}
}

var errNoCodec = errors.New("handler: a typed handler needs a codec: see WithCodecs")

// decode makes an In of body, and has it validated.
func decode[In any](c codec.Codec, body []byte, pointer bool) (in In, err error) {
	if err := c.Unmarshal(body, &in); err != nil {
		return in, badBody(c, err)
	}
	if pointer && reflect.ValueOf(in).IsNil() {
		return in, &subprotocol.Error{Code: "bad-body", Text: "the body has no value"}
	}
	v, ok := any(&in).(validator)
	if pointer {
		v, ok = any(in).(validator)
	}
	if !ok {
		return in, nil
	}
	if err := v.Validate(); err != nil {
		shown := shown(err, subprotocol.Error{Code: "invalid", Text: err.Error()})
		return in, &shown
	}
	return in, nil
}

type validator interface{ Validate() error }

// badBody is the answer to a body that c can't read. Of what c says the client is
// shown the name of the field alone: the rest may be about the program.
func badBody(c codec.Codec, err error) error {
	text := "the body can't be read as " + c.ContentType()
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && typed.Field != "" {
		text = fmt.Sprintf("the field %.64q of the body has a value of the wrong type", typed.Field)
	}
	return fmt.Errorf("%w: %w", &subprotocol.Error{Code: "bad-body", Text: text}, err)
}
