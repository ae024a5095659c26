package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// naive cuts as the trie documents it, by the plainest means.
func naive(s string, separator byte) []string {
	if separator != '/' && strings.HasPrefix(s, "/") && strings.Count(s, "/") > 1 {
		i := 2 + strings.Index(s[1:], "/")
		return append([]string{s[:i]}, strings.Split(s[i:], string([]byte{separator}))...)
	}
	return strings.Split(s, string([]byte{separator}))
}

// naiveMatch compares segment by segment.
func naiveMatch(pattern, destination []string) bool {
	fits := make([][]bool, len(pattern)+1) // from where on the rests fit
	for i := len(pattern); i >= 0; i-- {
		fits[i] = make([]bool, len(destination)+1)
		for j := len(destination); j >= 0; j-- {
			switch {
			case i == len(pattern):
				fits[i][j] = j == len(destination)
			case pattern[i] == "**":
				fits[i][j] = fits[i+1][j] || j < len(destination) && fits[i][j+1]
			case j < len(destination) && (pattern[i] == "*" || pattern[i] == destination[j]):
				fits[i][j] = fits[i+1][j+1]
			}
		}
	}
	return fits[0][0]
}

func (t *trie[V]) all(destination string) []V {
	found := []V{}
	t.match(destination, func(v V) { found = append(found, v) })
	return found
}

func TestTrieMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		separator            byte
		pattern, destination string
		want                 bool
	}{
		{'/', "/topic/a", "/topic/a", true},
		{'/', "/topic/a", "/topic/a/", false},
		{'/', "/topic/a", "/topic/b", false},
		{'/', "/topic/*", "/topic/a", true},
		{'/', "/topic/*", "/topic/a/b", false},
		{'/', "/topic/*", "/topic", false},
		{'/', "/topic/*", "/topic/", true},
		{'/', "/topic/*/c", "/topic/b/c", true},
		{'/', "/topic/**", "/topic", true},
		{'/', "/topic/**", "/topic/a/b/c", true},
		{'/', "/topic/**/c", "/topic/c", true},
		{'/', "/topic/**/c", "/topic/a/b/c", true},
		{'/', "/topic/**/c", "/topic/a/b/c/d", false},
		{'/', "**", "/anything/at/all", true},
		{'/', "**/b/**", "/a/b/c", true},
		{'/', "**/b/**", "b", true},
		{'/', "*/**/*", "a", false},
		{'/', "*/**/*", "a/b", true},
		{'/', "**/**", "a", true},
		{'/', "a.*", "a.b", false},
		{'.', "/topic/a.*", "/topic/a.b", true},
		{'.', "/topic/*.b", "/topic/a.b", true},
		{'.', "/topic/**", "/topic/a.b.c", true},
		{'.', "/topic/a.b", "/topic/a/b", false},
		{'.', "a.*.c", "a.b.c", true},
		{'.', "/a.*", "/a.b", true},
	} {
		tr := newTrie[int](c.separator)
		if checkPattern(c.pattern, c.separator) != nil {
			require.False(t, tr.add(c.pattern, 1), c.pattern)
			continue
		}
		require.True(t, tr.add(c.pattern, 1), c.pattern)
		require.Equal(t, c.want, len(tr.all(c.destination)) == 1, "%q and %q", c.pattern, c.destination)
	}
}

func TestCheckPattern(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a/", maxSegments-1)
	for pattern, want := range map[string]string{
		"":                         "it is empty",
		"/topic/a*":                `"*" stands beside other characters`,
		"/topic/***":               `"*" stands beside other characters`,
		"/*a/b":                    `"*" stands beside other characters`,
		"**/**/**/**":              "",
		"**/*/**/**/**":            "",
		"a/**/b/**/c/**/d/**/e/**": "more than 4 segments **",
		long + "a":                 "",
		long + "a/b":               "more than 63 segments",
		"/topic/*/**/é":            "",
		"/":                        "",
	} {
		err := checkPattern(pattern, '/')
		added := newTrie[int]('/').add(pattern, 1)
		if want == "" {
			require.NoError(t, err, pattern)
			require.True(t, added, pattern)
			continue
		}
		require.ErrorContains(t, err, want, pattern)
		require.False(t, added, pattern)
	}
	require.NoError(t, checkDestination("/topic/a*", '/'))
	require.NoError(t, checkDestination(long+"a", '/'))
	require.ErrorContains(t, checkDestination("/topic/*", '/'), "wildcard")
	require.ErrorContains(t, checkDestination("/topic/**/a", '/'), "wildcard")
	require.ErrorContains(t, checkDestination("", '/'), "empty")
	require.ErrorContains(t, checkDestination(long+"a/b", '/'), "more than 63 segments")
	require.Empty(t, newTrie[int]('/').all(long+"a/b"))
}

