package broker_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weftws/weft/handler"
	"github.com/weftws/weft/handler/broker"
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/subprotocol/envelope"
	"github.com/weftws/weft/transport"
	"github.com/weftws/weft/transport/pipe"
)

// peer is the client of an example: it speaks JSON envelopes.
type peer struct {
	conn transport.Conn
	got  chan string
	gone chan struct{}
}

func dialPeer(p *pipe.Transport) *peer {
	c := &peer{got: make(chan string, 16), gone: make(chan struct{})}
	conn, err := p.Dial(context.Background(), "pipe://localhost/", nil, func(transport.Conn) transport.Receiver { return c })
	if err != nil {
		panic(err)
	}
	c.conn = conn
	c.say(`{"type":"connect"}`)
	c.next()
	return c
}

func (c *peer) Receive(m transport.Message) { c.got <- string(m.Data) }
func (c *peer) Writable()                   {}
func (c *peer) Closed(error)                { close(c.gone) }

func (c *peer) next() string { return <-c.got }

func (c *peer) leave() {
	_ = c.conn.Close(transport.StatusNormalClosure, "")
	<-c.gone
}

func (c *peer) say(text string) {
	if _, err := c.conn.Write([]transport.Message{{Type: transport.MessageText, Data: []byte(text)}}); err != nil {
		panic(err)
	}
}

func serveExample(h handler.Handler) *pipe.Transport {
	p := pipe.New(nil)
	handler.NewEndpoint(p, h, handler.WithSubProtocols(envelope.NewJSON(nil)))
	return p
}

// Clients subscribe to topics; the server publishes.
func Example() {
	b := broker.New(nil)
	defer b.Close()
	mux := handler.NewMux()
	mux.Route("SUBSCRIBE /topic/", b) // and no SEND: clients only listen
	p := serveExample(mux)

	c := dialPeer(p)
	defer c.leave()
	c.say(`{"type":"subscribe","subscription":"1","destination":"/topic/news/*","receipt":"r"}`)
	fmt.Println(c.next())
	if err := b.Publish(context.Background(), "/topic/news/go", &subprotocol.Message{Body: []byte(`"1.26 is out"`)}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(c.next())
	// Output:
	// {"type":"receipt","receipt":"r"}
	// {"type":"deliver","subscription":"1","destination":"/topic/news/go","body":"1.26 is out"}
}

// What one consumer refuses another gets, with a mark.
func Example_queue() {
	b := broker.New(&broker.Options{RedeliveryDelay: time.Hour, DeadLetter: "/queue/dead"})
	defer b.Close()
	p := serveExample(b)

	ann, bob := dialPeer(p), dialPeer(p)
	defer ann.leave()
	defer bob.leave()
	const subscribe = `{"type":"subscribe","subscription":"q","destination":"/queue/jobs","ack":"client-individual","receipt":"r"}`
	ann.say(subscribe)
	ann.next()
	bob.say(`{"type":"send","destination":"/queue/jobs","body":1}`)
	fmt.Println("ann:", ann.next())
	bob.say(subscribe)
	bob.next()
	ann.say(`{"type":"nack","subscription":"q","id":"1"}`)
	fmt.Println("bob:", bob.next())
	bob.say(`{"type":"ack","subscription":"q","id":"2","receipt":"done"}`)
	fmt.Println("bob:", bob.next())
	// Output:
	// ann: {"type":"deliver","subscription":"q","id":"1","destination":"/queue/jobs","body":1}
	// bob: {"type":"deliver","subscription":"q","id":"2","destination":"/queue/jobs","header":[["redelivered","true"],["delivery-count","2"]],"body":1}
	// bob: {"type":"receipt","receipt":"done"}
}

// All sessions of a user get what is sent to the user.
func ExampleBroker_PublishToUser() {
	b := broker.New(nil)
	defer b.Close()
	mux := handler.NewMux()
	mux.Route("CONNECT", handler.HandlerFunc(func(_ context.Context, r handler.Request) error {
		r.Session.SetUser("ann") // a real one checks who it is
		return nil
	}))
	mux.Route("SUBSCRIBE /user/", b)
	p := serveExample(mux)

	phone, laptop := dialPeer(p), dialPeer(p)
	defer phone.leave()
	defer laptop.leave()
	for _, c := range []*peer{phone, laptop} {
		c.say(`{"type":"subscribe","subscription":"1","destination":"/user/queue/mail","receipt":"r"}`)
		c.next()
	}
	if err := b.PublishToUser(context.Background(), "ann", "/queue/mail", &subprotocol.Message{Body: []byte(`"hello"`)}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(phone.next())
	fmt.Println(strings.Contains(laptop.next(), "hello"))
	// Output:
	// {"type":"deliver","subscription":"1","destination":"/user/queue/mail","body":"hello"}
	// true
}
