package brokertest

// The names of the rules.
const (
	ruleFanOut      = "fan-out"
	ruleOrder       = "order"
	ruleNobody      = "nobody"
	ruleSubscribe   = "subscribe"
	ruleUnsubscribe = "unsubscribe"
	ruleIntact      = "intact"
	rulePublish     = "publish"
	ruleRefuse      = "refuse"
	ruleStalled     = "stalled"
	ruleCompeting   = "competing"
	ruleFIFO        = "fifo"
	ruleKept        = "kept"
	ruleAuto        = "auto"
	ruleIndividual  = "ack-individual"
	ruleCumulative  = "ack-cumulative"
	ruleGone        = "consumer-gone"
	ruleLeft        = "consumer-left"
	ruleMarked      = "redelivered"
	ruleNack        = "nack"
	rulePrefetch    = "prefetch"
	ruleUnknownAck  = "unknown-ack"
	ruleNeverAcks   = "never-acks"
	ruleTopicAcks   = "topic-acks"
	ruleTransaction = "transaction"
	ruleTransacted  = "transaction-ack"
	ruleAtomic      = "transaction-atomic"
	ruleUser        = "user"
	ruleUserShown   = "user-destination"
	ruleWildcards   = "wildcards"
	ruleDeadLetter  = "dead-letter"
	ruleRetained    = "retained"
	ruleTTL         = "ttl"
	ruleSelector    = "selector"
	ruleStay        = "come-and-go"
	ruleGuests      = "consumers-come-and-go"
	ruleTransfer    = "transfer"
	ruleMany        = "many"
	ruleLeak        = "leak"
)

const (
	deadAfter        = 2  // MaxDeliveries for the rule dead-letter
	numberOfMessages = 50 // where it does not matter
)

// A need is a feature that a rule rests on.
type need struct {
	name string
	has  func(f *Features) bool
}

var (
	queues       = need{"Queues", func(f *Features) bool { return f.Queues }}
	acks         = need{"Acks", func(f *Features) bool { return f.Acks }}
	topicAcks    = need{"TopicAcks", func(f *Features) bool { return f.TopicAcks }}
	nacks        = need{"Nacks", func(f *Features) bool { return f.Nacks }}
	prefetch     = need{"Prefetch", func(f *Features) bool { return f.Prefetch }}
	redelivered  = need{"Redelivered", func(f *Features) bool { return f.Redelivered }}
	transactions = need{"Transactions", func(f *Features) bool { return f.Transactions }}
	users        = need{"UserDestinations", func(f *Features) bool { return f.UserDestinations }}
	wildcards    = need{"Wildcards", func(f *Features) bool { return f.Wildcards }}
	deadLetter   = need{"DeadLetter", func(f *Features) bool { return f.DeadLetter }}
	retained     = need{"Retained", func(f *Features) bool { return f.Retained }}
	ttl          = need{"TTL", func(f *Features) bool { return f.TTL }}
	selectors    = need{"Selectors", func(f *Features) bool { return f.Selectors }}
)

