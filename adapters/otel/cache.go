package otel

import (
	"maps"
	"sync"
	"sync/atomic"
)

// cache is a map that only grows, up to max, and is read without a lock.
type cache[K comparable, V any] struct {
	max int
	mu  sync.Mutex // held to add
	all atomic.Pointer[map[K]V]
}

func (c *cache[K, V]) get(k K) (V, bool) {
	if m := c.all.Load(); m != nil {
		v, ok := (*m)[k]
		return v, ok
	}
	var none V
	return none, false
}

// full reports whether there is no room.
func (c *cache[K, V]) full() bool {
	m := c.all.Load()
	return m != nil && len(*m) >= c.max
}

// add returns what there is under k, or v, which is there from now on. It reports false if
// there is no room.
func (c *cache[K, V]) add(k K, v V) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.get(k); ok {
		return found, true
	}
	if c.full() {
		var none V
		return none, false
	}
	m := map[K]V{k: v}
	if old := c.all.Load(); old != nil {
		maps.Copy(m, *old)
	}
	c.all.Store(&m)
	return v, true
}
