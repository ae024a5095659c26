package handler

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// streamProtocol has the frames of plainProtocol, each ended by a semicolon, spread over
// messages as they come.
type streamProtocol struct{ plainProtocol }

func (p streamProtocol) NewFramer(string, subprotocol.FramerConfig) subprotocol.Framer {
	return &streamFramer{plainFramer: plainFramer(p.plainProtocol)}
}

type streamFramer struct {
	plainFramer
	held []byte
}

func (f *streamFramer) Partial() int { return len(f.held) }

func (f *streamFramer) Decode(m transport.Message, sink subprotocol.Sink) error {
	f.held = append(f.held, m.Data...)
	for {
		frame, rest, ok := bytes.Cut(f.held, []byte(";"))
		if !ok {
			return nil
		}
		f.held = rest
		if err := f.plainFramer.Decode(transport.Message{Data: frame}, sink); err != nil {
			return err
		}
	}
}

func TestFrameTimeout(t *testing.T) {
	const limit = 10 * time.Second
	for name, tt := range map[string]struct {
		opts []Option
		say  func(s *Session, say func(...string) []string)
		want error
	}{
		"no rest": {say: func(s *Session, say func(...string) []string) {
			say("SE")
			time.Sleep(limit - 1)
			synctest.Wait()
			require.NoError(t, s.Context().Err())
			time.Sleep(time.Nanosecond)
		}, want: ErrFrameTimeout},
		"trickle": {say: func(s *Session, say func(...string) []string) {
			for i := 0; i < 4 && s.Context().Err() == nil; i++ {
				say("x")
				time.Sleep(limit / 3)
				synctest.Wait()
			}
		}, want: ErrFrameTimeout},
		"in time": {say: func(_ *Session, say func(...string) []string) {
			say("SE")
			time.Sleep(limit - 1)
			say("ND;")
			time.Sleep(2 * limit)
		}},
		"each message ends one and begins another": {say: func(_ *Session, say func(...string) []string) {
			say("SE")
			for range 10 {
				time.Sleep(limit / 2)
				say("ND;SE")
			}
			say("ND;")
			time.Sleep(2 * limit)
		}},
		"again": {say: func(_ *Session, say func(...string) []string) {
			say("SE")
			time.Sleep(limit / 2)
			say("ND;")
			time.Sleep(2 * limit)
			say("SE")
			time.Sleep(limit)
		}, want: ErrFrameTimeout},
		"slow handler": {say: func(_ *Session, say func(...string) []string) {
			say("SE")
			say("ND d=slow;SE")
			time.Sleep(limit / 2)
			say("ND;")
			time.Sleep(2 * limit)
		}},
		"off": {opts: []Option{WithFrameTimeout(0)}, say: func(_ *Session, say func(...string) []string) {
			say("SE")
			time.Sleep(24 * time.Hour)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := func(_ context.Context, r Request) error {
					if r.Message.Destination == "slow" {
						time.Sleep(3 * limit / 2)
					}
					return nil
				}
				p := streamProtocol{plainProtocol{fullFeatures()}}
				s, say, c := talkIn(t, p, slow, append([]Option{WithFrameTimeout(limit)}, tt.opts...)...)
				require.Equal(t, []string{"CONNECTED"}, say("CONNECT;"))
				tt.say(s, say)
				synctest.Wait()
				if tt.want == nil {
					require.Zero(t, c.closes())
					return
				}
				require.Equal(t, 1, c.closes())
				require.Equal(t, transport.StatusPolicyViolation, c.code)
				s.mu.Lock()
				defer s.mu.Unlock()
				require.ErrorIs(t, s.extra.why, tt.want)
			})
		})
	}
}

