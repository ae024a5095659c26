//go:build unix

package benchmarks

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// What these numbers mean: CPU time of the server process alone, user and system,
// per message, medians of interleaved rounds in one run. The load is a closed loop
// on the same machine, so wall-clock time and absolute values say little; ratios
// between rows of one run do. On two cores, one for the server and one for the
// load, ratios under 1.1 are noise.

const rounds = 5

// BenchmarkCostEcho compares the whole stack and the bare transport with a loop
// written by hand. One iteration is a whole comparison: run it with -benchtime 1x.
func BenchmarkCostEcho(b *testing.B) {
	for _, size := range []int{64, 1024, 16 << 10} {
		for _, n := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%dB/%dconns", size, n), func(b *testing.B) {
				names := []string{"hand", "weft-transport", "weft"}
				frame := maskedFrame(ws.OpBinary, make([]byte, size))
				answer := len(appendFrame(nil, ws.OpBinary, make([]byte, size)))
				each := max(6_000/n, 1)
				var servers []*process
				var conns [][]net.Conn
				for _, name := range names {
					p := startServer(b, name)
					servers, conns = append(servers, p), append(conns, p.connect(b, n))
					echoRounds(b, conns[len(conns)-1], frame, answer, each)
				}
				for b.Loop() {
					cost := make([][]float64, len(names))
					for range rounds {
						for i, p := range servers {
							before := p.usage(b, "usage").cpu
							echoRounds(b, conns[i], frame, answer, each)
							used := p.usage(b, "usage").cpu - before
							cost[i] = append(cost[i], float64(used)/float64(n*each))
						}
					}
					report(b, names, cost, "µs/msg")
				}
			})
		}
	}
}

// BenchmarkCostFanout compares a publication to every session with a writer goroutine
// for each connection, with one and with sixteen publications in flight: CPU of the
// server for each delivery. Bias: the writers' rows keep no bounds in bytes and
// notice no stalled peer; with one in flight every delivery is a system call in both.
func BenchmarkCostFanout(b *testing.B) {
	const n = 1000
	for _, inFlight := range []int{1, 16} {
		b.Run(fmt.Sprintf("%dconns/%dinflight", n, inFlight), func(b *testing.B) {
			names := []string{"writers", "weft"}
			size := len(appendFrame(nil, ws.OpText, publication))
			var servers []*process
			var conns [][]net.Conn
			for _, name := range names {
				p := startServer(b, name)
				servers, conns = append(servers, p), append(conns, p.connect(b, n))
			}
			for b.Loop() {
				cost := make([][]float64, len(names))
				for range rounds {
					for i, p := range servers {
						before := p.usage(b, "usage").cpu
						for range 320 / inFlight / 4 {
							p.ask(b, fmt.Sprint("publish ", inFlight))
							readAll(b, conns[i], size*inFlight)
						}
						used := p.usage(b, "usage").cpu - before
						cost[i] = append(cost[i], float64(used)/float64(n*(320/inFlight/4)*inFlight))
					}
				}
				report(b, names, cost, "µs/delivery")
			}
		})
	}
}

// report gives each row's median and its ratio to the first row.
func report(b *testing.B, names []string, cost [][]float64, unit string) {
	base := median(cost[0])
	for i, name := range names {
		m := median(cost[i])
		b.ReportMetric(m, name+"-"+unit)
		if i > 0 {
			b.ReportMetric(m/base, name+"/"+names[0])
		}
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkCostIdle shows what a silent connection costs the server: resident bytes, stack
// bytes and goroutines, fresh and after one message each. WEFT_BENCH_CONNS chooses
// how many. Bias: resident bytes count whole pages and what the collector has not
// given back, so few connections cost more each; the kernel's buffers are in none.
func BenchmarkCostIdle(b *testing.B) {
	n := 2000
	if s := os.Getenv("WEFT_BENCH_CONNS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(b, err)
	}
	frame := maskedFrame(ws.OpBinary, make([]byte, 64))
	answer := len(appendFrame(nil, ws.OpBinary, make([]byte, 64)))
	for _, name := range []string{"hand", "weft-transport", "weft", "weft-http"} {
		b.Run(fmt.Sprintf("%s/%dconns", name, n), func(b *testing.B) {
			for b.Loop() {
				p := startServer(b, name)
				p.connect(b, 10)
				before := p.usage(b, "memory")
				conns := p.connect(b, n)
				fresh := p.usage(b, "memory")
				echoRounds(b, conns, frame, answer, 1)
				after := p.usage(b, "memory")
				per := func(a, b int64) float64 { return float64(a-b) / float64(n) }
				b.ReportMetric(per(fresh.resident, before.resident), "B-resident/conn")
				b.ReportMetric(per(after.resident, before.resident), "B-resident-after/conn")
				b.ReportMetric(per(after.heap, before.heap), "B-heap/conn")
				b.ReportMetric(per(after.stacks, before.stacks), "B-stack/conn")
				b.ReportMetric(per(after.goroutines, before.goroutines), "goroutines/conn")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
