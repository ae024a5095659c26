package middleware

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"
)

// table is a bounded map that forgets: what is older than ttl, and the oldest when
// it is full. It has no timer; what has expired goes with the next put. The caller
// holds the lock around each method.
type table[K comparable, V any] struct {
	sync.Mutex
	max     int
	ttl     time.Duration
	entries map[K]*node[K, V]
	root    node[K, V] // of a ring: next is the youngest, prev the oldest
}

type node[K comparable, V any] struct {
	next, prev *node[K, V]
	key        K
	value      V
	since      time.Time
}

func newTable[K comparable, V any](limit int, ttl time.Duration) *table[K, V] {
	t := &table[K, V]{max: limit, ttl: ttl, entries: make(map[K]*node[K, V])}
	t.root.next, t.root.prev = &t.root, &t.root
	return t
}

// get returns what is kept under key.
func (t *table[K, V]) get(key K, now time.Time) (V, bool) {
	n := t.entries[key]
	if n == nil || t.expired(n, now) {
		var zero V
		return zero, false
	}
	return n.value, true
}

// put keeps value under key as the youngest.
func (t *table[K, V]) put(key K, value V, now time.Time) {
	n := t.entries[key]
	if n == nil {
		for t.root.prev != &t.root && (len(t.entries) >= t.max || t.expired(t.root.prev, now)) {
			t.remove(t.root.prev.key)
		}
		n = &node[K, V]{key: key}
		t.entries[key] = n
	} else {
		n.unlink()
	}
	n.value, n.since = value, now
	n.prev, n.next = &t.root, t.root.next
	n.next.prev, t.root.next = n, n
}

// remove forgets key.
func (t *table[K, V]) remove(key K) {
	if n := t.entries[key]; n != nil {
		n.unlink()
		delete(t.entries, key)
	}
}

func (t *table[K, V]) expired(n *node[K, V], now time.Time) bool { return now.Sub(n.since) >= t.ttl }

func (n *node[K, V]) unlink() { n.prev.next, n.next.prev = n.next, n.prev }

// maxKey is how many bytes a key may have that a table keeps as it is.
const maxKey = 128

// tableKey is a key of bounded length. A long one becomes its beginning and its hash:
// longer than all keys that are kept as they are, so that nobody can choose what
// another's has become. Whoever puts one that came with a message puts a clone.
func tableKey(s string) string {
	if len(s) <= maxKey {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:maxKey+1-hex.EncodedLen(len(sum))] + hex.EncodeToString(sum[:])
}