func TestFatalErrors(t *testing.T) {
	features := fullFeatures()
	features.FatalErrors, features.Replies = true, false
	refuse := func(_ context.Context, r Request) error {
		switch r.Message.Destination {
		case "no":
			return &subprotocol.Error{Code: "no", Text: "not here"}
		case "why":
			return errors.New("secret")
		case "reply":
			_, err := r.Reply(&subprotocol.Message{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "mine"}})
			return err
		case "send":
			_, err := r.Session.Send(&subprotocol.Message{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "mine"}})
			return err
		case "wait":
			return r.Session.SendContext(context.Background(), &subprotocol.Message{Kind: subprotocol.KindError, Error: &subprotocol.Error{Code: "mine"}})
		}
		return nil
	}
	for name, tt := range map[string]struct {
		say  []string
		want []string
		code transport.StatusCode
	}{
		"refused":    {[]string{"SEND d=no r=1", "SEND r=2"}, []string{"ERROR r=1 no"}, transport.StatusPolicyViolation},
		"internal":   {[]string{"SEND d=why r=1", "SEND r=2"}, []string{"ERROR r=1 internal"}, transport.StatusInternalError},
		"replied":    {[]string{"SEND d=reply r=1", "SEND r=2"}, []string{"ERROR r=1 mine"}, transport.StatusPolicyViolation},
		"sent":       {[]string{"SEND d=send", "SEND r=2"}, []string{"ERROR mine"}, transport.StatusPolicyViolation},
		"waited":     {[]string{"SEND d=wait", "SEND r=2"}, []string{"ERROR mine"}, transport.StatusPolicyViolation},
		"malformed":  {[]string{"SEND x=1", "SEND r=2"}, []string{"ERROR malformed"}, transport.StatusPolicyViolation},
		"denied":     {[]string{"UNSUBSCRIBE s=1 r=1", "SEND r=2"}, []string{"ERROR s=1 r=1 no-subscription"}, transport.StatusPolicyViolation},
		"one answer": {[]string{"BEGIN t=1", "SEND t=1 r=1", "SEND t=1 d=no r=2", "COMMIT t=1 r=3"}, []string{"ERROR r=2 no"}, transport.StatusPolicyViolation},
		"in effects": {[]string{"BEGIN t=1", "SEND t=1 d=reply r=2", "COMMIT t=1 r=3", "SEND r=4"}, []string{"ERROR r=2 mine"}, transport.StatusPolicyViolation},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, say, c := talkIn(t, plainProtocol{features}, refuse)
				require.Equal(t, []string{"CONNECTED"}, say("CONNECT"))
				require.Equal(t, tt.want, say(tt.say...))
				require.Equal(t, 1, c.closes())
				require.Equal(t, tt.code, c.code)
			})
		})
	}
}

func TestShownErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := errors.New("the database is on fire")
		var seen []error
		show := func(_ *Session, err error) *subprotocol.Error {
			seen = append(seen, err)
			if errors.Is(err, secret) {
				return &subprotocol.Error{Code: "later"}
			}
			if e, ok := errors.AsType[*subprotocol.Error](err); ok && e.Code == "malformed" {
				return &subprotocol.Error{Code: "what"}
			}
			if err.Error() == "panic" {
				panic("show")
			}
			return nil
		}
		h := func(_ context.Context, r Request) error {
			switch r.Message.Destination {
			case "secret":
				return secret
			case "other":
				return errors.New("other")
			case "panic":
				return errors.New("panic")
			}
			return nil
		}
		_, say, c := talk(t, h, WithShownErrors(show))
		say("CONNECT")
		require.Equal(t, []string{"ERROR r=1 later"}, say("SEND d=secret r=1"))
		require.Equal(t, []string{"ERROR r=2 internal"}, say("SEND d=other r=2"))
		require.Equal(t, []string{"ERROR r=3 internal"}, say("SEND d=panic r=3"))
		require.Equal(t, []string{"ERROR what"}, say("SEND x=3"))
		require.Equal(t, []string{"ERROR s=1 r=4 no-subscription"}, say("UNSUBSCRIBE s=1 r=4"))
		require.Len(t, seen, 5)
		require.Zero(t, c.closes())
	})
}

// A handler may say to a Disconnect that the session is over, which was asked for.
func TestDisconnectReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, say, c := talk(t, func(_ context.Context, r Request) error {
			if r.Message.Kind == subprotocol.KindDisconnect {
				return context.Cause(r.Session.Context())
			}
			return nil
		})
		say("CONNECT")
		require.Equal(t, []string{"RECEIPT r=7"}, say("DISCONNECT r=7"))
		require.Equal(t, 1, c.closes())
	})
}

// Where there are no close frames the last ERROR says why.
func TestCloseIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fatal := fullFeatures()
		fatal.FatalErrors = true
		for _, tt := range []struct {
			stream   bool
			features subprotocol.Features
			code     transport.StatusCode
			want     []string
		}{
			{true, fatal, transport.StatusPolicyViolation, []string{"CONNECTED", "ERROR closed"}},
			{true, fatal, transport.StatusNormalClosure, []string{"CONNECTED"}},
			{false, fatal, transport.StatusPolicyViolation, []string{"CONNECTED"}},
			{true, fullFeatures(), transport.StatusPolicyViolation, []string{"CONNECTED"}},
		} {
			e := NewEndpoint(fakeTransport{noBoundaries: tt.stream}, HandlerFunc(func(context.Context, Request) error { return nil }),
				WithSubProtocols(plainProtocol{tt.features}), WithHeartbeat(0, 0))
			c := &fakeConn{room: -1}
			s, r := open(t, e, c)
			r.Receive(textMessage("CONNECT"))
			require.NoError(t, s.Close(tt.code, "enough"))
			require.Error(t, s.Close(tt.code, "again"))
			require.Equal(t, tt.want, c.messages())
			require.Equal(t, 1, c.closes())
			r.Closed(nil)
		}
	})
}
