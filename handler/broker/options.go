package broker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
)

// Options say which destinations a Broker has and what it may hold. The zero value is
// the default; of a number that bounds something, 0 means the default.
type Options struct {
	// TopicPrefixes are how the destinations begin whose messages go to all subscribers.
	// nil means /topic/; an empty slice that there are no topics.
	TopicPrefixes []string

	// QueuePrefixes are how the destinations begin whose messages go to one
	// consumer each. nil means /queue/; an empty slice that there are no queues.
	QueuePrefixes []string

	// UserPrefix is how the destinations begin that are a user's own. "" means /user/.
	UserPrefix string

	// Separator stands between the segments that wildcards are about: '/', which 0 means
	// too, or '.'. It must be the one that clients know.
	Separator byte

	// Prefetch is how many deliveries a subscription with acknowledgements may leave
	// unsettled before it gets no more. 0 means 256. A consumer that takes long over
	// a message wants few, so that others get the rest; one that is far away wants many.
	Prefetch int

	// MaxPrefetch is the most that a client may ask for with prefetch-count. 0 means
	// 4096, or Prefetch if that is more. What is unsettled stays in memory.
	MaxPrefetch int

	// MaxBacklog is how many messages of a topic wait for one subscription whose window
	// of unsettled deliveries is full. 0 means 1024. The oldest is dropped for a new one:
	// see Hooks.Dropped. Its bytes are bounded by MaxQueueBytes.
	MaxBacklog int

	// MaxDestinations bounds topics and queues that are in use: that have subscriptions,
	// a retained message or messages that wait. Those of users count for each user.
	// 0 means 262144. Each takes some 400 bytes and its text.
	MaxDestinations int

	// MaxSubscriptions bounds the subscriptions of all sessions together. 0 means
	// 1048576. Each takes some 300 bytes, 500 more with acknowledgements, and up to 4 KB
	// with a wildcard and many segments, of which it has 16 at most. How many one session
	// has is the endpoint's limit: see handler.WithMaxSubscriptions.
	MaxSubscriptions int

	// MaxQueueMessages and MaxQueueBytes bound what one queue holds, unsettled messages
	// among it; more is refused with "queue-full". 0 means 65536 messages and 64 MiB. Bytes
	// count what a message takes in memory: its text and some 400 bytes.
	MaxQueueMessages int
	MaxQueueBytes    int64

	// MaxBytes bounds what all queues hold together, and apart from that what the
	// backlogs of all subscriptions do with what is unsettled, as MaxQueueBytes counts. 0
	// means 128 MiB. When it is reached queues refuse, and a backlog drops its oldest if it
	// holds more than its share, so that all backlogs hold twice that at most, or one message
	// each.
	MaxBytes int64

	// TTL is how long a message waits in a queue, or in a backlog, that does not say so
	// itself with ttl or expires. 0 means without end. A message that says so may
	// stay longer.
	TTL time.Duration

	// MaxDeliveries is how often a message is delivered that nobody acknowledges,
	// because it is refused with a NACK or because its consumer goes. Then it is a dead
	// letter. 0 means 20. With 1 nothing is ever redelivered, also not what a consumer
	// that goes had not looked at yet.
	MaxDeliveries int

	// RedeliveryDelay is after which time a message may come back to the consumer that
	// refused it; others may have it at once. 0 means 1 s. A short one lets a
	// consumer that refuses all use up MaxDeliveries in no time.
	RedeliveryDelay time.Duration

	// DeadLetter is the destination that dead letters go to, such as /queue/dead. "" means
	// that they are dropped, counted, and told to Hooks.DeadLettered. Nobody empties
	// it by itself: when it is full dead letters are dropped.
	DeadLetter string

	// MaxRetained and MaxRetainedBytes bound the last values of topics that are kept on
	// request; more are refused with "too-many-retained". 0 means 4096 messages and 16
	// MiB, counted as MaxQueueBytes does. A SUBSCRIBE with a wildcard looks at all of them,
	// and gets all that match: many of them make it dear.
	MaxRetained      int
	MaxRetainedBytes int64

	// Selectors lets a SUBSCRIBE have a selector. The default is off, because a
	// selector takes time for each message, for others' ones too: a SUBSCRIBE to a long
	// queue may keep a processor busy for minutes.
	Selectors bool

	// Hooks are told what happens. The default is nobody; Broker.Stats counts either way.
	Hooks Hooks
}

// Hooks are told what happens in a Broker. Each may be nil. They are called from any
// goroutine, without a lock, so that they may call the Broker; they must be quick. A
// panic of theirs is counted and goes no further. Messages must not be changed, and
// are valid until the hook returns.
type Hooks struct {
	// Subscribed: a subscription is in force; no message that is sent from now on is
	// missed.
	Subscribed func(s Subscription)

	// Unsubscribed: a subscription has ended, also because its session has. Each
	// Subscribed has one Unsubscribed, which may come first if the session ends at once.
	Unsubscribed func(s Subscription)

	// DeadLettered: m, which was sent to destination, is given up for a reason, and went
	// to Options.DeadLetter if there is one.
	DeadLettered func(destination string, m *subprotocol.Message, reason DeadReason)

	// Expired: m was not delivered in time.
	Expired func(destination string, m *subprotocol.Message)

	// Dropped: m was dropped although it was accepted: the oldest of a subscription's
	// backlog, or a dead letter that Options.DeadLetter had no room for.
	Dropped func(destination string, m *subprotocol.Message)
}

