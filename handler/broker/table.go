package broker

import (
	"hash/maphash"
	"iter"
	"sync"
)

// tableShards is a power of two.
const tableShards = 64

// table is a map in many parts, each with a lock that is held for a moment only and
// under which nothing else is locked.
type table[K, V comparable] struct {
	seed   maphash.Seed
	shards [tableShards]shard[K, V]
}

type shard[K, V comparable] struct {
	mu   sync.RWMutex
	m    map[K]V
	peak int // since m was made
}

func (t *table[K, V]) init() { t.seed = maphash.MakeSeed() }

func (t *table[K, V]) shard(key K) *shard[K, V] {
	return &t.shards[maphash.Comparable(t.seed, key)&(tableShards-1)]
}

func (t *table[K, V]) get(key K) (V, bool) {
	s := t.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.m[key]
	return v, ok
}

// add returns what is there under key, or else what create makes.
func (t *table[K, V]) add(key K, create func() (V, error)) (V, error) {
	if v, ok := t.get(key); ok {
		return v, nil
	}
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.m[key]; ok {
		return v, nil
	}
	v, err := create()
	if err != nil {
		return v, err
	}
	if s.m == nil {
		s.m = make(map[K]V)
	}
	s.m[key] = v
	s.peak = max(s.peak, len(s.m))
	return v, nil
}

// remove takes v out, if it is what there is under key.
func (t *table[K, V]) remove(key K, v V) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[key] != v {
		return
	}
	delete(s.m, key)
	if s.peak > 16 && len(s.m) == 0 {
		// A map that once was large keeps its room.
		s.m, s.peak = nil, 0
	}
}

// all ranges over what is there when the loop comes to each part. The loop may take its
// time.
func (t *table[K, V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		var vs []V
		for i := range t.shards {
			s := &t.shards[i]
			vs = vs[:0]
			s.mu.RLock()
			for _, v := range s.m {
				vs = append(vs, v)
			}
			s.mu.RUnlock()
			for _, v := range vs {
				if !yield(v) {
					return
				}
			}
		}
	}
}

func (t *table[K, V]) len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}
