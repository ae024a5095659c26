package brokertest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weftws/weft/subprotocol"
)

// texts are n bodies.
func texts(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = "message " + strconv.Itoa(i+1)
	}
	return all
}

func fanOut(k *kit) {
	topic, other := k.topic("news"), k.topic("other")
	sender, c := k.dial(""), k.dial("")
	subs := []*sub{sender.subscribe(topic), c.subscribe(topic), c.subscribe(topic), k.dial("").subscribe(topic)}
	elsewhere := []*sub{c.subscribe(other), k.dial("").subscribe(other)}
	sender.send(topic, "sent")
	k.publish(topic, "published")
	sender.send(topic, "end")
	sender.send(other, "end")
	for _, s := range subs {
		for _, m := range s.expect("sent", "published", "end") {
			if m.Destination != topic {
				k.fatalf("%s: a message that was sent to %q came under %q", s.name, topic, m.Destination)
			}
		}
	}
	for _, s := range elsewhere {
		s.expect("end")
	}
	for _, s := range append(subs, elsewhere...) {
		s.quiet()
	}
}

func order(k *kit) {
	const n, publishers = 100, 3
	topic := k.topic("news")
	subs := []*sub{k.dial("").subscribe(topic), k.dial("").subscribe(topic)}
	senders := []*client{k.dial(""), k.dial("")}
	k.together(publishers, func(i int) {
		for j := range n {
			body := fmt.Sprintf("%d %d", i, j)
			switch {
			case i == len(senders):
				k.publish(topic, body)
			case j < n-1:
				senders[i].post(topic, body)
			default:
				senders[i].send(topic, body)
			}
		}
	})
	for _, s := range subs {
		var count [publishers]int
		for _, m := range s.take(n * publishers) {
			var i, j int
			if _, err := fmt.Sscan(string(m.Body), &i, &j); err != nil {
				k.fatalf("%s: %q came, which was not sent", s.name, m.Body)
			}
			if j != count[i] {
				k.fatalf("%s: number %d of publisher %d came where number %d should", s.name, j, i, count[i])
			}
			count[i]++
		}
		s.quiet()
	}
}

func nobody(k *kit) {
	c := k.dial("")
	c.send(k.topic("empty"), "sent")
	k.publish(k.topic("empty"), "published")
	if k.f.UserDestinations {
		k.publishToUser("nobody", k.queue("empty"), "published")
	}
	s := c.subscribe(k.topic("empty"))
	s.quiet()
}

