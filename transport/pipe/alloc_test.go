//go:build !race

package pipe_test

import (
	"testing"

	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// echo sends back what it receives.
type echo struct {
	conn  transport.Conn
	batch [1]transport.Message
}

func (e *echo) open(c transport.Conn) transport.Receiver { e.conn = c; return e }
func (e *echo) Receive(m transport.Message) {
	e.batch[0] = m
	_, _ = e.conn.Write(e.batch[:])
}
func (e *echo) Writable()    {}
func (e *echo) Closed(error) {}

// signal tells that a message has come.
type signal struct{ got chan int }

func (s *signal) open(transport.Conn) transport.Receiver { return s }
func (s *signal) Receive(m transport.Message)            { s.got <- len(m.Data) }
func (s *signal) Writable()                              {}
func (s *signal) Closed(error)                           {}

// A message through the pipe and back allocates nothing. The run without the race
// detector counts: under it sync.Pool drops items on purpose.
func TestEchoDoesNotAllocate(t *testing.T) {
	for _, size := range []int{0, 64, 4096, 60_000} {
		client, server := &signal{got: make(chan int, 1)}, new(echo)
		c, _ := pipe.Pair(nil, client.open, server.open)
		out := []transport.Message{{Type: transport.MessageBinary, Data: make([]byte, size)}}
		n := testing.AllocsPerRun(500, func() {
			if _, err := c.Write(out); err != nil {
				t.Fatal(err)
			}
			<-client.got
		})
		if n != 0 {
			t.Errorf("%d bytes: %v allocations per echo, want 0", size, n)
		}
		_ = c.Close(transport.StatusNormalClosure, "")
	}
}

func BenchmarkEcho(b *testing.B) {
	client, server := &signal{got: make(chan int, 1)}, new(echo)
	c, _ := pipe.Pair(nil, client.open, server.open)
	out := []transport.Message{{Type: transport.MessageBinary, Data: make([]byte, 64)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(out); err != nil {
			b.Fatal(err)
		}
		<-client.got
	}
	_ = c.Close(transport.StatusNormalClosure, "")
}
