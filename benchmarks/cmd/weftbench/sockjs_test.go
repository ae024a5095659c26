package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// However the answers are cut, their bodies are the same.
func TestResponse(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	for _, tt := range []struct{ name, answer, want string }{
		{"a length", "HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 2\r\n\r\no\n", "o\n"},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\no\n\r\n12C\r\n" + long + "\r\n0\r\n\r\n", "o\n" + long},
		{"a chunk that looks like an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"},
		{"not found", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\no\n", ""},
		{"until the end", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\no\n", ""},
		{"no length", "HTTP/1.1 200 OK\r\n\r\no\n", ""},
		{"no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", ""},
		{"more than that", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\no\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, step := range []int{1, 2, 3, 7, len(tt.answer)} {
				var r response
				var got []byte
				var failed error
				for rest := []byte(tt.answer); len(rest) > 0 && failed == nil; rest = rest[min(step, len(rest)):] {
					p := rest[:min(step, len(rest))]
					var n int
					n, failed = r.feed(p)
					got = append(got, p[:n]...)
				}
				if tt.want == "" {
					require.Error(t, failed, "in steps of %d", step)
					continue
				}
				require.NoError(t, failed)
				require.Equal(t, tt.want, string(got), "in steps of %d", step)
				require.True(t, r.over)
			}
		})
	}
}

// Lines count without heartbeats and padding, however they are cut.
func TestCounterOfLines(t *testing.T) {
	t.Parallel()
	stream := strings.Repeat("h", 2048) + "\no\nh\na[\"#\",\"#x\"]\na[\"last\"]\n"
	for _, step := range []int{1, 2, 3, 7, len(stream)} {
		c := counter{marker: '#', lines: true, keep: true}
		for rest := []byte(stream); len(rest) > 0; rest = rest[min(step, len(rest)):] {
			c.feed(rest[:min(step, len(rest))])
		}
		require.Equal(t, 3, c.frames, "in steps of %d", step)
		require.Equal(t, 2, c.marks)
		require.Equal(t, `a["last"]`, string(c.last))
		require.Equal(t, int64(len(stream)), c.bytes)
	}
}
