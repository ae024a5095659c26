package subprotocoltest

import (
	"fmt"
	"runtime/debug"
	"testing"
	"time"

	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// Options tell the kit what a sub-protocol carries. The zero value is the default.
type Options struct {
	// Samples are messages that must survive encoding and decoding. nil means
	// Samples of the Framer's Features.
	Samples []Sample

	// Connect and Connected are the exchange that begins a connection, for
	// sub-protocols that have one. nil means messages with nothing but the Kind.
	Connect, Connected *subprotocol.Message

	// Unsupported are messages that have no wire form, besides those of kinds
	// that the Features do not claim.
	Unsupported []*subprotocol.Message

	// Valid are transcripts that must be read as their Want.
	Valid []Transcript

	// Invalid are transcripts that break the wire format: reading one must end
	// with a *subprotocol.Error, of the code Code if that is set.
	Invalid []Transcript

	// Timeout is how long one rule may take. 0 means 30 seconds.
	Timeout time.Duration
}

// A Sample is a message and what arrives of it.
type Sample struct {
	// FromServer reports that the server sends it; otherwise the client does.
	FromServer bool

	// Message is what is sent. It is not changed.
	Message *subprotocol.Message

	// Want is what arrives; nil means the same. A Type of 0 is not compared.
	Want *subprotocol.Message
}

// A Transcript is what one side of a connection reads, after the connect exchange.
type Transcript struct {
	Name string

	// AtClient reports that the client reads it; otherwise the server does.
	AtClient bool

	Input []transport.Message

	// Want are the messages that must come out, before the error of an Invalid one.
	Want []*subprotocol.Message

	// Code is that of the error of an Invalid transcript.
	Code string
}

// A Rule is one thing that the contract asks for.
type Rule struct {
	Name string // short and constant: "round-trip"
	Text string // the rule in words
}

// RuleError says which rule a sub-protocol breaks.
type RuleError struct {
	Rule   string // the Rule's Name
	Text   string // the Rule's Text
	Detail string // what was seen
}

// Error names the rule, its text, and what was seen.
func (e *RuleError) Error() string {
	return fmt.Sprintf("subprotocoltest: rule %s is broken: %s\n\t%s", e.Rule, e.Text, e.Detail)
}

// rule is a Rule and its test, which returns what it saw of a breach.
type rule struct {
	Rule
	check func(*kit) error
}

// Rules returns the rules in the order in which they are tested.
func Rules() []Rule {
	var rs []Rule
	for _, r := range rules {
		rs = append(rs, r.Rule)
	}
	return rs
}

// Check tests p against all rules and returns a *RuleError for each broken one,
// nothing for a sound sub-protocol. A nil opts is the zero Options.
func Check(p subprotocol.SubProtocol, opts *Options) []error {
	o := defaults(opts)
	var errs []error
	for _, r := range rules {
		if err := run(p, o, r); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Run tests p against all rules, each in a subtest of its name. A nil opts is the
// zero Options.
func Run(t *testing.T, p subprotocol.SubProtocol, opts *Options) {
	o := defaults(opts)
	for _, r := range rules {
		t.Run(r.Name, func(t *testing.T) {
			if err := run(p, o, r); err != nil {
				t.Error(err)
			}
		})
	}
}

func defaults(opts *Options) Options {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Connect == nil {
		o.Connect = &subprotocol.Message{Kind: subprotocol.KindConnect}
	}
	if o.Connected == nil {
		o.Connected = &subprotocol.Message{Kind: subprotocol.KindConnected}
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	return o
}

// run tests one rule on a goroutine of its own, so that neither a panic nor a
// loop without end takes the others along.
func run(p subprotocol.SubProtocol, o Options, r rule) error {
	done := make(chan error, 1)
	go func() {
		done <- guard(func() error {
			names := p.Names()
			if len(names) == 0 {
				names = []string{""}
			}
			for _, name := range names {
				k := &kit{Options: o, sub: p, name: name}
				if err := r.check(k); err != nil {
					return fmt.Errorf("with the name %q: %w", name, err)
				}
			}
			return nil
		})
	}()
	timer := time.NewTimer(o.Timeout)
	defer timer.Stop()
	var err error
	select {
	case err = <-done:
	case <-timer.C:
		err = fmt.Errorf("not done after %v", o.Timeout)
	}
	if err == nil {
		return nil
	}
	return &RuleError{Rule: r.Name, Text: r.Text, Detail: err.Error()}
}

// guard turns a panic of f into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
