package prometheus

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	prom "github.com/prometheus/client_golang/prometheus"
)

// The classes that there always are.
const (
	classNone  = "none"  // messages without a destination
	classOther = "other" // messages without a class of their own
)

// FirstSegment is the default Options.Class: a destination up to the second of its
// slashes and dots, if it begins with one of those, else up to the first. "/topic/news/1" is
// "/topic", "orders.eu" is "orders".
func FirstSegment(destination string) string {
	if destination == "" {
		return ""
	}
	if i := strings.IndexAny(destination[1:], "/."); i >= 0 {
		return destination[:i+1]
	}
	return destination
}

// ByPrefix makes an Options.Class of prefixes: a destination is of the class of the longest
// one that it begins with, and "other" if there is none. The number of prefixes
// should be small, as each call compares them all. It panics if there are none.
func ByPrefix(prefixes ...string) func(destination string) string {
	if len(prefixes) == 0 {
		panic("prometheus: ByPrefix without prefixes")
	}
	own := append([]string(nil), prefixes...)
	return func(destination string) string {
		best := ""
		for _, p := range own {
			if len(p) > len(best) && strings.HasPrefix(destination, p) {
				best = p
			}
		}
		return best
	}
}

// Why a message is "other" although it has a class, or could have.
const (
	unclassifiedFull = iota
	unclassifiedInvalid
	unclassifiedPanic
	unclassifieds
)

var unclassifiedNames = [unclassifieds]string{"too_many", "invalid", "panic"}

// classes are the classes that there are, of all endpoints together.
type classes struct {
	of           func(string) string
	max          int
	unclassified [unclassifieds]atomic.Uint64

	known atomic.Pointer[map[string]string] // replaced, never changed
	mu    sync.Mutex                        // held to replace it
}

func newClasses(of func(string) string, limit int) *classes {
	if of == nil {
		of = FirstSegment
	}
	c := &classes{of: of, max: limit}
	c.known.Store(&map[string]string{classNone: classNone, classOther: classOther})
	return c
}

// class returns the class of a destination. It may alias that.
func (c *classes) class(destination string) (class string) {
	if destination == "" {
		return classNone
	}
	ok := false
	defer func() {
		if !ok {
			// A Goexit goes on; of a panic nobody else learns.
			_ = recover()
			c.unclassified[unclassifiedPanic].Add(1)
			class = classOther
		}
	}()
	class = c.of(destination)
	ok = true
	if class == "" {
		return classOther
	}
	return class
}

// lookup returns a class as it is kept, if it is.
func (c *classes) lookup(class string) (string, bool) {
	own, ok := (*c.known.Load())[class]
	return own, ok
}

// admit is lookup for a message that shows that a class is one: it is kept from here on, or
// else "other".
func (c *classes) admit(class string) string {
	if own, ok := c.lookup(class); ok {
		return own
	}
	if !isLabel(class) {
		c.unclassified[unclassifiedInvalid].Add(1)
		return classOther
	}
	if c.full() {
		c.unclassified[unclassifiedFull].Add(1)
		return classOther
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if own, ok := c.lookup(class); ok {
		return own
	}
	if c.full() {
		c.unclassified[unclassifiedFull].Add(1)
		return classOther
	}
	own := strings.Clone(class)
	known := maps.Clone(*c.known.Load())
	known[own] = own
	c.known.Store(&known)
	return own
}

// full reports that there is no room. Two of the known ones are always there.
func (c *classes) full() bool { return len(*c.known.Load()) >= c.max+2 }

func (c *classes) collect(ch chan<- prom.Metric) {
	for i, name := range unclassifiedNames {
		counter(ch, descUnclassified, c.unclassified[i].Load(), name)
	}
	gauge(ch, descClasses, float64(len(*c.known.Load())-2))
}
