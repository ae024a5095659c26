package brokertest

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/weftws/weft/handler"
)

// A Broker is what the kit checks.
type Broker interface {
	handler.Handler
	handler.Publisher
	handler.UserPublisher
}

// Setup is what a rule asks of the broker that it is checked on.
type Setup struct {
	// MaxDeliveries is after how many deliveries that were refused a message goes to
	// DeadLetter, a destination that begins with /queue/. 0 and "" leave both to the broker;
	// only the rule dead-letter sets them.
	MaxDeliveries int
	DeadLetter    string
}

// System is a broker at work.
type System struct {
	Broker Broker

	// Topic and Queue are what destinations of the kind begin with, User what stands
	// before the destination of a user's own. "" means "/topic/", "/queue/" and "/user".
	Topic, Queue, User string

	// Separator is what wildcards heed. 0 means '/'.
	Separator byte

	// Unknown is a destination that the broker refuses. "" means "/nowhere/x".
	Unknown string

	// Stop ends the broker and waits until its goroutines are gone. The sessions have
	// ended before. Nil means that there is nothing to stop.
	Stop func()
}

// A Factory starts a broker. The kit calls it once for each rule.
type Factory func(s Setup) (*System, error)

// Features are what a broker claims besides topics. A rule about something that is not
// claimed is skipped. The zero value claims the least.
type Features struct {
	// Queues: of those who have subscribed to a queue one gets the message, and it is
	// kept while there is nobody.
	Queues bool

	// Acks: the modes client and client-individual on queues, with redelivery of what
	// was not settled. TopicAcks: also on topics. Nacks: KindNack.
	Acks, TopicAcks, Nacks bool

	// Prefetch: prefetch-count bounds the deliveries that are not settled.
	Prefetch bool

	// Redelivered and DeliveryCount: a second delivery has these headers.
	Redelivered, DeliveryCount bool

	// Transactions: what belongs together is done or not done as a whole.
	Transactions bool

	// UserDestinations: SUBSCRIBE to User plus a destination, and PublishToUser.
	UserDestinations bool

	// Wildcards: a segment * of a subscription is any one, ** any number of them.
	Wildcards bool

	// DeadLetter, Retained, TTL, Selectors: see Setup, and the package's assumptions.
	DeadLetter, Retained, TTL, Selectors bool

	// Patience is how long the kit waits for something that must happen; 0 means 10
	// seconds. Only a broken broker makes the kit wait that long. Six times as much is
	// the time in which a rule must come to its end.
	Patience time.Duration
}

// A Rule is one thing that a broker has to do.
type Rule struct {
	Name string // short and constant: "order"
	Text string // the rule in words
}

// RuleError is one broken rule.
type RuleError struct {
	Rule   string // the Rule's Name
	Text   string // the Rule's Text
	Detail string // what was seen
}

// Error gives the rule in words, and then what was seen.
func (e *RuleError) Error() string {
	return fmt.Sprintf("brokertest: broken rule %s: %s\n\t%s", e.Rule, e.Text, e.Detail)
}

// Rules returns all rules in the order in which they are checked.
func Rules() []Rule {
	var rs []Rule
	for _, r := range rules() {
		rs = append(rs, Rule{r.name, r.text})
	}
	return rs
}

// Check checks all rules and returns those that are broken, each as a *RuleError. A
// broker that breaks one rule may be reported under others too, where they rest on the
// first.
func Check(factory Factory, features Features) []error {
	features.Patience = cmp.Or(features.Patience, defaultPatience)
	var errs []error
	for _, r := range rules() {
		errs = append(errs, check(&r, factory, features)...)
	}
	return errs
}

// Run checks each rule in a subtest of its own, in fixed order. Each has its own
// watchdog: a rule that hangs is reported by its name, with the goroutines that it
// left, and the next one is checked.
func Run(t *testing.T, factory Factory, features Features) {
	t.Helper()
	features.Patience = cmp.Or(features.Patience, defaultPatience)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			if lack := r.lacks(&features); lack != "" {
				t.Skip("the broker does not claim " + lack)
			}
			for _, err := range check(&r, factory, features) {
				t.Error(err)
			}
		})
	}
}

const defaultPatience = 10 * time.Second
