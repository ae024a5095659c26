package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// fakePeers makes the test binary a program like benchmarks/compare, of one row that
// dies at the third publication.
const fakePeers = "WEFTBENCH_FAKE_PEERS"

// TestMain makes the test binary a server too: weft's rows are served by the program itself.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "serve":
		err = serveMain(os.Args[2:], os.Stdin, os.Stdout)
	case os.Getenv(fakePeers) != "" && len(os.Args) > 1 && (os.Args[1] == "-list" || os.Args[1] == "-row"):
		err = fakePeer(os.Args[1] == "-list")
	default:
		goleak.VerifyTestMain(m)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func fakePeer(list bool) error {
	if list {
		return json.NewEncoder(os.Stdout).Encode([]*row{
			{Name: "mortal", Kind: "echo", Framing: "websocket", Marker: marker},
			{Name: "absent", Kind: "echo", Framing: "websocket", Marker: marker, Unavailable: "not installed"},
		})
	}
	in, out := io.Pipe()
	go func() {
		defer out.Close()
		n := 0
		for b := make([]byte, 64); ; {
			k, err := os.Stdin.Read(b)
			if err != nil {
				return
			}
			if n++; n == 3 {
				fmt.Fprintln(os.Stderr, "out of luck")
				os.Exit(3)
			}
			if _, err := out.Write(b[:k]); err != nil {
				return
			}
		}
	}()
	return serveMain([]string{"-row", "gobwas-bare/raw"}, in, os.Stdout)
}

func runArgs(ctx context.Context, args ...string) (out string, err error) {
	var b strings.Builder
	o, err := parse(args, &b)
	if err == nil {
		err = run(ctx, o, &b, &b)
	}
	return b.String(), err
}

