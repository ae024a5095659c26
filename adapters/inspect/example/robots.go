package main

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/weftws/weft/codec"
	"github.com/weftws/weft/codec/jsoncodec"
	"github.com/weftws/weft/handler/client"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/subprotocol/stomp"
	"github.com/weftws/weft/transport/gobwas"
)

var (
	names = []string{"ada", "ben", "cleo", "dov", "eve", "finn", "gus", "hana"}
	lines = []string{"Good morning", "Who has the minutes?", "Here", "One moment, please", "That will do", "The tests pass", "Not on my machine"}
)

// talkAll has n robots talk until ctx is done. The channel is closed when all are gone.
func talkAll(ctx context.Context, addr string, n int) <-chan struct{} {
	dialer := gobwas.New(nil)
	protocols := []subprotocol.SubProtocol{envelope.NewJSON(nil), stomp.New(nil), envelope.NewMsgpack(nil)}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			url := fmt.Sprintf("ws://%s/ws/%s?token=robot-%d", addr, engines[i/3%len(engines)], i)
			name := names[i%len(names)]
			if i >= len(names) {
				name = fmt.Sprintf("%s-%d", name, i/len(names)+1)
			}
			c := client.New(url, dialer, protocols[i%3], &client.Options{
				Codecs: []codec.Codec{jsoncodec.New(nil)},
				Connect: func(_ context.Context, _ http.Header, m *subprotocol.Message) error {
					m.Header = subprotocol.Header{{Name: "login", Value: name}, {Name: "passcode", Value: "robots-have-no-secrets"}}
					return nil
				},
			})
			if err := talk(ctx, c, []string{"lobby", "loom"}[i%2]); err != nil && ctx.Err() == nil {
				log.Printf("%s: %v", name, err)
			}
			end, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			_ = c.Close(end)
		})
	}
	over := make(chan struct{})
	go func() { defer close(over); wg.Wait() }()
	return over
}

func talk(ctx context.Context, c *client.Client, room string) error {
	if err := c.Connect(ctx); err != nil {
		return err
	}
	if _, err := c.Subscribe(ctx, "/topic/"+room, nil, func(context.Context, *client.Delivery) {}); err != nil {
		return err
	}
	for {
		m := &subprotocol.Message{
			Destination: "/app/" + room + "/say",
			Header:      subprotocol.Header{{Name: "authorization", Value: "Bearer robots-have-no-secrets"}},
		}
		if err := c.Encode(m, said{Text: lines[rand.IntN(len(lines))]}); err != nil {
			return err
		}
		if err := c.Send(ctx, m); err != nil {
			return err
		}
		select {
		case <-time.After(time.Duration(300+rand.IntN(1500)) * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}
