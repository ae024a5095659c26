package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress says on a terminal, in one line, what runs and how long it will take.
// Elsewhere it has a line for each case.
type progress struct {
	out      io.Writer
	terminal bool
	total    time.Duration // estimated at the start
	done     time.Duration // of that
	started  time.Time
}

func newProgress(out io.Writer, total time.Duration) *progress {
	p := &progress{out: out, total: total, started: time.Now()}
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			p.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return p
}

// begin says which case comes.
func (p *progress) begin(what string) {
	if !p.terminal {
		p.printf("%3.0f%%, %v left: %s\n", p.percent(), p.left().Round(time.Second), what)
	}
}

func (p *progress) show(what string) {
	if p.terminal {
		p.printf("\r\x1b[K%3.0f%%, %v left: %s", p.percent(), p.left().Round(time.Second), what)
	}
}

func (p *progress) percent() float64 { return 100 * float64(p.done) / float64(max(p.total, 1)) }

// left corrects the estimate by how good it has been so far.
func (p *progress) left() time.Duration {
	if p.done < p.total/20 {
		return p.total - p.done
	}
	return time.Duration(float64(time.Since(p.started)) * float64(p.total-p.done) / float64(p.done))
}

// expect corrects the estimate of what is to come.
func (p *progress) expect(rest time.Duration) { p.total = p.done + rest }

func (p *progress) advance(d time.Duration) { p.done = min(p.done+d, p.total) }

func (p *progress) say(line string) {
	if p.terminal {
		p.printf("\r\x1b[K")
	}
	p.printf("%s\n", line)
}

func (p *progress) end() {
	if p.terminal {
		p.printf("\r\x1b[K")
	}
}

// printf writes to a terminal that may be gone.
func (p *progress) printf(format string, args ...any) { _, _ = fmt.Fprintf(p.out, format, args...) }