// Everything, small: all scenarios, all reports, and what can be done with them.
func TestRun(t *testing.T) { // not parallel: it pins the process
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	out, err := runArgs(t.Context(), "-quick", "-full", "-peers", "none", "-rounds", "1", "-rows", "gobwas-bare/[rjms]*,gorilla/raw,sockjs/*", "-base", "gorilla/raw",
		"-json", file("a.json"), "-md", file("a.md"), "-html", file("a.html"), "-benchstat", file("a.txt"))
	require.NoError(t, err, out)

	res, err := readResult(file("a.json"))
	require.NoError(t, err)
	require.Equal(t, "gorilla/raw", res.Base)
	seen := map[string]bool{}
	for _, c := range res.Cases {
		seen[c.Scenario] = true
		require.Contains(t, out, c.Scenario+": "+c.Name)
		for _, r := range c.Rows {
			require.Empty(t, r.Error, "%s %s %s", c.Scenario, c.Name, r.Row)
			for i, v := range r.Rounds {
				require.Len(t, v, 1, "%s %s %s", c.Scenario, c.Name, r.Row)
				require.False(t, math.IsNaN(v[0]) || math.IsInf(v[0], 0), "%s %s %s %s", c.Scenario, c.Name, r.Row, c.Columns[i])
			}
			if c.Scenario != "idle" { // where twenty connections may fit into pages that were there
				require.Positive(t, r.Rounds[0][0], "%s %s %s", c.Scenario, c.Name, r.Row)
			}
			if c.Scenario == "fanout" && strings.HasSuffix(r.Row, "/raw") {
				require.InDelta(t, 132, r.Rounds[4][0], 0, "128 B and a header of 4")
			}
			if c.Scenario == "idle" {
				require.InDelta(t, 1, r.Rounds[3][0], 0.2, "one goroutine for each connection")
			}
			if c.Scenario == "soak" {
				require.Zero(t, r.Rounds[3][0], "goroutines are left")
			}
		}
	}
	for _, name := range scenarioNames(true) {
		require.True(t, seen[name], name)
	}

	page, err := os.ReadFile(file("a.html"))
	require.NoError(t, err)
	html := strings.ReplaceAll(string(page), `xmlns="http://www.w3.org/2000/svg"`, "")
	require.NotRegexp(t, `https?://|src=|href=|url\(|@import|<script`, html, "the page opens offline")
	require.Equal(t, len(res.Cases), strings.Count(html, "<svg "))
	require.Contains(t, html, res.Machine.CPU)

	benchstat, err := os.ReadFile(file("a.txt"))
	require.NoError(t, err)
	for line := range strings.Lines(string(benchstat)) {
		require.Regexp(t, `^(goos|pkg|cpu): |^Benchmark[A-Z]\w*/case=[^ /]+/row=[^ /]+ 1( -?[0-9.e+-]+ [^ ]+)+\n$`, line)
	}

	// Read again, it is the same; compared with itself, nothing has changed.
	again, err := runArgs(t.Context(), "-from", file("a.json"), "-compare", file("a.json"), "-md", file("b.md"), "-json", file("b.json"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^  echo, 64 B, 1 connection +gorilla/raw +server µs/message .* ~ 1\.00$`, again)
	_, comparison, _ := strings.Cut(again, "compared with")
	require.NotRegexp(t, `(?m) (0\.|1\.[^0]|1\.0[^0]|[2-9])[0-9.]*$`, comparison)
	for _, names := range [][2]string{{"a.md", "b.md"}, {"a.json", "b.json"}} {
		a, err := os.ReadFile(file(names[0]))
		require.NoError(t, err)
		b, err := os.ReadFile(file(names[1]))
		require.NoError(t, err)
		require.Equal(t, string(a), string(b))
	}
}

// A server that dies is named, with its last words; the other rows go on.
func TestProfile(t *testing.T) { // not parallel: it pins the process
	dir := filepath.Join(t.TempDir(), "profiles")
	out, err := runArgs(t.Context(), "-quick", "-peers", "none", "-scenario", "echo", "-rows", "gobwas/raw", "-rounds", "1", "-profile", dir)
	require.NoError(t, err)
	require.Contains(t, out, "CPU profiles")
	files, err := filepath.Glob(filepath.Join(dir, "gobwas-raw-*.pprof"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(b, []byte{0x1f, 0x8b}), "a profile is gzipped, and written when its server ends")
	}
}

func TestServerDies(t *testing.T) {
	t.Setenv(fakePeers, "1")
	self, err := os.Executable()
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "r.json")
	out, err := runArgs(t.Context(), "-quick", "-peers", self, "-rounds", "2", "-scenario", "fanout", "-rows", "mortal,gobwas-bare/raw", "-json", name)
	require.EqualError(t, err, "not all was measured: of mortal something has failed")
	require.Regexp(t, `mortal failed after \d rounds?: the server died \(exit status 3: out of luck\)`, out)
	require.Contains(t, out, "absent is left out: not installed")
	res, err := readResult(name)
	require.NoError(t, err)
	for _, c := range res.Cases {
		require.Equal(t, "gobwas-bare/raw", c.Rows[0].Row)
		require.Len(t, c.Rows[0].Rounds[0], 2)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var b strings.Builder
	o, err := parse([]string{"-quick", "-peers", "none", "-scenario", "echo", "-rounds", "1000000", "-rows", "gobwas-bare/raw"}, &b)
	require.NoError(t, err)
	started := time.Now()
	time.AfterFunc(700*time.Millisecond, cancel)
	require.EqualError(t, run(ctx, o, &b, &b), "interrupted")
	require.Less(t, time.Since(started), 10*time.Second)
	require.Contains(t, b.String(), "echo: 64 B, 1 connection\n")
	require.Contains(t, b.String(), "note: interrupted: what is missing was not measured")
	require.Contains(t, b.String(), "base", "the row that was measured")
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.json")
	require.NoError(t, os.WriteFile(garbage, []byte("{"), 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-scenario", "ecko"}, `no scenario "ecko"; there are: echo, idle, fanout, handshake, queue, open, mixed, sockjs, soak`},
		{[]string{"-rows", "gobwas-bear/raw"}, `no row "gobwas-bear/raw"; there are: gobwas-bare/raw, gobwas/raw, `},
		{[]string{"-base", "nobody"}, `no row (-base) "nobody"; there are: gobwas-bare/raw, `},
		{[]string{"-rows", "["}, "syntax error in pattern"},
		{[]string{"echo"}, `"echo" is not a flag`},
		{[]string{"-rounds", "0"}, "-rounds must be at least 1"},
		{[]string{"-md", filepath.Join(dir, "none", "x.md")}, "-md: open "},
		{[]string{"-compare", filepath.Join(dir, "none.json")}, "no such file"},
		{[]string{"-compare", garbage}, "is no result of -json"},
		{[]string{"-peers", filepath.Join(dir, "none")}, "no such file"},
		{[]string{"-rows", "gobwas-bare/mixed", "-scenario", "fanout"}, "none of the rows takes part"},
	} {
		args := c.args
		if args[0] != "-peers" {
			args = append(args, "-peers", "none")
		}
		if args[0] == "echo" {
			args = c.args
		}
		_, err := runArgs(t.Context(), args...)
		require.ErrorContains(t, err, c.want, "%q", args)
	}
	out, err := runArgs(t.Context(), "-rouns", "3")
	require.ErrorIs(t, err, errUsage)
	require.Contains(t, out, "flag provided but not defined: -rouns")
	require.Contains(t, out, "-rounds", "valid flags are listed")
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	err = serveMain([]string{"-row", "gobwas/raw", "-addr", ln.Addr().String()}, strings.NewReader(""), io.Discard)
	require.ErrorContains(t, err, ln.Addr().String()+": bind: address already in use")
}

func TestTooFewDescriptors(t *testing.T) {
	t.Parallel()
	s := &scenario{name: "idle"}
	b := &bench{options: &options{}}
	p := &plan{scenario: s, name: "many", conns: descriptors(), rows: make([]*row, 1)}
	b.fit(p)
	require.Empty(t, p.rows)
	require.Regexp(t, `^idle, many: needs \d+ descriptors, but the limit of a process is \d+`, b.notes[0])

	p = &plan{scenario: s, name: "several", conns: descriptors() / 2, rows: make([]*row, 3)}
	b.fit(p)
	require.Len(t, p.rows, 3)
	require.True(t, p.fresh, "connections are opened for each round")
}

// The default run fits into its budget, whatever the number of rows.
func TestBudget(t *testing.T) {
	t.Parallel()
	b := &bench{options: &options{rounds: 5, budget: 100 * time.Second}}
	for range 8 {
		b.plans = append(b.plans, &plan{rows: make([]*row, 18), rounds: 5, conns: 500})
	}
	require.InDelta(t, 100, b.share(b.plans, 0).Seconds(), 1)
	require.Greater(t, b.plans[0].length, 50*time.Millisecond)
	require.InDelta(t, 20, b.share(b.plans[6:], 80*time.Second).Seconds(), 1, "what is left shrinks when the start took longer")
	b.full = true
	b.share(b.plans, 0)
	require.Equal(t, 500*time.Millisecond, b.plans[0].length)
}

func TestList(t *testing.T) {
	t.Parallel()
	out, err := runArgs(t.Context(), "-list", "-peers", "none")
	require.NoError(t, err)
	for _, r := range weftRows() {
		require.Contains(t, out, r.Name)
	}
	for _, name := range scenarioNames(true) {
		require.Regexp(t, `(?m)^ +`+name+` `, out)
	}
}

// What compare prints is understood: a row with a protocol of its own.
func TestPeerRow(t *testing.T) {
	t.Parallel()
	var r row
	require.NoError(t, json.Unmarshal([]byte(`{"name":"x","kind":"pubsub","framing":"websocket","hello":[{"type":"text","data":"aGk="}],
		"ready":"welcome","marker":"#","echo":{"type":"binary","request":"PD4=","at":1,"answer":2}}`), &r))
	f := r.formOf(0)
	require.Equal(t, []message{{Type: "text", Data: []byte("hi")}}, f.hello("7"))
	require.Equal(t, "welcome", f.ready)
	require.Equal(t, message{Type: "binary", Data: []byte("<body>")}, f.request([]byte("body")))
	require.Equal(t, "<>", string(r.Echo.Request), "the template stays")
	require.True(t, r.echoes())
}

// RESULTS.md has the columns that the tool would write today: it is written by -md,
// and anew when they change.
func TestResultsFile(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "RESULTS.md"))
	require.NoError(t, err)
	require.NoError(t, checkResults(string(b)))

	for old, wrong := range map[string]string{
		"server µs/message": "server ms/message",
		"| goroutines |":    "|",
		"## handshake":      "## handshakes",
		"Loopback has":      "Loopback lacks",
		"| envelope |":      "|",
	} {
		require.Contains(t, string(b), old)
		require.Error(t, checkResults(strings.ReplaceAll(string(b), old, wrong)), "%s in place of %s passes", wrong, old)
	}
}

// checkResults compares a page with what would be written, but for figures.
func checkResults(page string) error {
	for _, s := range method {
		if !strings.Contains(page, s) {
			return fmt.Errorf("the method lacks %q", s)
		}
	}
	tableHead := func(line []string) string {
		var b strings.Builder
		writeMarkdownTable(&b, [][]string{line})
		return b.String()
	}
	if !strings.Contains(page, tableHead(rowTable(nil)[0])) {
		return errors.New("the table of rows has other columns")
	}
	sections := regexp.MustCompile(`(?m)^## `).Split(page, -1)
	for _, s := range scenarios() {
		if s.full {
			continue
		}
		found := false
		for _, text := range sections {
			if name, rest, _ := strings.Cut(text, "\n"); name == s.name {
				found = true
				if n := strings.Count(rest, "### "); n == 0 || n != strings.Count(rest, tableHead(header(s.columns))) {
					return fmt.Errorf("a table of %s has other columns than %q", s.name, header(s.columns))
				}
			}
		}
		if !found {
			return fmt.Errorf("there is no %s", s.name)
		}
	}
	return nil
}
