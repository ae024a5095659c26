package brokertest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// A rule is one sentence and a function that tries to break it.
type rule struct {
	name  string
	text  string
	needs []need
	run   func(k *kit)
}

// lacks returns what the rule rests on that is not claimed, "" if nothing.
func (r *rule) lacks(f *Features) string {
	for _, n := range r.needs {
		if !n.has(f) {
			return n.name
		}
	}
	return ""
}

// A kit checks one rule.
type kit struct {
	rule     *rule
	f        Features
	system   *System
	pipe     *pipe.Transport
	endpoint *handler.Endpoint
	unique   string        // in the names of destinations
	over     chan struct{} // closed to let go of whoever is held up
	letGo    sync.Once

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change of what follows, and of the clients
	errs    []*RuleError
	clients []*client
	ended   map[string]bool // the sessions whose Disconnect was handled
}

// ruleRuns counts what check does, to give each its label.
var ruleRuns atomic.Uint64

// check runs r on a goroutine of its own, under the watchdog.
func check(r *rule, factory Factory, f Features) []error {
	if r.lacks(&f) != "" {
		return nil
	}
	k := newKit(r, f)
	label := strconv.FormatUint(ruleRuns.Add(1), 10)
	done := make(chan struct{})
	go pprof.Do(context.Background(), pprof.Labels(labelKey, label), func(context.Context) {
		defer close(done)
		k.whole(factory)
	})
	watchdog := time.NewTimer(6 * f.Patience)
	defer watchdog.Stop()
	select {
	case <-done:
	case <-watchdog.C:
		k.errorf("the rule has not come to its end; goroutines:\n%s", strings.Join(goroutines(label), "\n\n"))
		k.release()
		k.soon(done)
		return k.broken()
	}
	if len(k.broken()) == 0 {
		k.checkLeaks(label)
	}
	return k.broken()
}

func newKit(r *rule, f Features) *kit {
	return &kit{
		rule: r, f: f, unique: strings.ToLower(rand.Text()[:12]),
		over: make(chan struct{}), changed: make(chan struct{}), ended: make(map[string]bool),
	}
}

// whole runs the rule between the start and the end of its broker.
func (k *kit) whole(factory Factory) {
	if !k.start(factory) {
		return
	}
	ran := make(chan struct{})
	go func() { // a rule that gives up ends its goroutine
		defer close(ran)
		k.rule.run(k)
	}()
	<-ran
	k.finish()
}

// start makes the broker and an endpoint for it.
func (k *kit) start(factory Factory) bool {
	var setup Setup
	if k.rule.name == ruleDeadLetter {
		setup = Setup{MaxDeliveries: deadAfter, DeadLetter: "/queue/dead-" + k.unique}
	}
	s, err := factory(setup)
	if err != nil {
		k.errorf("the factory failed: %v", err)
		return false
	}
	c := *s
	c.Topic, c.Queue, c.User = cmp.Or(c.Topic, "/topic/"), cmp.Or(c.Queue, "/queue/"), cmp.Or(c.User, "/user")
	c.Separator, c.Unknown = cmp.Or(c.Separator, '/'), cmp.Or(c.Unknown, "/nowhere/x")
	k.system = &c
	k.pipe = pipe.New(nil)
	k.endpoint = handler.NewEndpoint(k.pipe, c.Broker,
		handler.WithSubProtocols(envelope.NewJSON(nil)),
		handler.WithHeartbeat(0, 0),
		handler.WithShutdownSpread(0),
		handler.WithQueue(handler.Limits{Messages: 1 << 14, Bytes: 16 << 20}),
		handler.WithAccept(func(_ context.Context, s *handler.Session, h *transport.Handshake) error {
			if h.Query != "" {
				s.SetUser(h.Query)
			}
			return nil
		}),
		handler.WithHooks(handler.Hooks{
			Close: func(s *handler.Session, _ error) {
				k.locked(func() { k.ended[s.ID()] = true })
			},
			Panic: func(_ *handler.Session, v any, stack []byte) {
				k.errorf("the broker panicked: %v\n%s", v, stack)
			},
		}),
	)
	return true
}

// finish ends the sessions, the endpoint and the broker.
func (k *kit) finish() {
	k.release()
	k.mu.Lock()
	clients := slices.Clone(k.clients)
	k.mu.Unlock()
	for _, c := range clients {
		_ = c.conn.Close(transport.StatusNormalClosure, "")
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ctx, cancel := k.context()
		defer cancel()
		if err := k.endpoint.Shutdown(ctx); err != nil {
			k.errorf("the sessions have not ended: %v", err)
		}
		if k.system.Stop != nil {
			k.system.Stop()
		}
	}()
	if !k.soon(stopped) {
		k.errorf("System.Stop has not returned")
	}
}

