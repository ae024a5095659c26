package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	startTime  = 20 * time.Second // a server that does not listen by then has failed
	answerTime = 30 * time.Second // as has one that does not answer a command
)

// server is the process of a row.
type server struct {
	row    *row
	addr   string
	pid    int // of the process that serves, which is cmd's unless it says otherwise
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan string // closed with the standard output
	stderr tail
	ended  chan struct{} // closed when the process has ended
	err    error         // how; valid after ended
}

// startServer starts r, on the server's core, and waits until it listens.
func (p *placement) startServer(ctx context.Context, r *row, secure bool) (*server, error) {
	args := append(r.program[1:len(r.program):len(r.program)], "-row", r.Name, "-addr", "127.0.0.1:0")
	if secure {
		args = append(args, "-tls")
	}
	s := &server{row: r, cmd: exec.Command(r.program[0], args...), lines: make(chan string, 16), ended: make(chan struct{})}
	s.cmd.Stderr = &s.stderr
	s.cmd.WaitDelay = time.Second
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.start(s.cmd); err != nil {
		return nil, err
	}
	go func() {
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			s.lines <- sc.Text()
		}
		close(s.lines)
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	line, err := s.line(ctx, startTime)
	if err != nil {
		s.stop()
		return nil, err
	}
	s.pid = s.cmd.Process.Pid
	if n, _ := fmt.Sscanf(line, "listening %s %d", &s.addr, &s.pid); n == 0 {
		s.stop()
		return nil, fmt.Errorf("the server says %q, not where it listens", line)
	}
	return s, nil
}

// stop closes the standard input, with which a server ends, and waits for it.
func (s *server) stop() {
	s.in.Close()
	go func() {
		for range s.lines { // so that the reader comes to the end
		}
	}()
	select {
	case <-s.ended:
	case <-time.After(3 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
}

func (s *server) line(ctx context.Context, limit time.Duration) (string, error) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case line, ok := <-s.lines:
		if !ok {
			return "", s.died(io.ErrUnexpectedEOF)
		}
		return line, nil
	case <-t.C:
		return "", fmt.Errorf("the server says nothing for %v", limit)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// ask sends a command and returns the line of the answer.
func (s *server) ask(ctx context.Context, command string) (string, error) {
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		return "", s.died(err)
	}
	return s.line(ctx, answerTime)
}

func (s *server) publish(ctx context.Context, n int) error {
	line, err := s.ask(ctx, fmt.Sprint("publish ", n))
	if err == nil && line != "published" {
		err = fmt.Errorf("the server answers publish with %q", line)
	}
	return err
}

func (s *server) memory(ctx context.Context) (m memory, err error) {
	line, err := s.ask(ctx, "stats")
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		return m, fmt.Errorf("the server answers stats with %q", line)
	}
	return m, nil
}

// died returns err, or what it was the consequence of: that the process has ended.
func (s *server) died(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	select {
	case <-s.ended:
	case <-time.After(300 * time.Millisecond): // connections break before the end is noticed
		return err
	}
	how := "by itself"
	if s.err != nil {
		how = s.err.Error()
	}
	if last := s.stderr.String(); last != "" {
		how += ": " + last
	}
	return fmt.Errorf("the server died (%s)", how)
}

// cpu is the CPU time that the process has used.
func (s *server) cpu() (time.Duration, error) {
	d, err := processCPU(s.pid)
	if err != nil {
		return 0, s.died(err)
	}
	return d, nil
}

// tail keeps the end of what is written to it, from many goroutines.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - 4096; n > 0 {
		t.b = bytes.Clone(t.b[n:])
	}
	return len(p), nil
}

// String is the line that says most: the one of a panic, else the last.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	for _, l := range lines {
		if strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") {
			return l
		}
	}
	return lines[len(lines)-1]
}
