package transporttest

import (
	"fmt"
	"testing"
	"time"

	"github.com/weftws/weft/transport"
)

// Setup is what a rule asks of the server that it is checked on.
type Setup struct {
	// Acceptor decides about the server's handshakes.
	Acceptor transport.Acceptor

	// MaxMessageSize is the largest message in bytes that both ends are to receive.
	// It is never 0. An implementation without Features.Limit may ignore it, but
	// must carry messages of this size.
	MaxMessageSize int

	// CloseTimeout is how long a close may take on both ends; 0 means the
	// implementation's default.
	CloseTimeout time.Duration
}

// Server is an implementation at work.
type Server struct {
	// Dialer connects to URL.
	Dialer transport.Dialer
	URL    string

	// DialConfig is what the kit dials with; it sets SubProtocols itself and adds to
	// Header.
	DialConfig transport.DialConfig

	// Stop ends the server and waits until its goroutines are gone. The connections
	// have ended before. Nil means that there is nothing to stop.
	Stop func()

	// Cut breaks the connection of c, which belongs to either side, without a close
	// frame: what was taken leaves, and then the network connection ends. Nil skips
	// the rules about lost connections.
	Cut func(c transport.Conn)
}

// A Factory starts a server with a listener and a dialer of its own. The kit calls
// it at least once for each rule and direction.
type Factory func(s Setup) (*Server, error)

// Features are what an implementation claims. A rule about something that is not
// claimed is skipped. The zero value claims the least.
type Features struct {
	// Boundaries, Text and Binary are those of transport.Features; one of Text and
	// Binary must be claimed. Without Boundaries neither the types of messages nor text
	// that is cut anywhere can be checked.
	//
	// What claims none of Boundaries, SubProtocols and Header may be a stream whose
	// handshake has no answer: a Dial may succeed before the acceptor is asked, and a
	// refused connection end instead.
	Boundaries, Text, Binary bool

	// CloseCodes: the code and the reason of Close reach the peer.
	CloseCodes bool

	// Yield, Pause and Ping: every Conn is a transport.Yielder, Pauser, Pinger.
	Yield, Pause, Ping bool

	// Stall: a peer that does not read makes Write short after at most StallBytes
	// have been taken.
	Stall bool

	// StallBytes bounds what a direction takes without a reader, buffers of the
	// operating system included. 0 means 64 MiB.
	StallBytes int

	// Limit: a message over MaxMessageSize ends the connection with status 1009.
	Limit bool

	// SubProtocols: the handshake announces a sub-protocol.
	SubProtocols bool

	// Header: the acceptor sees the fields of DialConfig.Header.
	Header bool

	// Patience is how long the kit waits for something that must happen; 0 means 10
	// seconds. Only a broken implementation makes the kit wait that long. Six times
	// as much is the time in which a rule must come to its end.
	Patience time.Duration
}

// answers reports whether handshakes must have an answer.
func (f *Features) answers() bool { return f.Boundaries || f.SubProtocols || f.Header }

func (f Features) withDefaults() Features {
	if !f.Text && !f.Binary {
		panic("transporttest: Features claim neither Text nor Binary")
	}
	if f.StallBytes == 0 {
		f.StallBytes = 64 << 20
	}
	if f.Patience == 0 {
		f.Patience = 10 * time.Second
	}
	return f
}

// A Rule is one thing that the contract asks for.
type Rule struct {
	Name string // short and constant: "order"
	Text string // the rule in words
}

// RuleError is one broken rule.
type RuleError struct {
	// Rule is the name of the rule.
	Rule string

	// Text is the rule in words.
	Text string

	// Direction says which side was the acting one: "server to client" or "client
	// to server".
	Direction string

	// Detail is what was seen.
	Detail string
}

// Error gives the rule in words, and then what was seen.
func (e *RuleError) Error() string {
	return fmt.Sprintf("transporttest: broken rule %s (%s): %s\n\t%s", e.Rule, e.Direction, e.Text, e.Detail)
}

// Rules returns all rules in the order in which they are checked.
func Rules() []Rule {
	var rs []Rule
	for _, r := range rules() {
		rs = append(rs, Rule{r.name, r.text})
	}
	return rs
}

// Check checks all rules and returns those that are broken, each as a *RuleError.
// An implementation that breaks one rule may be reported under others too, where
// they rest on the first.
func Check(factory Factory, features Features) []error {
	var errs []error
	for _, r := range rules() {
		errs = append(errs, check(&r, factory, features.withDefaults())...)
	}
	return errs
}

// Run checks each rule in a subtest of its own, in fixed order. Each has its own
// watchdog: a rule that hangs is reported by its name, with the goroutines that it
// left, and the next one is checked.
func Run(t *testing.T, factory Factory, features Features) {
	t.Helper()
	features = features.withDefaults()
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			if why := r.skip(&features); why != "" {
				t.Skip(why)
			}
			for _, err := range check(&r, factory, features) {
				t.Error(err)
			}
		})
	}
}

// find returns the rule of that name.
func find(name string) *rule {
	for _, r := range rules() {
		if r.name == name {
			return &r
		}
	}
	panic("transporttest: no rule is called " + name)
}