func TestHasWildcard(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		"/topic/a": false, "/topic/*": true, "**": true, "/topic/a*": false, "/a/**/b": true, "": false, "*": true,
	} {
		require.Equal(t, want, hasWildcard(p, '/'), p)
	}
	require.True(t, hasWildcard("/topic/*.a", '.'))
	require.False(t, hasWildcard("/topic/*/a", '.'))
}

// A value comes once for each pattern that it is registered under, and add and remove
// say what they have changed.
func TestTrieAddRemove(t *testing.T) {
	t.Parallel()
	tr := newTrie[string]('/')
	require.True(t, tr.add("a/*", "x"))
	require.False(t, tr.add("a/*", "x"))
	require.True(t, tr.add("a/**", "x"))
	require.True(t, tr.add("a/b", "y"))
	require.Equal(t, 3, tr.len())
	require.ElementsMatch(t, []string{"x", "x", "y"}, tr.all("a/b"))
	require.False(t, tr.remove("a/b", "x"))
	require.False(t, tr.remove("a/b/c", "y"))
	require.False(t, tr.remove("a", "y"))
	require.True(t, tr.remove("a/*", "x"))
	require.False(t, tr.remove("a/*", "x"))
	require.ElementsMatch(t, []string{"x", "y"}, tr.all("a/b"))
	require.True(t, tr.remove("a/**", "x"))
	require.True(t, tr.remove("a/b", "y"))
	require.Equal(t, 0, tr.len())
	require.Equal(t, trieNode[string]{}, tr.root, "nothing is left")
}

// Many values under one pattern are found and removed in any order.
func TestTrieManyValues(t *testing.T) {
	t.Parallel()
	const n = 1000
	tr := newTrie[int]('/')
	for i := range n {
		require.True(t, tr.add("a", i))
		require.False(t, tr.add("a", i/2), "that is there already")
	}
	require.Len(t, tr.all("a"), n)
	rng := rand.New(rand.NewPCG(1, 2))
	left := rng.Perm(n)
	for len(left) > 0 {
		v := left[0]
		left = left[1:]
		require.True(t, tr.remove("a", v))
		require.False(t, tr.remove("a", v))
		if len(left)%100 == 3 {
			require.ElementsMatch(t, left, tr.all("a"))
		}
	}
	require.Equal(t, trieNode[int]{}, tr.root)
}

// TestTrieProperty compares a trie that grows and shrinks with a list.
func TestTrieProperty(t *testing.T) {
	t.Parallel()
	type entry struct {
		pattern string
		v       int
	}
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 1))
		separator := "/."[rng.IntN(2)]
		text := func(words ...string) string {
			segs := make([]string, 1+rng.IntN(6))
			for i := range segs {
				segs[i] = words[rng.IntN(len(words))]
			}
			return strings.Join(segs, string(separator))
		}
		tr := newTrie[int](separator)
		var list []entry
		for range 500 {
			e := entry{text("a", "b", "", "*", "**", "/c"), rng.IntN(30)}
			i := slices.Index(list, e)
			if rng.IntN(3) > 0 {
				valid := checkPattern(e.pattern, separator) == nil
				require.Equal(t, i < 0 && valid, tr.add(e.pattern, e.v), "add %q", e.pattern)
				if i < 0 && valid {
					list = append(list, e)
				}
			} else {
				require.Equal(t, i >= 0, tr.remove(e.pattern, e.v), "remove %q", e.pattern)
				if i >= 0 {
					list = slices.Delete(list, i, i+1)
				}
			}
			require.Equal(t, len(list), tr.len())
			d := text("a", "b", "", "/c")
			want := []int{}
			for _, e := range list {
				if naiveMatch(naive(e.pattern, separator), naive(d, separator)) {
					want = append(want, e.v)
				}
			}
			require.ElementsMatch(t, want, tr.all(d), "%q in %v", d, list)
		}
		for _, e := range list {
			require.True(t, tr.remove(e.pattern, e.v))
		}
		require.Equal(t, trieNode[int]{}, tr.root)
	}
}

