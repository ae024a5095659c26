// Command weftbench compares weft's stacks with one another, with the bare libraries
// under them and with other servers, in one run and on one machine.
//
//	go run ./benchmarks/cmd/weftbench                      # under two minutes
//	go run ./benchmarks/cmd/weftbench -list                # rows and scenarios
//	go run ./benchmarks/cmd/weftbench -scenario echo -rows 'gobwas/*,gorilla' -rounds 9
//	go run ./benchmarks/cmd/weftbench -json new.json -html new.html -compare old.json
//
// Every row is a server in a process of its own. Rounds are interleaved: each row
// runs once, then each row again. What a row costs is the CPU time of its process
// for each message; wall-clock time comes second, since one client is on the same
// machine and may be what is slow. README.md says how to read the result.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		err = serveMain(os.Args[2:], os.Stdin, os.Stdout)
	} else {
		err = benchMain(os.Args[1:], os.Stdout, os.Stderr)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2) // the flag package has said what is wrong
	case err != nil:
		fmt.Fprintln(os.Stderr, "weftbench:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

// options are the flags.
type options struct {
	scenarios, rows, base string
	rounds                int
	full, quick, list     bool
	budget, soak          time.Duration
	rate                  int
	peers, profile        string
	files                 map[string]*string // by kind of report
	from, compare         string
}

func parse(args []string, errOut io.Writer) (*options, error) {
	o := &options{files: map[string]*string{}}
	f := flag.NewFlagSet("weftbench", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.StringVar(&o.scenarios, "scenario", "", "comma-separated `names`; the default is "+strings.Join(scenarioNames(false), ","))
	f.StringVar(&o.rows, "rows", "", "comma-separated `names`, * matches; the default is all")
	f.StringVar(&o.base, "base", "", "the `row` that ratios refer to; the default is the first")
	f.IntVar(&o.rounds, "rounds", 5, "interleaved rounds; under five nothing below 1.3x is decided")
	f.BoolVar(&o.full, "full", false, "all scenarios, all cases, half a second each round: takes long")
	f.BoolVar(&o.quick, "quick", false, "few connections and milliseconds: shows that it works, its figures mean nothing")
	f.BoolVar(&o.list, "list", false, "print rows and scenarios, and end")
	f.DurationVar(&o.budget, "budget", 75*time.Second, "the time that the default run may take; rounds shrink to it")
	f.DurationVar(&o.soak, "soak", 30*time.Second, "how long the soak scenario runs for each row")
	f.IntVar(&o.rate, "rate", 5000, "messages a second of the open loop")
	f.StringVar(&o.peers, "peers", "", "the built `program` of benchmarks/compare; by default it is built here, \"none\" leaves the peers out")
	f.StringVar(&o.profile, "profile", "", "a `folder`: each server of weft's rows writes a CPU profile there, which costs a little")
	for _, kind := range reportKinds {
		o.files[kind.flag] = f.String(kind.flag, "", kind.help)
	}
	f.StringVar(&o.from, "from", "", "measure nothing: read the result from this JSON `file`")
	f.StringVar(&o.compare, "compare", "", "also compare with an older result, a JSON `file`")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, errUsage
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("%q is not a flag: all is said by flags, see -help", f.Arg(0))
	case o.rounds < 1:
		return nil, errors.New("-rounds must be at least 1")
	case o.rate < 1:
		return nil, errors.New("-rate must be at least 1")
	case o.budget <= 0 || o.soak <= 0:
		return nil, errors.New("-budget and -soak must be positive")
	}
	return o, nil
}

func benchMain(args []string, out, errOut io.Writer) error {
	o, err := parse(args, errOut)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends the program at once
	return run(ctx, o, out, errOut)
}

// run measures, or reads what was measured, and reports.
func run(ctx context.Context, o *options, out, errOut io.Writer) error {
	// Trouble with files shows before the minutes are spent.
	var old *Result
	var err error
	if o.compare != "" {
		if old, err = readResult(o.compare); err != nil {
			return err
		}
	}
	for _, kind := range reportKinds {
		if err := writable(*o.files[kind.flag]); err != nil {
			return fmt.Errorf("-%s: %w", kind.flag, err)
		}
	}
	var res *Result
	var failed error
	if o.from != "" {
		if res, err = readResult(o.from); err != nil {
			return err
		}
	} else {
		if res, failed = measureAll(ctx, o, out, errOut); res == nil {
			return failed
		}
	}
	var text strings.Builder
	writeTerminal(&text, res)
	if old != nil {
		writeComparison(&text, old, res)
	}
	if _, err := io.WriteString(out, text.String()); err != nil {
		return err
	}
	for _, kind := range reportKinds {
		name := *o.files[kind.flag]
		if name == "" {
			continue
		}
		var b strings.Builder
		if err := kind.write(&b, res); err != nil {
			return fmt.Errorf("-%s: %w", kind.flag, err)
		}
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			return fmt.Errorf("-%s: %w", kind.flag, err)
		}
	}
	return failed
}

// writable tries whether name can be written, and leaves no trace.
func writable(name string) error {
	if name == "" {
		return nil
	}
	_, err := os.Lstat(name)
	isNew := errors.Is(err, os.ErrNotExist)
	f, err := os.OpenFile(filepath.Clean(name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil || !isNew {
		return err
	}
	return os.Remove(name)
}
