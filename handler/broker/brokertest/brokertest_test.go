package brokertest_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/weftws/weft/handler/broker/brokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// features claims all that there is.
var features = brokertest.Features{
	Queues: true, Acks: true, TopicAcks: true, Nacks: true, Prefetch: true, Redelivered: true, DeliveryCount: true,
	Transactions: true, UserDestinations: true, Wildcards: true, DeadLetter: true, Retained: true, TTL: true,
	Selectors: true,
}

// faults are what naive can do wrong, and the rules that this breaks.
var faults = []struct{ name, rule string }{
	{"the first subscriber is forgotten", "fan-out"},
	{"a session gets one copy", "fan-out"},
	{"a subscriber gets it twice", "fan-out"},
	{"topics are one", "fan-out"},
	{"messages of a topic change places", "order"},
	{"a topic without a subscriber is an error", "nobody"},
	{"a user without a session is an error", "nobody"},
	{"a subscription begins late", "subscribe"},
	{"a subscription ends late", "unsubscribe"},
	{"headers are lost", "intact"},
	{"an empty header is lost", "intact"},
	{"the content type is lost", "intact"},
	{"a queue keeps no content type", "intact"},
	{"a body ends at a zero", "intact"},
	{"Publish keeps the message", "publish"},
	{"unknown destinations are accepted", "refuse"},
	{"a refusal has no text", "refuse"},
	{"a refusal is fatal", "refuse"},
	{"each delivery waits for the reader", "stalled"},
	{"a queue is a topic", "competing"},
	{"a tenth is lost", "competing"},
	{"a tenth comes twice", "competing"},
	{"queues are one", "competing"},
	{"messages of a queue change places", "competing"},
	{"messages of a queue change places", "fifo"},
	{"a queue is not kept", "kept"},
	{"the queue is a stack", "kept"},
	{"an auto delivery has an ID", "auto"},
	{"auto deliveries come again", "auto"},
	{"an individual Ack is cumulative", "ack-individual"},
	{"Acks are ignored", "ack-individual"},
	{"the order of redelivery is lost", "ack-individual"},
	{"a cumulative Ack settles one", "ack-cumulative"},
	{"an Ack settles all", "ack-cumulative"},
	{"what a broken connection had is lost", "consumer-gone"},
	{"the order of redelivery is lost", "consumer-gone"},
	{"what an ended subscription had is lost", "consumer-left"},
	{"an ended subscription keeps what it had", "consumer-left"},
	{"a redelivery is not marked", "redelivered"},
	{"every delivery is marked", "redelivered"},
	{"deliveries are counted to two", "redelivered"},
	{"a refused message is dropped", "nack"},
	{"a refused message comes back to the same", "nack"},
	{"a cumulative Nack refuses one", "nack"},
	{"prefetch-count is ignored", "prefetch"},
	{"the window has one too many", "prefetch"},
	{"an Ack makes no room", "prefetch"},
	{"a cumulative Ack settles one", "prefetch"},
	{"an unknown Ack is accepted", "unknown-ack"},
	{"an unknown Ack is not named", "unknown-ack"},
	{"an unknown Ack settles the next", "unknown-ack"},
	{"anybody may settle", "unknown-ack"},
	{"the queue waits for the slowest", "never-acks"},
	{"one Ack settles for all subscribers", "topic-acks"},
	{"prefetch-count is ignored", "topic-acks"},
	{"an Ack makes no room", "topic-acks"},
	{"a part of a transaction is forgotten", "transaction"},
	{"an Ack in a transaction is forgotten", "transaction-ack"},
	{"a SEND does not wait for its transaction", "transaction-atomic"},
	{"an Ack does not wait for its transaction", "transaction-atomic"},
	{"one session of a user gets the message", "user"},
	{"everybody gets a user's message", "user"},
	{"others on the queue get a user's message", "user"},
	{"a user's message shows the bare destination", "user-destination"},
	{"* is any number of segments", "wildcards"},
	{"** is one segment at least", "wildcards"},
	{"a wildcard subscription shows its pattern", "wildcards"},
	{"a poisonous message comes again and again", "dead-letter"},
	{"a poisonous message vanishes", "dead-letter"},
	{"a dead letter has no header", "dead-letter"},
	{"nothing is retained", "retained"},
	{"the first value is retained", "retained"},
	{"any value is retained", "retained"},
	{"a wildcard gets nothing retained", "retained"},
	{"ttl is ignored", "ttl"},
	{"expires is ignored", "ttl"},
	{"expires is taken for ttl", "ttl"},
	{"selectors are ignored", "selector"},
	{"selectors of queues are ignored", "selector"},
	{"a malformed selector is accepted", "selector"},
	{"an ending subscription takes the next along", "come-and-go"},
	{"a broken connection takes the next along", "come-and-go"},
	{"what an ended subscription had is lost", "consumers-come-and-go"},
	{"what an ended subscription had comes twice", "consumers-come-and-go"},
	{"a part of a transaction is forgotten", "transfer"},
	{"an Ack in a transaction is forgotten", "transfer"},
	{"what a broken connection had is lost", "transfer"},
	{"what a broken connection had is lost", "many"},
	{"the first subscriber is forgotten", "many"},
	{"a goroutine for each session stays", "leak"},
}