// noise publishes to a topic, one message after the other has come, until stop is
// called.
func (k *kit) noise(topic string) (stop func()) {
	probe := k.dial("").subscribe(topic)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			default:
			}
			k.publish(topic, "noise")
			for string(probe.take(1)[0].Body) != "noise" {
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// see waits for a message among others.
func (s *sub) see(body string) {
	s.wait(strconv.Quote(body)+" on "+s.destination, func() bool {
		return slices.ContainsFunc(s.got, func(m *subprotocol.Message) bool { return string(m.Body) == body })
	})
}

func subscribed(k *kit) {
	topic := k.topic("news")
	stop := k.noise(topic)
	defer stop()
	c, sender := k.dial(""), k.dial("")
	for i := range numberOfMessages {
		s := c.subscribe(topic)
		body := "message " + strconv.Itoa(i)
		if i%2 == 0 {
			k.publish(topic, body)
		} else {
			sender.send(topic, body)
		}
		s.see(body)
		s.unsubscribe()
	}
}

func unsubscribed(k *kit) {
	topic := k.topic("news")
	stop := k.noise(topic)
	defer stop()
	c := k.dial("")
	stays := c.subscribe(topic)
	for i := range numberOfMessages {
		s := c.subscribe(topic)
		s.unsubscribe()
		body := "message " + strconv.Itoa(i)
		k.publish(topic, body)
		stays.see(body) // what came for s is reported
	}
	c.round()
}

// topicComeAndGo has sessions subscribe and unsubscribe, and break, while others stay.
func topicComeAndGo(k *kit) {
	const rounds = 3
	topic := k.topic("news")
	join := func() *sub { return k.dial("").subscribe(topic) }
	var stay [rounds][2]*sub
	for i := range rounds {
		leaves := join()
		stay[i][0] = join()
		breaks := join()
		stay[i][1] = join()
		k.publish(topic, "before")
		leaves.expect("before")
		leaves.unsubscribe()
		k.publish(topic, "between")
		breaks.expect("before", "between")
		breaks.drop()
		k.publish(topic, "after")
	}
	for i := range stay {
		for _, s := range stay[i] {
			for range rounds - i {
				s.expect("before", "between", "after")
			}
			s.quiet()
		}
	}
}

// samples are messages that wire formats and stores stumble over.
func samples() []*subprotocol.Message {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	all := []*subprotocol.Message{
		{ContentType: "application/json", Body: []byte(`{"b":[1,2.50,"\u00e9"],"a":null}`)},
		{ContentType: "text/plain;charset=utf-8", Body: []byte("Grüße: 世界\r\n\t\\c")},
		{ContentType: "application/octet-stream", Body: every},
		{ContentType: "text/plain", Body: []byte(strings.Repeat("0123456789abcdef", 1<<11))},
		{Body: []byte{0}},
		{ContentType: "text/plain"},
	}
	for i, m := range all {
		m.Kind = subprotocol.KindSend
		m.Header = subprotocol.Header{{Name: "number", Value: strconv.Itoa(i)}, {Name: "odd", Value: "a:b\\c\nd é"}, {Name: "empty"}}
	}
	return all
}

func intact(k *kit) {
	c := k.dial("")
	destinations := []string{k.topic("news")}
	if k.f.Queues {
		destinations = append(destinations, k.queue("jobs"))
	}
	for _, to := range destinations {
		s := c.subscribe(to)
		for _, m := range samples() {
			want := m.Clone()
			m.Destination = to
			c.must(m)
			k.same(s, want, s.take(1)[0])
			ctx, cancel := k.context()
			err := k.system.Broker.Publish(ctx, to, want)
			cancel()
			if err != nil {
				k.fatalf("Publish returned %v", err)
			}
			k.same(s, want, s.take(1)[0])
		}
	}
}

func (k *kit) same(s *sub, want, got *subprotocol.Message) {
	if string(got.Body) != string(want.Body) {
		k.fatalf("%s: on %s came the body %.40q of %d bytes, not %.40q of %d",
			s.name, s.destination, got.Body, len(got.Body), want.Body, len(want.Body))
	}
	if got.ContentType != want.ContentType {
		k.fatalf("%s: on %s came the content type %q, not %q", s.name, s.destination, got.ContentType, want.ContentType)
	}
	for _, f := range want.Header {
		if values := got.Header.Values(f.Name); len(values) == 0 || values[0] != f.Value {
			k.fatalf("%s: on %s came %q as the header %s, not %q", s.name, s.destination, values, f.Name, f.Value)
		}
	}
}

func published(k *kit) {
	topic := k.topic("news")
	s, full := k.dial("").subscribe(topic), make(chan struct{})
	// What waits in a queue shows it best.
	late := k.dial("")
	slow := late.subscribe(topic)
	k.locked(func() { late.full = full })
	for _, body := range texts(numberOfMessages) {
		k.publish(topic, body) // and changes the message
	}
	close(full)
	for _, s := range []*sub{s, slow} {
		for _, m := range s.expect(texts(numberOfMessages)...) {
			if v := m.Header.Get("said"); v != string(m.Body) {
				k.fatalf("%s: %q came with the header %q", s.name, m.Body, v)
			}
		}
	}
}

func refuse(k *kit) {
	c := k.dial("")
	before := c.subscribe(k.topic("news"))
	check := func(e *subprotocol.Error, what string) {
		switch {
		case e == nil:
			k.fatalf("%s to %s was accepted", what, k.system.Unknown)
		case e.Text == "":
			k.fatalf("%s to %s was refused without a word", what, k.system.Unknown)
		}
	}
	check(c.request(message(k.system.Unknown, "lost", nil)), "a SEND")
	_, e := c.trySubscribe(k.system.Unknown)
	check(e, "a SUBSCRIBE")
	c.send(before.destination, "sent")
	before.expect("sent")
	c.subscribe(k.topic("news")).quiet()
}

func stalled(k *kit) {
	const n = 300
	topic := k.topic("news")
	large := strings.Repeat("x", 1<<10)
	held := k.dial("")
	held.subscribe(topic)
	full := make(chan struct{})
	k.locked(func() { held.full = full })
	s, sender := k.dial("").subscribe(topic), k.dial("")
	for i := range n {
		body := strconv.Itoa(i) + large
		if i%2 == 0 {
			k.publish(topic, body)
		} else {
			sender.send(topic, body)
		}
	}
	for i, m := range s.take(n) {
		if string(m.Body) != strconv.Itoa(i)+large {
			k.fatalf("%s: %.10q came as number %d", s.name, m.Body, i)
		}
	}
	close(full)
}

func wildcard(k *kit) {
	c := k.dial("")
	base := k.topic("w")
	sep := string(k.system.Separator)
	to := func(rest string) string { return base + strings.ReplaceAll(rest, "/", sep) }
	sent := []string{"", "/a", "/b", "/a/c", "/b/c", "/a/b/c", "/c", "/a/d"}
	for _, p := range []struct {
		pattern string
		fits    []string
	}{
		{"/*", []string{"/a", "/b", "/c"}},
		{"/**", sent},
		{"/*/c", []string{"/a/c", "/b/c"}},
		{"/**/c", []string{"/a/c", "/b/c", "/a/b/c", "/c"}},
		{"/a/**", []string{"/a", "/a/c", "/a/b/c", "/a/d"}},
		{"/a/*/c", []string{"/a/b/c"}},
		{"/a/c", []string{"/a/c"}},
	} {
		s, also := c.subscribe(to(p.pattern)), c.subscribe(to("/**"))
		for _, rest := range sent {
			c.send(to(rest), rest)
		}
		for _, m := range s.expect(p.fits...) {
			if m.Destination != to(string(m.Body)) {
				k.fatalf("%s: a message that was sent to %q came under %q", c.name, to(string(m.Body)), m.Destination)
			}
		}
		also.expect(sent...)
		s.quiet()
		also.quiet()
		s.unsubscribe()
		also.unsubscribe()
	}
}

func user(k *kit) {
	mine := k.queue("mine")
	dest := k.system.User + mine
	ada, also, bob := k.dial("ada").subscribe(dest), k.dial("ada").subscribe(dest), k.dial("bob").subscribe(dest)
	stranger, e := k.dial("").trySubscribe(dest)
	deaf := k.dial("ada").subscribe(k.topic("other"))
	var others []*sub
	if e == nil {
		others = append(others, stranger)
	}
	if k.f.Queues {
		others = append(others, k.dial("bob").subscribe(mine))
	}
	for _, body := range texts(3) {
		k.publishToUser("ada", mine, body)
	}
	k.publishToUser("bob", mine, "bob")
	ada.expect(texts(3)...)
	also.expect(texts(3)...)
	bob.expect("bob")
	for _, s := range append(others, ada, also, bob, deaf) {
		s.quiet()
	}
	also.unsubscribe()
	k.publishToUser("ada", mine, "later")
	ada.expect("later")
}

func userShown(k *kit) {
	mine := k.queue("mine")
	s := k.dial("ada").subscribe(k.system.User + mine)
	k.publishToUser("ada", mine, "one")
	if m := s.expect("one")[0]; m.Destination != s.destination {
		k.fatalf("what was subscribed as %q came under %q", s.destination, m.Destination)
	}
}

func retainedValue(k *kit) {
	topic := k.topic("state")
	c := k.dial("")
	for _, body := range texts(3) {
		c.send(topic, body, header("retain", "true"))
	}
	for range 2 {
		s := c.subscribe(topic)
		s.expect("message 3")
		s.quiet()
		s.unsubscribe()
	}
	live := c.subscribe(topic)
	live.expect("message 3")
	c.send(topic, "passing")
	live.expect("passing")
	late := k.dial("").subscribe(topic)
	late.expect("message 3")
	live.quiet()
	late.quiet()
	if k.f.Wildcards {
		all := k.dial("").subscribe(topic + string(k.system.Separator) + "**")
		if m := all.expect("message 3")[0]; m.Destination != topic {
			k.fatalf("what %q retains came under %q", topic, m.Destination)
		}
		all.quiet()
	}
}

func selector(k *kit) {
	topic := k.topic("trades")
	c := k.dial("")
	picks := c.subscribe(topic, header("selector", "kind = 'a' AND size > 10"))
	all := c.subscribe(topic)
	send := func(body, kind, size string) {
		c.send(topic, body, header("kind", kind), header("size", size))
	}
	send("one", "a", "11")
	send("two", "b", "11")
	send("three", "a", "10")
	send("four", "a", "100")
	c.send(topic, "five")
	picks.expect("one", "four")
	all.expect("one", "two", "three", "four", "five")
	picks.quiet()
	if k.f.Queues {
		queue := k.queue("jobs")
		a := k.dial("").subscribe(queue, header("selector", "kind = 'a' AND size > 10"))
		c.send(queue, "one", header("kind", "b"), header("size", "11"))
		c.send(queue, "two", header("kind", "a"), header("size", "11"))
		a.expect("two")
		a.quiet()
		a.unsubscribe()
		k.dial("").subscribe(queue).expect("one")
	}
	if _, e := c.trySubscribe(topic, header("selector", "kind = ")); e == nil {
		k.fatalf("the selector %q was accepted", "kind = ")
	}
}
