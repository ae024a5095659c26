package transporttest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
	"github.com/weftws/weft/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// features claims all that a pipe has.
var features = transporttest.Features{
	Boundaries: true, Text: true, Binary: true, CloseCodes: true, Yield: true, Pause: true, Ping: true,
	Stall: true, Limit: true, SubProtocols: true, Header: true,
}

// impatient is for faults: what does not come soon does not come.
func impatient() transporttest.Features {
	f := features
	f.Patience = 400 * time.Millisecond
	f.StallBytes = 1 << 20
	return f
}

func names(errs []error) []string {
	var ns []string
	for _, err := range errs {
		var re *transporttest.RuleError
		if !errors.As(err, &re) {
			panic(fmt.Sprintf("%T is no *RuleError", err))
		}
		ns = append(ns, re.Rule)
	}
	return ns
}

// Each fault is reported under the name of the rule that it breaks.
func TestFaultsAreReported(t *testing.T) {
	t.Parallel()
	// The runs mostly wait for what does not come, so many of them go at once,
	// whatever -parallel says.
	stop := make(chan struct{})
	defer close(stop)
	type run struct {
		*fault
		errs chan []error
	}
	var runs []run
	room := make(chan struct{}, 12)
	for _, f := range faults() {
		r := run{f, make(chan []error, 1)}
		runs = append(runs, r)
		go func() {
			room <- struct{}{}
			defer func() { <-room }()
			r.errs <- transporttest.CheckRule(cmp.Or(f.check, f.rule), f.factory(stop), impatient())
		}()
	}
	for _, r := range runs {
		t.Run(r.name, func(t *testing.T) {
			errs := <-r.errs
			require.Contains(t, names(errs), r.rule, "%v", errs)
		})
	}
}

// No rule is idle: each one finds a fault that is its own.
func TestEveryRuleHasAFault(t *testing.T) {
	t.Parallel()
	broken := make(map[string]bool)
	for _, f := range faults() {
		broken[f.rule] = true
	}
	for _, r := range transporttest.Rules() {
		require.True(t, broken[r.Name], "no fault breaks the rule %s", r.Name)
	}
}

// What is wrapped as the faults are, without a fault, breaks no rule.
func TestSoundTransportBreaksNoRule(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	require.Empty(t, transporttest.Check((&fault{}).factory(stop), features))
}

// A transport that claims less is asked less, and a sound one breaks no rule then
// either: here one that delivers a stream in pieces, and one for text alone.
func TestFewerFeatures(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	pieces := &fault{receive: func(s *side, m transport.Message) {
		half := len(m.Data) / 2
		for _, p := range [][]byte{m.Data[:half:half], m.Data[half:]} {
			if len(p) > 0 {
				s.r.Receive(transport.Message{Type: m.Type, Data: p})
			}
		}
	}}
	require.Empty(t, transporttest.Check(pieces.factory(stop), transporttest.Features{
		Text: true, Binary: true, Stall: true,
	}))
	text := &fault{write: func(s *side, b []transport.Message) (int, error) {
		for i, m := range b {
			if m.Type == transport.MessageBinary {
				n, err := s.Conn.Write(b[:i])
				return n, errors.Join(err, errPlain)
			}
		}
		return s.Conn.Write(b)
	}}
	require.Empty(t, transporttest.Check(text.factory(stop), transporttest.Features{
		Text: true, Boundaries: true, Pause: true, Ping: true,
	}))
	require.Panics(t, func() { transporttest.Check(text.factory(stop), transporttest.Features{}) })
}

// discard is a receiver that looks at nothing.
type discard struct{}

func (discard) Receive(transport.Message) {}
func (discard) Writable()                 {}
func (discard) Closed(error)              {}

// A stream whose handshake has no answer connects its client before the acceptor is
// asked. A refused client is to see the end, and nothing else.
func TestNoAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		then  func(server *pipe.Conn) // to a client that was refused
		broke bool
	}{
		{"it ends", func(c *pipe.Conn) { c.Cut() }, false},
		{"it goes on", func(*pipe.Conn) {}, true},
		{"it is told something", func(c *pipe.Conn) {
			_, _ = c.Write([]transport.Message{{Type: transport.MessageBinary, Data: []byte("no")}})
			_ = c.Close(transport.StatusNormalClosure, "")
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stop := make(chan struct{})
			defer close(stop)
			late := &fault{dial: func(c transport.Conn, err error, open func(transport.Conn) transport.Receiver) (transport.Conn, error) {
				if err == nil {
					return c, nil
				}
				client, server := pipe.Pair(nil, open, func(transport.Conn) transport.Receiver { return discard{} })
				tt.then(server)
				return client, nil
			}}
			f := transporttest.Features{Text: true, Binary: true, Patience: impatient().Patience}
			errs := transporttest.CheckRule("refuse", late.factory(stop), f)
			if !tt.broke {
				require.Empty(t, errs)
				return
			}
			require.Contains(t, names(errs), "refuse", "%v", errs)
			f.Boundaries = true // then it must be told
			require.Contains(t, names(transporttest.CheckRule("refuse", late.factory(stop), f)), "refuse")
		})
	}
}

// A fault does not keep the kit from going through all rules.
func TestCheckGoesOn(t *testing.T) {
	t.Parallel()
	for _, f := range faults() {
		if f.name != "the reason is lost" && f.name != "a second Closed" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			stop := make(chan struct{})
			defer close(stop)
			errs := transporttest.Check(f.factory(stop), impatient())
			require.Contains(t, names(errs), f.rule, "%v", errs)
		})
	}
}

// hanging is a dialer that does not heed its context.
type hanging struct{ stop chan struct{} }

func (h hanging) Dial(
	context.Context, string, *transport.DialConfig, func(transport.Conn) transport.Receiver,
) (transport.Conn, error) {
	<-h.stop
	return nil, errPlain
}

// A rule that hangs is named, with the goroutines that it left.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	f := impatient()
	f.Patience = 30 * time.Millisecond
	errs := transporttest.CheckRule("order", func(transporttest.Setup) (*transporttest.Server, error) {
		return &transporttest.Server{Dialer: hanging{stop}}, nil
	}, f)
	require.Equal(t, []string{"order", "order"}, names(errs))
	require.ErrorContains(t, errs[0], "server to client")
	require.ErrorContains(t, errs[1], "client to server")
	require.ErrorContains(t, errs[0], "hanging.Dial", "the stack that hangs")
	require.ErrorContains(t, errs[0], "Messages arrive in the order in which they were taken.")
}

// A rule that goes on and on ends too: goleak finds it otherwise.
func TestWatchdogEndsALoop(t *testing.T) {
	t.Parallel()
	f := impatient()
	f.Patience = 30 * time.Millisecond
	loop := &fault{write: func(s *side, _ []transport.Message) (int, error) {
		go s.r.Writable()
		return 0, nil
	}}
	errs := transporttest.CheckRule("order", loop.factory(nil), f)
	// On a busy machine a Writable may be late before the watchdog fires.
	require.NotEmpty(t, errs)
}

func TestFactoryThatFails(t *testing.T) {
	t.Parallel()
	errs := transporttest.CheckRule("refuse", func(transporttest.Setup) (*transporttest.Server, error) {
		return nil, errPlain
	}, features)
	require.Equal(t, []string{"refuse"}, names(errs))
	require.ErrorContains(t, errs[0], "plain")
}
