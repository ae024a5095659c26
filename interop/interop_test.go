package interop

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// patience bounds every wait for another process.
const patience = 2 * time.Minute

// lifetime bounds a process, should its test not live to end it. A test may have to wait for
// all others while its server runs.
const lifetime = 20 * time.Minute

// python is Debian's own, which is where python3-websockets lands.
const python = "/usr/bin/python3"

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if binaries.dir != "" {
			_ = os.RemoveAll(binaries.dir)
		}
		os.Exit(code)
	}))
}

// foreign skips a test that needs other people's software, unless it is asked for.
func foreign(t *testing.T) {
	t.Helper()
	if os.Getenv("WEFT_INTEROP") != "1" {
		t.Skip("set WEFT_INTEROP=1 to run against software that others wrote: npm's packages in interop/package.json and Debian's in .ci/interop, RabbitMQ, ActiveMQ and Chromium among them; `make interop` installs them first")
	}
}

var binaries struct {
	sync.Mutex
	dir string
}

// build compiles a program, of this module or of a nested one, and returns its path. The
// second time the toolchain finds it in its cache.
func build(t *testing.T, pkg string) string {
	t.Helper()
	binaries.Lock()
	defer binaries.Unlock()
	if binaries.dir == "" {
		dir, err := os.MkdirTemp("", "weft-interop-") //nolint:usetesting // other tests use it after this one
		require.NoError(t, err)
		binaries.dir = dir
	}
	bin := filepath.Join(binaries.dir, filepath.Base(pkg))
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Dir = pkg
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "go build: %s", out)
	return bin
}

// process is a program that runs beside the test and prints lines.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // closed when the output ends
	errs  bytes.Buffer

	once sync.Once
	err  error // of its end
}

// start runs a program and ends it with the test, however the test ends.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), lifetime)
	p := &process{cmd: exec.CommandContext(ctx, name, args...), lines: make(chan string, 1024)}
	p.cmd.Stderr = &p.errs
	p.cmd.WaitDelay = 5 * time.Second
	stdin, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		defer cancel()
		_ = p.stop()
		if t.Failed() && p.errs.Len() > 0 {
			t.Logf("%s said: %s", filepath.Base(name), p.errs.Bytes())
		}
	})
	return p
}

// stop ends the program as a person would and returns its exit.
func (p *process) stop() error {
	p.once.Do(func() {
		_ = p.stdin.Close()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(15*time.Second, func() { _ = p.cmd.Process.Kill() })
		defer kill.Stop()
		for range p.lines {
			// Wait closes the pipe, so all of it must have been read.
		}
		p.err = p.cmd.Wait()
	})
	return p.err
}

// line returns the next line that the program prints.
func (p *process) line(t *testing.T) string {
	t.Helper()
	select {
	case l, ok := <-p.lines:
		if !ok {
			require.FailNow(t, "the program ended", "%v\n%s", p.stop(), p.errs.Bytes())
		}
		return l
	case <-time.After(patience):
		require.FailNow(t, "the program says nothing")
		return ""
	}
}

// address waits for the line that says where a server listens.
func (p *process) address(t *testing.T) string {
	t.Helper()
	addr, ok := strings.CutPrefix(p.line(t), "listening on ")
	require.True(t, ok)
	return addr
}

// script runs a script of this folder and makes each case that it reports a
// subtest. A line that is no report is handed to the function of that name.
func script(t *testing.T, on map[string]func(*process), name string, args ...string) {
	t.Helper()
	p := start(t, name, args...)
	cases := 0
	for {
		l := p.line(t)
		if l == "done" {
			break
		}
		if f := on[l]; f != nil {
			f(p)
			continue
		}
		verdict, rest, _ := strings.Cut(l, "ok ")
		require.Contains(t, []string{"", "not "}, verdict, "unexpected line %q", l)
		cases++
		title, why, _ := strings.Cut(rest, ": ")
		t.Run(title, func(t *testing.T) {
			if verdict != "" {
				t.Error(why)
			}
		})
	}
	require.Positive(t, cases, "the script reported no case")
}

// server starts interop/server and returns the URL of a path.
func server(t *testing.T, path string) (*process, string) {
	t.Helper()
	p := start(t, build(t, "./server"), "-addr", "127.0.0.1:0")
	return p, fmt.Sprintf("ws://%s%s", p.address(t), path)
}