// impatient is for faults: what does not come soon does not come.
func impatient() brokertest.Features {
	f := features
	f.Patience = 400 * time.Millisecond
	return f
}

func names(errs []error) []string {
	var ns []string
	for _, err := range errs {
		var re *brokertest.RuleError
		if !errors.As(err, &re) {
			panic(fmt.Sprintf("%T is no *RuleError", err))
		}
		ns = append(ns, re.Rule)
	}
	return ns
}

// What is wrapped around the faults breaks no rule without one.
func TestSoundBrokerBreaksNoRule(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, factory("", nil), features)
}

// Each fault is reported under the name of the rule that it breaks.
func TestFaultsAreReported(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	defer close(end)
	// The runs mostly wait for what does not come, so many of them go at once,
	// whatever -parallel says.
	all := make([]chan []error, len(faults))
	room := make(chan struct{}, 8)
	for i, f := range faults {
		all[i] = make(chan []error, 1)
		go func() {
			room <- struct{}{}
			defer func() { <-room }()
			features := impatient()
			if f.rule == "many" || f.rule == "transfer" { // so many that one waits for the other
				features.Patience = 4 * time.Second
			}
			all[i] <- brokertest.CheckRule(f.rule, factory(f.name, end), features)
		}()
	}
	for i, f := range faults {
		t.Run(f.rule+"/"+f.name, func(t *testing.T) {
			errs := <-all[i]
			t.Log(errs)
			require.Contains(t, names(errs), f.rule, "%v", errs)
		})
	}
}

// No rule is idle: each one finds a fault.
func TestEveryRuleHasAFault(t *testing.T) {
	t.Parallel()
	broken := make(map[string]bool)
	for _, f := range faults {
		broken[f.rule] = true
	}
	for _, r := range brokertest.Rules() {
		require.True(t, broken[r.Name], "no fault breaks the rule %s", r.Name)
		require.NotEmpty(t, r.Text)
	}
}

// A broker that claims less is asked less: one with topics alone breaks no rule.
func TestFewerFeatures(t *testing.T) {
	t.Parallel()
	require.Empty(t, brokertest.Check(factory("", nil), brokertest.Features{}))
	require.Empty(t, brokertest.Check(factory("Acks are ignored", nil), brokertest.Features{Queues: true}))
}

// A broker that can't be started or stopped is named, and so is a rule that hangs.
func TestBrokenSystem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		errs := brokertest.CheckRule("fan-out", factory("the factory fails", end), impatient())
		require.Equal(t, []string{"fan-out"}, names(errs))
		require.ErrorContains(t, errs[0], "plain")
		require.ErrorContains(t, errs[0], "reaches each of its subscriptions exactly once")
		errs = brokertest.CheckRule("fan-out", factory("Stop waits for ever", end), impatient())
		require.Equal(t, []string{"fan-out"}, names(errs))
		require.ErrorContains(t, errs[0], "Stop has not returned")
	})
}

func BenchmarkNaive(b *testing.B) { brokertest.Benchmark(b, factory("", nil), features) }

// A rule that hangs is named, with the goroutines that it left.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	// On a busy machine's clock the rule gave up before it hung.
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		errs := brokertest.CheckRule("fan-out", factory("Publish waits for ever", end), impatient())
		close(end)
		require.Equal(t, []string{"fan-out"}, names(errs))
		require.ErrorContains(t, errs[0], "has not come to its end")
		require.ErrorContains(t, errs[0], "naive).Publish", "the stack that hangs")
	})
}
