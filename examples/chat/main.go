// Command chat has rooms in a browser: open the page that it prints in two tabs and
// talk. chat.go is the application, stacks.go the ways to it: engines and wire
// formats differ, the handlers are the same, and all of them meet in one room.
//
// The page shows what passes through its WebSocket. page/client.js is the client for
// envelopes of JSON from subprotocol/envelope, page/stomp.js one for STOMP, page/sockjs.js
// one for SockJS, which also works where a proxy lets no WebSocket through: the page shows
// what it found.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/weftws/weft/transport/sockjs"
)

//go:embed page
var files embed.FS

// drainTime bounds the end: pages are told to go, then their connections end. It is
// longer than a page that does not answer can make that last.
const drainTime = 12 * time.Second

func main() {
	log.SetFlags(0)
	log.SetPrefix("chat: ")
	addr := flag.String("addr", "127.0.0.1:8080", "loopback address to listen on, port 0 for any")
	host := flag.String("host", "", "`name` by which pages know this server, if a proxy stands in front: it must pass Host on")
	verbose := flag.Bool("v", false, "log every message, not only who comes and goes")
	flag.Parse()
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	l := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *host, l, func(url string) { fmt.Println("Open", url, "in two tabs. Ctrl-C ends the chat.") }); err != nil {
		log.Fatal(err)
	}
}

// run serves the chat until ctx is done and everyone was sent home. It calls ready
// with the page's address as soon as a browser can open it.
func run(ctx context.Context, addr, host string, l *slog.Logger, ready func(url string)) error {
	ln, err := listen(addr)
	if err != nil {
		return err
	}
	stacks := newStacks(l)
	srv := &http.Server{Handler: newSite(stacks, host), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	ready("http://" + ln.Addr().String() + "/")

	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- shutdown(end, stacks) }() // a server waits for its requests, and some are SockJS's
	return errors.Join(err, srv.Shutdown(end), <-ended)
}

// listen opens a loopback address; what stands in the way is one plain sentence.
func listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%q is no address such as 127.0.0.1:8080", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%q is not on this machine alone: this example has no log-in, so it listens on 127.0.0.1 or [::1] only", addr)
	}
	ln, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %s is taken: end the program that has it, or choose another with -addr 127.0.0.1:8081", port)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	return ln, nil
}

// newSite is the page and the endpoints that it connects to, under that name too.
func newSite(stacks []stack, name string) http.Handler {
	root, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux := http.NewServeMux()
	mux.Handle("/stacks.json", strict(list(stacks)))
	mux.Handle("/", strict(http.FileServerFS(root)))
	front := http.Handler(mux)
	for _, s := range stacks {
		if s.Socket == "sockjs" {
			front = sockjs.Mount(s.Path, s.endpoint, front)
		} else {
			mux.Handle(s.Path, s.endpoint)
		}
	}
	return local(name, front)
}

// local refuses requests that name another host than this machine or, if it is not "", the
// one of that name. A page elsewhere whose name was made to resolve to this machine would
// pass as this server's own origin.
func local(name string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host == "localhost" || ip != nil && ip.IsLoopback() || name != "" && strings.EqualFold(host, name) {
			next.ServeHTTP(w, r)
			return
		}
		http.Error(w, "This chat answers to localhost only, and to the name that -host gives it.", http.StatusMisdirectedRequest)
	})
}

// strict lets the page load its own files and talk to its own server, and nothing
// else: should a text ever be taken for markup, it could do no harm.
func strict(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy",
			"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
				"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}
