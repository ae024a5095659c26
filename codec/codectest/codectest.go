package codectest

import (
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/weftws/weft/codec"
)

// Options tell the kit what a codec can carry. The zero value is the default.
type Options struct {
	// Values makes the values that must survive encoding and decoding. Every call
	// makes new ones, equal to those of the call before. Each is decoded into a
	// new value of its own type. The first must not be empty: its encoding is the
	// one that is cut, damaged and followed by other bytes. nil means Values.
	Values func() []any

	// Equal reports whether a value survived. nil means reflect.DeepEqual.
	Equal func(want, got any) bool

	// Unencodable are values that Append must refuse. nil means a channel, a
	// function, and each of them behind other data.
	Unencodable []any

	// Nested makes a well-formed encoding of so many lists, one inside the other.
	// nil means those of JSON, msgpack and CBOR, by content type, and what Append
	// makes of nested lists for any other.
	Nested func(levels int) []byte

	// Huge are short inputs that announce data of many megabytes. nil means
	// those of msgpack and CBOR, by content type, and none for any other.
	Huge [][]byte

	// Timeout is how long one rule may take. 0 means 30 seconds.
	Timeout time.Duration
}

// A Rule is one thing that the contract asks for.
type Rule struct {
	Name string // short and constant: "round-trip"
	Text string // the rule in words
}

// RuleError says which rule a codec breaks.
type RuleError struct {
	Rule   string // the Rule's Name
	Text   string // the Rule's Text
	Detail string // what was seen
}

// Error names the rule, its text, and what was seen.
func (e *RuleError) Error() string {
	return fmt.Sprintf("codectest: rule %s is broken: %s\n\t%s", e.Rule, e.Text, e.Detail)
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

// Check tests c against all rules and returns a *RuleError for each broken one,
// nothing for a sound codec. A nil opts is the zero Options.
func Check(c codec.Codec, opts *Options) []error {
	k := newKit(c, opts)
	var errs []error
	for _, r := range rules {
		if err := k.run(r); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Run tests c against all rules, each in a subtest of its name. A nil opts is the
// zero Options.
func Run(t *testing.T, c codec.Codec, opts *Options) {
	k := newKit(c, opts)
	for _, r := range rules {
		t.Run(r.Name, func(t *testing.T) {
			if err := k.run(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// kit is the codec under test and the options with their defaults.
type kit struct {
	Options
	codec codec.Codec
}

func newKit(c codec.Codec, opts *Options) *kit {
	k := &kit{codec: c}
	if opts != nil {
		k.Options = *opts
	}
	if k.Values == nil {
		k.Values = Values
	}
	if k.Equal == nil {
		k.Equal = reflect.DeepEqual
	}
	if k.Unencodable == nil {
		k.Unencodable = unencodable()
	}
	if k.Timeout <= 0 {
		k.Timeout = 30 * time.Second
	}
	return k
}

// run tests one rule on a goroutine of its own, so that neither a panic nor a
// loop without end takes the others along.
func (k *kit) run(r rule) error {
	done := make(chan error, 1)
	go func() { done <- guard(func() error { return r.check(k) }) }()
	timer := time.NewTimer(k.Timeout)
	defer timer.Stop()
	var err error
	select {
	case err = <-done:
	case <-timer.C:
		err = fmt.Errorf("not done after %v", k.Timeout)
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

// encode returns an encoding of v of its own, without spare capacity.
func (k *kit) encode(v any) ([]byte, error) {
	data, err := k.codec.Append(nil, v)
	if err != nil {
		return nil, fmt.Errorf("Append(%s): %w", show(v), err)
	}
	return slices.Clip(slices.Clone(data)), nil
}

// decode decodes data into a new value of want's type and compares.
func (k *kit) decode(data []byte, want any) error {
	got := reflect.New(reflect.TypeOf(want))
	if err := k.codec.Unmarshal(data, got.Interface()); err != nil {
		return fmt.Errorf("Unmarshal into %T of %q: %w", want, short(data), err)
	}
	return k.same(want, got.Elem().Interface())
}

func (k *kit) same(want, got any) error {
	if !k.Equal(want, got) {
		return fmt.Errorf("%s came back as %s", show(want), show(got))
	}
	return nil
}

// target makes a pointer to a new value of v's type.
func target(v any) any { return reflect.New(reflect.TypeOf(v)).Interface() }

func show(v any) string {
	s := fmt.Sprintf("%T(%+v)", v, v)
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}

func short(data []byte) []byte { return data[:min(len(data), 64)] }

// first encodes the first value, which stands for all where one is enough.
func (k *kit) first() (any, []byte, error) {
	vs := k.Values()
	if len(vs) == 0 {
		return nil, nil, errors.New("Options.Values made no value")
	}
	data, err := k.encode(vs[0])
	if err == nil && len(data) == 0 {
		err = errors.New("the first of Options.Values has an empty encoding")
	}
	return vs[0], data, err
}