// release lets go of all who are held up.
func (k *kit) release() { k.letGo.Do(func() { close(k.over) }) }

func (k *kit) broken() []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	errs := make([]error, len(k.errs))
	for i, e := range k.errs {
		errs[i] = e
	}
	return errs
}

// errorf reports that the present rule is broken.
func (k *kit) errorf(format string, args ...any) { k.report(k.rule.name, format, args...) }

// fatalf reports too, and ends the goroutine, which is the rule's or one of
// together.
func (k *kit) fatalf(format string, args ...any) {
	k.errorf(format, args...)
	runtime.Goexit()
}

// report reports that the rule of that name is broken, once for each name.
func (k *kit) report(name, format string, args ...any) {
	r := find(name)
	e := &RuleError{Rule: name, Text: r.text, Detail: fmt.Sprintf(format, args...)}
	if name != k.rule.name {
		e.Detail += " (seen while checking " + k.rule.name + ")"
	}
	k.locked(func() {
		if !slices.ContainsFunc(k.errs, func(e *RuleError) bool { return e.Rule == name }) {
			k.errs = append(k.errs, e)
		}
	})
}

// locked changes what the lock guards, and wakes those who wait for it.
func (k *kit) locked(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
	close(k.changed)
	k.changed = make(chan struct{})
}

// wait waits until cond holds, which is asked under the lock, and reports whether it
// came to that.
func (k *kit) wait(cond func() bool) bool {
	t := time.NewTimer(k.f.Patience)
	defer t.Stop()
	for {
		k.mu.Lock()
		ok, changed := cond(), k.changed
		k.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-k.over:
			return false
		case <-t.C:
			return false
		}
	}
}

// together calls f(0) to f(n-1) at the same time, and ends the rule if one of them gave
// up.
func (k *kit) together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
	if len(k.broken()) > 0 {
		runtime.Goexit()
	}
}

// soon reports whether ch is closed within the kit's patience.
func (k *kit) soon(ch <-chan struct{}) bool {
	t := time.NewTimer(k.f.Patience)
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
		return false
	}
}

// context bounds a call of the broker by the kit's patience.
func (k *kit) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), k.f.Patience)
}

// topic and queue are destinations of this rule's own. Segments of name are separated by
// '/'.
func (k *kit) topic(name string) string { return k.system.Topic + k.name(name) }
func (k *kit) queue(name string) string { return k.system.Queue + k.name(name) }

func (k *kit) name(name string) string {
	return k.unique + "-" + strings.ReplaceAll(name, "/", string(k.system.Separator))
}

// publish has the broker publish from this side.
func (k *kit) publish(destination, body string) {
	k.published(k.system.Broker.Publish, destination, body)
}

func (k *kit) published(
	call func(context.Context, string, *subprotocol.Message) error, destination, body string,
) {
	ctx, cancel := k.context()
	defer cancel()
	// What is the caller's again is used again.
	m := &subprotocol.Message{Body: []byte(body), Header: subprotocol.Header{{Name: "said", Value: body}}}
	if err := call(ctx, destination, m); err != nil {
		k.fatalf("Publish to %s returned %v", destination, err)
	}
	for i := range m.Body {
		m.Body[i] = '#'
	}
	m.Header[0].Value = "#"
}

// publishToUser has the broker publish to a user.
func (k *kit) publishToUser(user, destination, body string) {
	k.published(func(ctx context.Context, destination string, m *subprotocol.Message) error {
		return k.system.Broker.PublishToUser(ctx, user, destination, m)
	}, destination, body)
}

// labelKey is the profiler label that tells the goroutines of a rule.
const labelKey = "brokertest"

// goroutines returns the stacks of the goroutines with that label.
func goroutines(label string) []string {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	var found []string
	for s := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(s, strconv.Quote(labelKey)+":"+strconv.Quote(label)) {
			found = append(found, s)
		}
	}
	return found
}

// checkLeaks waits for the goroutines of the rule to go.
func (k *kit) checkLeaks(label string) {
	deadline := time.Now().Add(k.f.Patience)
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		left := goroutines(label)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			k.report(ruleLeak, "%d kinds of goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
			return
		}
		time.Sleep(wait) // nothing tells that a goroutine has ended
	}
}