// Patterns that fit in very many ways cost no more than their nodes, once each.
func TestTrieHostile(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("a/", maxSegments-1) + "b"
	tr := newTrie[int]('/')
	require.True(t, tr.add("**/a/**/a/**/a/**/b", 1))
	visits := tr.search(deep, func(int) {})
	require.Equal(t, 9, visits)
	require.Equal(t, []int{1}, tr.all(deep))

	nodes := 9
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 5000 {
		segs, deeps := []string{}, 0
		for range 1 + rng.IntN(maxSegments-1) {
			s := []string{"a", "*", "**"}[rng.IntN(3)]
			if s == "**" {
				if deeps++; deeps > maxDeep {
					s = "a"
				}
			}
			segs = append(segs, s)
		}
		require.True(t, tr.add(strings.Join(segs, "/"), i))
		nodes += len(segs)
	}
	require.Less(t, tr.search(deep, func(int) {}), nodes)
}

// What a match costs does not depend on what has nothing to do with the destination.
func TestTrieUnrelated(t *testing.T) {
	t.Parallel()
	tr := newTrie[int]('/')
	for i := range 100_000 {
		tr.add(fmt.Sprintf("/topic/rooms/%d/*", i), i)
	}
	require.True(t, tr.add("/topic/**/joined", -1))
	require.Less(t, tr.search("/topic/rooms/4711/joined", func(int) {}), 10)
	require.ElementsMatch(t, []int{4711, -1}, tr.all("/topic/rooms/4711/joined"))
}

func TestTrieMatchAllocates(t *testing.T) {
	tr := newTrie[int]('/')
	tr.add("/topic/*/b", 1)
	tr.add("/topic/**", 1)
	sum := 0
	require.Zero(t, testing.AllocsPerRun(100, func() { tr.match("/topic/a/b", func(v int) { sum += v }) }))
	require.NotZero(t, sum)
}

// FuzzPattern: lines are patterns but the last, which is a destination.
func FuzzPattern(f *testing.F) {
	f.Add("/topic/*\n/topic/**\n/topic/a\n/topic/a", byte('/'))
	f.Add("**/a/**/a/**/b\n*/a/*/a/b\na/a/a/a/b", byte('/'))
	f.Add("/topic/*.b\n/topic/**.c\n/topic/a.b", byte('.'))
	f.Add("***\na*\n\n**/**/**/**/**\n//", byte('/'))
	f.Add("/*\n*/**\n/\xff/*\n/\xff/\x00", byte('/'))
	f.Fuzz(func(t *testing.T, lines string, separator byte) {
		all := strings.Split(lines, "\n")
		d := all[len(all)-1]
		patterns := all[:len(all)-1]
		tr := newTrie[int](separator)
		want := []int{}
		for i, p := range patterns {
			if tr.add(p, i) != (checkPattern(p, separator) == nil) {
				t.Fatalf("add(%q) and checkPattern do not agree", p)
			}
			if checkPattern(p, separator) != nil {
				continue
			}
			if len(naive(d, separator)) <= maxSegments && naiveMatch(naive(p, separator), naive(d, separator)) {
				want = append(want, i)
			}
			if !hasWildcard(p, separator) && checkDestination(p, separator) != nil {
				t.Fatalf("%q has no wildcard and is no destination", p)
			}
		}
		got := tr.all(d)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%q matches %v, not %v of %q", d, got, want, patterns)
		}
		for i, p := range patterns {
			if tr.remove(p, i) != (checkPattern(p, separator) == nil) {
				t.Fatalf("%q was not there", p)
			}
		}
		if tr.len() != 0 || tr.root.next != nil || tr.root.one != nil || tr.root.deep != nil {
			t.Fatal("something is left")
		}
	})
}

// BenchmarkTrie matches a destination that two patterns fit, among so many others.
func BenchmarkTrie(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("others=%d", n), func(b *testing.B) {
			tr := newTrie[int]('/')
			for i := range n {
				tr.add(fmt.Sprintf("/topic/rooms/%d/*", i), i)
			}
			tr.add("/topic/**/joined", -1)
			found := 0
			b.ReportAllocs()
			for b.Loop() {
				tr.match("/topic/rooms/0/joined", func(int) { found++ })
			}
		})
	}
	b.Run("hostile", func(b *testing.B) {
		tr := newTrie[int]('/')
		tr.add("**/a/**/a/**/a/**/b", 1)
		d := strings.Repeat("a/", maxSegments-1) + "b"
		for b.Loop() {
			tr.match(d, func(int) {})
		}
	})
}