// rules returns all rules in their fixed order: later ones rest on earlier ones.
func rules() []rule {
	return []rule{
		{ruleFanOut, "A message to a topic reaches each of its subscriptions exactly once, also the sender's own, and no other, under the destination that it was sent to.",
			nil, fanOut},
		{ruleOrder, "What one publisher sends arrives in that order, however many publish at the same time.",
			nil, order},
		{ruleNobody, "To send or publish to a topic, or to a user, that nobody has subscribed is no error.",
			nil, nobody},
		{ruleSubscribe, "After the receipt of SUBSCRIBE no message is missed.",
			nil, subscribed},
		{ruleUnsubscribe, "After the receipt of UNSUBSCRIBE nothing comes for the subscription; the session's others go on.",
			nil, unsubscribed},
		{ruleIntact, "Headers, content type and body arrive as they were sent, whatever bytes they have.",
			nil, intact},
		{rulePublish, "The message is the caller's again when Publish returns: what it does to it then does not show.",
			nil, published},
		{ruleRefuse, "What names a destination that the broker does not have is refused with an error, and the session goes on.",
			nil, refuse},
		{ruleStalled, "A subscriber that does not read holds up neither a publisher nor another subscriber.",
			nil, stalled},
		{ruleCompeting, "A message to a queue reaches exactly one of its consumers, exactly once, and each consumer gets what it gets in order.",
			[]need{queues}, competing},
		{ruleFIFO, "The only consumer of a queue gets the messages in the order in which they were sent.",
			[]need{queues}, fifo},
		{ruleKept, "What is sent to a queue without a consumer is kept for the next one, in order and intact.",
			[]need{queues}, kept},
		{ruleAuto, "In the mode auto a delivery wants no acknowledgement and is not made again.",
			[]need{queues}, autoMode},
		{ruleIndividual, "In the mode client-individual an Ack settles that delivery alone; the others are made again, in order, when their consumer has gone.",
			[]need{queues, acks}, individual},
		{ruleCumulative, "In the mode client an Ack settles that delivery and all before it, and none after it.",
			[]need{queues, acks}, cumulative},
		{ruleGone, "What a consumer had not settled when its connection broke reaches another consumer, in order.",
			[]need{queues, acks}, consumerGone},
		{ruleLeft, "What a consumer had not settled when it unsubscribed reaches another consumer, in order.",
			[]need{queues, acks}, consumerLeft},
		{ruleMarked, "A delivery that is made again is marked redelivered, a first one is not.",
			[]need{queues, acks, redelivered}, marked},
		{ruleNack, "A message that a consumer has refused goes to another one that has room; if there is none, to the same again. In the mode client all before it are refused with it.",
			[]need{queues, acks, nacks}, refusedDelivery},
		{rulePrefetch, "A consumer has no more unsettled deliveries than prefetch-count says, and gets the next for each that it settles.",
			[]need{queues, acks, prefetch}, prefetchWindow},
		{ruleUnknownAck, "An Ack or a Nack of what was not delivered to the subscription, or is settled, is refused with an error that names its id, and disturbs nothing else.",
			[]need{queues, acks}, unknownAck},
		{ruleNeverAcks, "A consumer that never settles anything holds up no other one.",
			[]need{queues, acks, prefetch}, neverAcks},
		{ruleTopicAcks, "Each subscriber of a topic settles for itself alone, within its own window.",
			[]need{topicAcks, prefetch}, topicAcknowledged},
		{ruleTransaction, "Nothing of a transaction is done before COMMIT and all of it then, in order; after ABORT nothing is.",
			[]need{transactions}, transaction},
		{ruleTransacted, "An Ack in a transaction counts at COMMIT; after ABORT the delivery is as unsettled as before.",
			[]need{queues, acks, transactions}, transactionAck},
		{ruleAtomic, "Of a transaction of which a part is refused nothing is done.",
			[]need{queues, acks, transactions}, atomically},
		{ruleUser, "What is published to a user reaches all sessions of the user that have subscribed, once, and nobody else.",
			[]need{users}, user},
		{ruleUserShown, "A message to a user arrives under the destination that the session has subscribed to.",
			[]need{users}, userShown},
		{ruleWildcards, "In a subscription * is any one segment and ** any number of them, also none; a message comes once for each that fits, under its own destination.",
			[]need{wildcards}, wildcard},
		{ruleDeadLetter, "A message that was refused as often as it may be delivered goes to the dead letters, intact.",
			[]need{queues, acks, nacks, deadLetter}, deadLetters},
		{ruleRetained, "The last message with retain is the first that a later subscriber of the topic gets, once; also one with a wildcard, if there are any.",
			[]need{retained}, retainedValue},
		{ruleTTL, "A message whose time is over is not delivered; one whose time is not, is.",
			[]need{queues, ttl}, timeToLive},
		{ruleSelector, "A subscription with a selector gets the messages that it picks and no other; a malformed one is refused.",
			[]need{selectors}, selector},
		{ruleStay, "Subscribers that come and go, or break, take nothing from those who stay.",
			nil, topicComeAndGo},
		{ruleGuests, "When consumers come and go while a queue is sent to, each message is settled exactly once.",
			[]need{queues, acks}, comeAndGo},
		{ruleTransfer, "A message that is moved to another queue, by an Ack and a SEND in one transaction, is there exactly once, whatever is aborted or breaks.",
			[]need{queues, acks, transactions}, transfer},
		{ruleMany, "Many sessions at once, some of which break: each message of a queue is settled exactly once and each of a topic reaches all who stay.",
			nil, many},
		{ruleLeak, "No goroutine is left after the end of the sessions and of the broker.",
			nil, leak},
	}
}

// find returns the rule of that name.
func find(name string) *rule {
	for _, r := range rules() {
		if r.name == name {
			return &r
		}
	}
	panic("brokertest: no rule is called " + name)
}
