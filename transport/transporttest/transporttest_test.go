package transporttest_test

import (
	"cmp"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

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
	for _, name := range transporttest.Rules() {
		require.True(t, broken[name], "no fault breaks the rule %s", name)
	}
}

// What is wrapped as the faults are, without a fault, breaks no rule.
func TestSoundTransportBreaksNoRule(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	require.Empty(t, transporttest.Check((&fault{}).factory(stop), features))
}
