package transporttest

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftws/weft/transport"
)

// A rule is one sentence of the contract and a function that tries to break it.
type rule struct {
	name string
	text string

	// once marks a rule about the handshake, which has one direction only.
	once bool

	// needs returns what the rule rests on that is not claimed, "" if nothing.
	needs func(f *Features) string

	// run reports to k what is broken. x acts on y; which of them is the server
	// depends on the direction.
	run func(k *kit)
}

func (r *rule) skip(f *Features) string {
	if r.needs == nil {
		return ""
	}
	if lack := r.needs(f); lack != "" {
		return "the implementation does not claim " + lack
	}
	return ""
}

// The sizes of a rule's server where it does not matter.
const defaultMaxMessage = 1 << 20

// A kit checks one rule in one direction.
type kit struct {
	rule     *rule
	f        Features
	reversed bool // x is the client
	server   *Server
	over     chan struct{} // closed to let go of whoever is held up in a Receive
	letGo    sync.Once
	dead     atomic.Bool // the watchdog has fired: writes fail
	sidecar  *end        // the client's end of a connection for rounds

	mu      sync.Mutex
	errs    []*RuleError
	ends    []*end
	admits  []*admission
	pending *admission                                                        // for the handshake under way
	accept  func(h *transport.Handshake) (adm transport.Admission, err error) // instead of pending
}

// ruleRuns counts what checkDirection does, to give each its label.
var ruleRuns atomic.Uint64

// check checks r in its directions.
func check(r *rule, factory Factory, f Features) []error {
	if r.skip(&f) != "" {
		return nil
	}
	errs := checkDirection(r, factory, f, false)
	if !r.once {
		errs = append(errs, checkDirection(r, factory, f, true)...)
	}
	return errs
}

// checkDirection runs r on a goroutine of its own, under the watchdog.
func checkDirection(r *rule, factory Factory, f Features, reversed bool) []error {
	k := &kit{rule: r, f: f, reversed: reversed, over: make(chan struct{})}
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
		k.dead.Store(true)
		k.release()
		k.soon(done) // what only went on and on ends now
		return k.broken()
	}
	if len(k.broken()) == 0 {
		k.checkLeaks(label)
	}
	return k.broken()
}

// whole runs the rule between the start and the end of its server.
func (k *kit) whole(factory Factory) {
	setup := Setup{Acceptor: (*gate)(k), MaxMessageSize: defaultMaxMessage}
	switch k.rule.name {
	case ruleLimit:
		setup.MaxMessageSize = smallLimit
	case ruleCloseUnanswered, rulePingEnds:
		setup.CloseTimeout = shortClose
	}
	server, err := factory(setup)
	if err != nil {
		k.errorf("the factory failed: %v", err)
		return
	}
	k.server = server
	ran := make(chan struct{})
	go func() { // a rule that gives up ends its goroutine
		defer close(ran)
		k.rule.run(k)
	}()
	<-ran
	k.release()
	k.endAll()
	if server.Stop == nil {
		return
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		server.Stop()
	}()
	if !k.soon(stopped) {
		k.errorf("Server.Stop has not returned")
	}
}

// endAll ends the connections that the rule left open.
func (k *kit) endAll() {
	k.mu.Lock()
	ends, admits := k.ends, k.admits
	broken := len(k.errs) > 0
	k.mu.Unlock()
	for _, e := range ends {
		if c := e.connection(); c != nil {
			_ = c.Close(transport.StatusNormalClosure, "")
		}
	}
	for _, e := range ends {
		if e.connection() != nil && !broken && !e.waitClosed() {
			k.report(ruleClosedOnce, "%s: Closed has not come after both sides called Close", e.name)
			broken = true
		}
	}
	for _, a := range admits {
		if opened, aborted := a.calls(); !broken && a.accepted() && opened+aborted != 1 {
			k.report(ruleAdmission, "Open was called %d times and Abort %d times", opened, aborted)
		}
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

// fatalf reports too, and ends the rule. It is called on the rule's goroutine only.
func (k *kit) fatalf(format string, args ...any) {
	k.errorf(format, args...)
	runtime.Goexit()
}

// report reports that the rule of that name is broken, once for each name.
func (k *kit) report(name, format string, args ...any) {
	r := find(name)
	e := &RuleError{Rule: name, Text: r.text, Direction: k.direction(), Detail: fmt.Sprintf(format, args...)}
	if name != k.rule.name {
		e.Detail += " (seen while checking " + k.rule.name + ")"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, err := range k.errs {
		if err.Rule == name {
			return
		}
	}
	k.errs = append(k.errs, e)
}

func (k *kit) direction() string {
	if k.reversed {
		return "client to server"
	}
	return "server to client"
}

// soon reports whether ch is closed or has something within the kit's patience.
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

// guard watches a call that must return at once. When it does not, the rule of that
// name is reported and whoever is held up is let go, so that the rule can end.
func (k *kit) guard(name, call string) (done func()) {
	t := time.AfterFunc(k.f.Patience, func() {
		k.report(name, "%s has not returned after %v", call, k.f.Patience)
		k.release()
	})
	return func() { t.Stop() }
}

// context bounds a call of the implementation by the kit's patience.
func (k *kit) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), k.f.Patience)
}

// labelKey is the profiler label that tells the goroutines of a rule.
const labelKey = "transporttest"

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

// hold is where a Receive is held up until the rule lets it go.
type hold struct {
	k    *kit
	once sync.Once
	ch   chan struct{}
}

func (k *kit) hold() *hold { return &hold{k: k, ch: make(chan struct{})} }

func (h *hold) wait() {
	select {
	case <-h.ch:
	case <-h.k.over:
	}
}

func (h *hold) release() { h.once.Do(func() { close(h.ch) }) }
