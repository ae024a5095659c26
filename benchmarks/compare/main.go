// Command compare serves one of weft's peers, set up as its own page shows, so that
// weftbench can load it. It is no program of its own: weftbench builds it, starts it
// once for each row and talks to it over its standard input and output.
//
//	compare -list                            the rows, as JSON
//	compare -row NAME -addr 127.0.0.1:0      serves a row
//
// README.md in this folder tells what is said over the pipes and what a row must do.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "compare:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	name := flags.String("row", "", "the row to serve")
	addr := flags.String("addr", "127.0.0.1:0", "where to listen")
	secure := flags.Bool("tls", false, "serve over TLS, with a certificate made for this process")
	list := flags.Bool("list", false, "print the rows as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *list {
		return json.NewEncoder(out).Encode(rows())
	}
	r, err := find(*name)
	if err != nil {
		return err
	}
	if r.Unavailable != "" {
		return fmt.Errorf("row %s: %s", r.Name, r.Unavailable)
	}
	s := site{addr: *addr}
	if *secure {
		if !r.TLS {
			return fmt.Errorf("row %s has no TLS", r.Name)
		}
		cert, err := certificate()
		if err != nil {
			return err
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	srv, err := r.start(s)
	if err != nil {
		return fmt.Errorf("row %s: %w", r.Name, err)
	}
	if srv.stop != nil {
		defer srv.stop()
	}
	at := srv.addr
	if srv.pid != 0 {
		at = fmt.Sprint(at, " ", srv.pid)
	}
	if _, err := fmt.Fprintln(out, "listening", at); err != nil {
		return err
	}
	return control(srv, in, out)
}

// control carries out commands until in ends or the process is told to terminate.
// It doesn't wait for a command that is under way: a publication may be stuck in a
// write to a client that reads no more.
func control(srv *server, in io.Reader, out io.Writer) error {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, os.Interrupt)
	lines, done := make(chan string), make(chan error, 2)
	go func() {
		scan := bufio.NewScanner(in)
		for scan.Scan() {
			lines <- scan.Text()
		}
		done <- scan.Err()
	}()
	go func() {
		for line := range lines {
			if err := command(srv, line, out); err != nil {
				done <- err
				return
			}
		}
	}()
	select {
	case err := <-done:
		return err
	case <-term:
		return nil
	}
}

func command(srv *server, line string, out io.Writer) error {
	switch cmd, arg, _ := strings.Cut(line, " "); cmd {
	case "stats":
		if srv.pid != 0 {
			_, err := fmt.Fprintln(out, "{}")
			return err
		}
		return json.NewEncoder(out).Encode(readStats())
	case "publish":
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 {
			return fmt.Errorf("publish %q: not a count", arg)
		}
		for range n {
			if err := srv.publish(); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
		_, err = fmt.Fprintln(out, "published")
		return err
	default:
		return fmt.Errorf("no command %q; commands: stats, publish N", cmd)
	}
}

type stats struct {
	Goroutines int    `json:"goroutines"`
	Heap       uint64 `json:"heap"`  // bytes of spans in use
	Stack      uint64 `json:"stack"` // bytes of goroutines' stacks
	Sys        uint64 `json:"sys"`   // bytes obtained from the system
	GC         uint32 `json:"gc"`    // collections so far
}

func readStats() stats {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return stats{runtime.NumGoroutine(), m.HeapInuse, m.StackInuse, m.Sys, m.NumGC}
}
