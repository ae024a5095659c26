package inspect

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/weftws/weft/handler"
)

// Options are the settings of an Inspector. Zero fields have their defaults.
type Options struct {
	// AllowRemote answers requests that come from other machines, name this one by
	// another name than localhost, or have passed a proxy. The default is to refuse them.
	// With it whoever reaches the handler sees who is connected and what they send, and can
	// end their sessions: put your own authentication in front of it first.
	AllowRemote bool

	// Opaque shows what has no names for its parts, plain text and bytes that are neither
	// msgpack nor STOMP: text up to the first word that sounds like a credential, bytes as
	// hexadecimal digits. The default is to show how long it is. With it a
	// credential may be seen that nothing announces.
	Opaque bool

	// Secret reports further names whose values are not shown, as they stand in the frame.
	// It is called from several goroutines and must be quick. The default is none.
	Secret func(name string) bool

	// MaxFrame bounds the frames that are shown, in bytes; of longer ones the size
	// is. The default is 64 KiB, the most 1 MiB. Each frame of a watched session
	// is copied.
	MaxFrame int

	// MaxViewers bounds the open pages, and apart from that the sessions that are watched.
	// Further ones get 503. The default is 16.
	MaxViewers int

	// WatchTime is how long frames of a session are shown before one has to ask again. The
	// default is 10 minutes.
	WatchTime time.Duration
}

// Inspector is the page, as an http.Handler, and what it needs to know. It has no goroutine
// of its own, and does nothing while nobody looks. It is safe for concurrent use.
type Inspector struct {
	opts    Options
	masker  masker
	token   string // of this Inspector's page, without which nothing else is answered
	page    []byte
	policy  string
	routes  map[string]route
	origins *http.CrossOriginProtection
	done    chan struct{}
	listing chan struct{} // holds one value while sessions are listed

	mu        sync.Mutex
	closed    bool
	endpoints []named
	viewers   int
	watching  int
	history   []sample
}

type named struct {
	name string
	*handler.Endpoint
}

var _ http.Handler = (*Inspector)(nil)

// New returns an Inspector without endpoints, with a copy of o; nil means the defaults.
func New(o *Options) *Inspector {
	i := &Inspector{token: rand.Text(), done: make(chan struct{}), listing: make(chan struct{}, 1)}
	if o != nil {
		i.opts = *o
	}
	set(&i.opts.MaxFrame, 64<<10)
	set(&i.opts.MaxViewers, 16)
	set(&i.opts.WatchTime, 10*time.Minute)
	i.opts.MaxFrame = min(i.opts.MaxFrame, maxHeldBytes)
	i.masker = masker{i.opts.Secret, i.opts.Opaque}
	i.page, i.policy = newPage(i.token)
	i.origins = http.NewCrossOriginProtection()
	i.routes = map[string]route{
		"figures":  {http.MethodGet, i.serveFigures},
		"sessions": {http.MethodGet, i.serveSessions},
		"session":  {http.MethodGet, i.serveSession},
		"frames":   {http.MethodGet, i.serveFrames},
		"close":    {http.MethodPost, i.serveClose},
	}
	return i
}

func set[T int | time.Duration](v *T, byDefault T) {
	if *v <= 0 {
		*v = byDefault
	}
}

// Add shows the sessions of e under a name. It panics if the name is empty or taken, or
// without an endpoint.
func (i *Inspector) Add(name string, e *handler.Endpoint) {
	if name == "" || e == nil {
		panic("inspect: Add without a name or an endpoint")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, n := range i.endpoints {
		if n.name == name {
			panic(fmt.Sprintf("inspect: two endpoints have the name %q", name))
		}
	}
	i.endpoints = append(i.endpoints[:len(i.endpoints):len(i.endpoints)], named{name, e})
}

// all returns the endpoints, in the order in which they were added.
func (i *Inspector) all() []named {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.endpoints
}

// find returns a session and its endpoint; the session is nil if there is none.
func (i *Inspector) find(endpoint, id string) (named, *handler.Session) {
	for _, n := range i.all() {
		if n.name == endpoint {
			return n, n.Sessions().Get(id)
		}
	}
	return named{}, nil
}

// Close ends all that the page has open and answers nothing more, so that
// http.Server.Shutdown, which waits for requests, comes to its end: give it to the server's
// RegisterOnShutdown. The endpoints live on.
func (i *Inspector) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed {
		i.closed = true
		close(i.done)
	}
}