// DeadReason is why a message became a dead letter.
type DeadReason uint8

const (
	// DeadRefused: the last consumer that it was delivered to refused it.
	DeadRefused DeadReason = iota + 1
	// DeadAbandoned: the last consumer that it was delivered to went without a word.
	DeadAbandoned
	// DeadUnsendable: the sub-protocol of the last consumer can't express it.
	DeadUnsendable
)

// String returns "refused", "abandoned" or "unsendable".
func (r DeadReason) String() string {
	switch r {
	case DeadRefused:
		return "refused"
	case DeadAbandoned:
		return "abandoned"
	case DeadUnsendable:
		return "unsendable"
	default:
		return "none"
	}
}

// Subscription is one session's interest in a destination.
type Subscription struct {
	Session     *handler.Session
	ID          string
	Destination string // as the session said it
	AckMode     subprotocol.AckMode
}

// complete fills in what o leaves to the defaults, and panics about what makes no sense.
func (o *Options) complete() {
	for _, n := range []int64{
		int64(o.Prefetch), int64(o.MaxPrefetch), int64(o.MaxBacklog), int64(o.MaxDestinations), int64(o.MaxSubscriptions),
		int64(o.MaxQueueMessages), o.MaxQueueBytes, o.MaxBytes, int64(o.TTL), int64(o.MaxDeliveries), int64(o.RedeliveryDelay),
		int64(o.MaxRetained), o.MaxRetainedBytes,
	} {
		if n < 0 {
			panic("broker: Options has a negative limit")
		}
	}
	or(&o.Prefetch, 256)
	or(&o.MaxPrefetch, max(4096, o.Prefetch))
	or(&o.MaxBacklog, 1024)
	or(&o.MaxDestinations, 1<<18)
	or(&o.MaxSubscriptions, 1<<20)
	or(&o.MaxQueueMessages, 1<<16)
	or(&o.MaxQueueBytes, 64<<20)
	or(&o.MaxBytes, 128<<20)
	or(&o.MaxDeliveries, 20)
	or(&o.RedeliveryDelay, time.Second)
	or(&o.MaxRetained, 1<<12)
	or(&o.MaxRetainedBytes, 16<<20)
	or(&o.Separator, '/')
	or(&o.UserPrefix, "/user/")
	o.TopicPrefixes = prefixes(o.TopicPrefixes, "/topic/")
	o.QueuePrefixes = prefixes(o.QueuePrefixes, "/queue/")
	o.checkPrefixes()
	switch {
	case o.Separator != '/' && o.Separator != '.':
		panic("broker: Options.Separator is neither '/' nor '.'")
	case o.Prefetch > o.MaxPrefetch:
		panic("broker: Options.Prefetch is over MaxPrefetch")
	case o.DeadLetter != "":
		if k := o.kindOf(o.DeadLetter); k != isTopic && k != isQueue || checkDestination(o.DeadLetter, o.Separator) != nil {
			panic(fmt.Sprintf("broker: Options.DeadLetter %q is neither a topic nor a queue", o.DeadLetter))
		}
	}
}

// or gives *v its default.
func or[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func prefixes(given []string, def string) []string {
	if given == nil {
		return []string{def}
	}
	return slices.Clone(given)
}

// checkPrefixes panics unless each destination is of one kind at most.
func (o *Options) checkPrefixes() {
	all := slices.Concat(o.TopicPrefixes, o.QueuePrefixes, []string{o.UserPrefix})
	for i, p := range all {
		if !strings.HasPrefix(p, "/") || !strings.HasSuffix(p, "/") || len(p) < 2 {
			panic(fmt.Sprintf("broker: prefix %q does not begin and end with a slash", p))
		}
		for _, other := range all[i+1:] {
			if strings.HasPrefix(p, other) || strings.HasPrefix(other, p) {
				panic(fmt.Sprintf("broker: prefixes %q and %q have destinations in common", p, other))
			}
		}
	}
}

// kindOf says what a destination is by its prefix.
func (o *Options) kindOf(destination string) kind {
	begins := func(prefix string) bool {
		return len(destination) > len(prefix) && strings.HasPrefix(destination, prefix)
	}
	switch {
	case begins(o.UserPrefix):
		return isUser
	case slices.ContainsFunc(o.QueuePrefixes, begins):
		return isQueue
	case slices.ContainsFunc(o.TopicPrefixes, begins):
		return isTopic
	default:
		return isNothing
	}
}

// kind is what a destination is.
type kind uint8

const (
	isNothing kind = iota
	isTopic
	isQueue
	isUser
)
