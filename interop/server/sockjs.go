package main

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broadcast"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/raw"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/sockjs"
)

// sockJS mounts the protocol's test services and the broker in front of next: in a folder of
// the engine t, and at the root if the flags say so. Every page may use the test services.
func (f flags) sockJS(t transport.Transport, b *broker.Broker, c *sockjs.Cluster, next http.Handler) (http.Handler, []*handler.Endpoint) {
	var endpoints []*handler.Endpoint
	mount := func(name string, e *handler.Endpoint) {
		endpoints = append(endpoints, e)
		next = sockjs.Mount("/"+t.Name()+"/sockjs/"+name, e, next)
		if t.Name() == f.sockJSEngine {
			next = sockjs.Mount("/"+name, e, next)
		}
	}
	for _, s := range []struct {
		name    string
		opts    sockjs.Options
		handler handler.Handler
	}{
		{"echo", sockjs.Options{ResponseLimit: 4096}, handler.HandlerFunc(echo)},
		{"disabled_websocket_echo", sockjs.Options{NoWebSocket: true}, handler.HandlerFunc(echo)},
		{"cookie_needed_echo", sockjs.Options{CookieNeeded: true}, handler.HandlerFunc(echo)},
		{"close", sockjs.Options{}, handler.HandlerFunc(goAway)},
		{"amplify", sockjs.Options{}, handler.HandlerFunc(amplify)},
		{"broadcast", sockjs.Options{}, toAll(broadcast.New(nil))},
		{"ticker", sockjs.Options{}, handler.HandlerFunc(tick)},
	} {
		s.opts.ClientURL, s.opts.Cluster = f.sockJSURL, c
		mount(s.name, handler.NewEndpoint(sockjs.New(t, &s.opts), s.handler,
			handler.WithSubProtocols(raw.New(nil)), handler.WithOrigins("*")))
	}
	mount("sockjs-stomp", newSTOMP(sockjs.New(t, &sockjs.Options{ClientURL: f.sockJSURL, Cluster: c}), b))
	return next, endpoints
}

// cluster is made of the servers that have the same key. Their names are their addresses.
func (f flags) cluster(addr net.Addr) *sockjs.Cluster {
	if f.sockJSKey == "" {
		return nil
	}
	return &sockjs.Cluster{Node: addr.String(), Key: []byte(f.sockJSKey), Peer: func(node string) *url.URL {
		return &url.URL{Scheme: "http", Host: node}
	}}
}

func goAway(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindConnect {
		return nil
	}
	return r.Session.Close(3000, "Go away!")
}

// amplify answers a number n with 2^n letters, and anything else with two.
func amplify(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindSend {
		return nil
	}
	n, err := strconv.Atoi(string(r.Message.Body))
	if err != nil || n < 1 || n > 18 {
		n = 1
	}
	_, err = r.Reply(&subprotocol.Message{Body: []byte(strings.Repeat("x", 1<<n))})
	return err
}

// toAll has everybody subscribe to one destination.
func toAll(b *broadcast.Broadcaster) handler.Handler {
	const all = "all"
	return handler.HandlerFunc(func(ctx context.Context, r handler.Request) error {
		switch r.Message.Kind {
		case subprotocol.KindConnect:
			return b.Subscribe(r.Session, all, all)
		case subprotocol.KindSend:
			return b.Publish(ctx, all, &subprotocol.Message{Body: r.Message.Body})
		default:
			return b.Handle(ctx, r)
		}
	})
}

// tick sends each second, until the session ends.
func tick(_ context.Context, r handler.Request) error {
	if r.Message.Kind != subprotocol.KindConnect {
		return nil
	}
	go func() {
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for {
			select {
			case <-second.C:
				_, _ = r.Session.Send(&subprotocol.Message{Kind: subprotocol.KindSend, Body: []byte("tick!")})
			case <-r.Session.Context().Done():
				return
			}
		}
	}()
	return nil
}
