package brokertest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftws/weft/subprotocol"
)

const (
	clientMode     = subprotocol.AckClient
	individualMode = subprotocol.AckClientIndividual
)

// sendAll sends each body to destination.
func (c *client) sendAll(destination string, bodies ...string) {
	for _, body := range bodies {
		c.send(destination, body)
	}
}

// unread waits until one of subs has a delivery that the rule has not seen, and returns
// which.
func (k *kit) unread(subs ...*sub) *sub {
	i := -1
	ok := k.wait(func() bool {
		i = slices.IndexFunc(subs, func(s *sub) bool { return len(s.got) > s.read })
		return i >= 0
	})
	if !ok {
		k.fatalf("on %s nothing came to any of %d consumers", subs[0].destination, len(subs))
	}
	return subs[i]
}

func competing(k *kit) {
	const n = 200
	queue := k.queue("jobs")
	var subs []*sub
	for range 4 {
		subs = append(subs, k.dial("").subscribe(queue))
	}
	elsewhere := k.dial("").subscribe(k.queue("other"))
	k.together(2, func(i int) {
		c := k.dial("")
		for j := range n / 2 {
			c.send(queue, strconv.Itoa(2*j+i))
		}
	})
	count := func() int {
		all := 0
		for _, s := range subs {
			all += len(s.got)
		}
		return all
	}
	if !k.wait(func() bool { return count() >= n }) {
		k.fatalf("of %d messages not all have come", n)
	}
	for _, s := range subs {
		s.round()
	}
	elsewhere.quiet()
	came := make(map[string]int)
	for _, s := range subs {
		last := [2]int{-1, -1}
		for _, body := range said(s.take(len(s.all()))) {
			came[body]++
			number, _ := strconv.Atoi(body)
			if from := number % 2; number <= last[from] {
				k.fatalf("%s: message %d came after %d of the same sender", s.name, number, last[from])
			} else {
				last[from] = number
			}
		}
	}
	for i := range n {
		if c := came[strconv.Itoa(i)]; c != 1 {
			k.fatalf("message %d came %d times", i, c)
		}
	}
}

// all are the deliveries so far.
func (s *sub) all() []*subprotocol.Message {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	return slices.Clone(s.got)
}

func fifo(k *kit) {
	queue := k.queue("jobs")
	c := k.dial("")
	s := k.dial("").subscribe(queue)
	bodies := texts(numberOfMessages)
	for i, body := range bodies {
		if i%5 == 0 {
			k.publish(queue, body)
		} else {
			c.send(queue, body)
		}
	}
	s.expect(bodies...)
	s.quiet()
}

func kept(k *kit) {
	queue := k.queue("jobs")
	c := k.dial("")
	bodies := texts(numberOfMessages)
	c.sendAll(queue, bodies...)
	k.publish(queue, "published")
	s := k.dial("").subscribe(queue)
	s.expect(append(bodies, "published")...)
	s.quiet()
	s.unsubscribe()
	c.send(queue, "later")
	s = k.dial("").subscribe(queue)
	s.expect("later")
	s.quiet()
}

func autoMode(k *kit) {
	queue := k.queue("jobs")
	c, first := k.dial(""), k.dial("")
	s := first.subscribe(queue)
	c.sendAll(queue, texts(3)...)
	for _, m := range s.expect(texts(3)...) {
		if m.ID != "" {
			k.fatalf("the delivery of %q has the ID %q", m.Body, m.ID)
		}
	}
	first.drop()
	next := k.dial("").subscribe(queue)
	c.send(queue, "later")
	next.expect("later")
	next.quiet()
}

func individual(k *kit) {
	queue := k.queue("jobs")
	c, first := k.dial(""), k.dial("")
	s := first.subscribe(queue, with(individualMode))
	c.sendAll(queue, texts(5)...)
	got := s.expect(texts(5)...)
	s.ack(got[3])
	s.ack(got[1])
	first.drop()
	k.settles(queue, "message 1", "message 3", "message 5")
}

// settles has a new consumer get exactly these messages and settle them, which leaves the
// queue empty.
func (k *kit) settles(queue string, bodies ...string) {
	c := k.dial("")
	s := c.subscribe(queue, with(individualMode))
	got := s.expect(bodies...)
	s.quiet()
	for _, m := range got {
		s.ack(m)
	}
	c.drop()
	s = k.dial("").subscribe(queue, with(individualMode))
	s.quiet()
	s.send(queue, "after these")
	s.ack(s.expect("after these")[0])
	s.unsubscribe()
}

func cumulative(k *kit) {
	queue := k.queue("jobs")
	c, first := k.dial(""), k.dial("")
	s := first.subscribe(queue, with(clientMode))
	c.sendAll(queue, texts(5)...)
	got := s.expect(texts(5)...)
	s.ack(got[0])
	s.ack(got[2])
	first.drop()
	k.settles(queue, "message 4", "message 5")
}

func consumerGone(k *kit) {
	queue := k.queue("jobs")
	c, first, second := k.dial(""), k.dial(""), k.dial("")
	s := first.subscribe(queue, with(individualMode))
	c.sendAll(queue, texts(5)...)
	s.expect(texts(5)...)
	waits := second.subscribe(queue, with(clientMode))
	waits.quiet()
	first.drop()
	waits.expect(texts(5)...)
	waits.quiet()
	// Nothing was settled yet, so that the next one gets it all again.
	second.drop()
	k.settles(queue, texts(5)...)
}

func consumerLeft(k *kit) {
	queue := k.queue("jobs")
	c, first := k.dial(""), k.dial("")
	s := first.subscribe(queue, with(individualMode))
	c.sendAll(queue, texts(3)...)
	got := s.expect(texts(3)...)
	s.ack(got[0])
	s.unsubscribe()
	k.settles(queue, "message 2", "message 3")
}

func marked(k *kit) {
	queue := k.queue("jobs")
	c, first := k.dial(""), k.dial("")
	s := first.subscribe(queue, with(individualMode))
	c.sendAll(queue, texts(3)...)
	for _, m := range s.expect(texts(3)...) {
		k.attempt(m, 1)
	}
	first.drop()
	second := k.dial("")
	s = second.subscribe(queue, with(individualMode))
	for _, m := range s.expect(texts(3)...) {
		k.attempt(m, 2)
	}
	c.send(queue, "new")
	k.attempt(s.expect("new")[0], 1)
	second.drop()
	s = k.dial("").subscribe(queue, with(individualMode))
	for i, m := range s.expect(append(texts(3), "new")...) {
		k.attempt(m, 3-i/3)
	}
}

// attempt says which delivery of its message m is.
func (k *kit) attempt(m *subprotocol.Message, n int) {
	again := m.Header.Get("redelivered") == "true"
	if again != (n > 1) {
		k.fatalf("delivery %d of %q has redelivered:%s", n, m.Body, m.Header.Get("redelivered"))
	}
	count := m.Header.Get("delivery-count")
	if k.f.DeliveryCount && n > 1 && count != strconv.Itoa(n) {
		k.fatalf("delivery %d of %q has delivery-count:%s", n, m.Body, count)
	}
}

func refusedDelivery(k *kit) {
	queue := k.queue("jobs")
	c := k.dial("")
	subs := []*sub{
		k.dial("").subscribe(queue, window(individualMode, 1)), k.dial("").subscribe(queue, window(individualMode, 1)),
	}
	c.send(queue, "one")
	has := k.unread(subs...)
	free := subs[0]
	if has == free {
		free = subs[1]
	}
	has.nack(has.expect("one")[0])
	m := free.expect("one")[0]
	if k.f.Redelivered {
		k.attempt(m, 2)
	}
	has.quiet()
	free.ack(m)
	free.unsubscribe()
	c.send(queue, "two")
	has.nack(has.expect("two")[0])
	has.ack(has.expect("two")[0])
	has.quiet()
	has.unsubscribe()
	// In the mode client a NACK, too, is about all before.
	both := k.dial("").subscribe(queue, with(clientMode))
	c.sendAll(queue, texts(3)...)
	both.nack(both.expect(texts(3)...)[1])
	both.ack(both.expect(texts(2)...)[1])
	both.unsubscribe()
	k.settles(queue)
}

func prefetchWindow(k *kit) {
	queue := k.queue("jobs")
	c := k.dial("")
	c.sendAll(queue, texts(4)...)
	s := k.dial("").subscribe(queue, window(individualMode, 2))
	got := s.expect("message 1", "message 2")
	c.sendAll(queue, "message 5", "message 6")
	s.quiet()
	s.ack(got[1])
	got = append(got, s.expect("message 3")...)
	s.quiet()
	s.ack(got[0])
	s.ack(got[2])
	got = s.expect("message 4", "message 5")
	s.quiet()
	s.ack(got[0])
	s.ack(got[1])
	s.ack(s.expect("message 6")[0])
	s.quiet()
	s.unsubscribe()
	all := k.dial("").subscribe(queue, window(clientMode, 3))
	c.sendAll(queue, texts(7)...)
	all.ack(all.expect(texts(3)...)[2])
	all.ack(all.expect(texts(6)[3:]...)[2])
	all.ack(all.expect("message 7")[0])
	all.quiet()
}

func unknownAck(k *kit) {
	queue := k.queue("jobs")
	c, first, second := k.dial(""), k.dial(""), k.dial("")
	s := first.subscribe(queue, with(individualMode))
	c.sendAll(queue, texts(2)...)
	got := s.expect(texts(2)...)
	stranger := second.subscribe(queue, with(individualMode))
	kinds := []subprotocol.Kind{subprotocol.KindAck}
	if k.f.Nacks {
		kinds = append(kinds, subprotocol.KindNack)
	}
	refused := func(what string, s *sub, id string) {
		for _, kind := range kinds {
			switch e := s.request(s.settled(kind, id)); {
			case e == nil:
				k.fatalf("the %v of %s was accepted", kind, what)
			case !strings.Contains(e.Text, id):
				k.fatalf("the %v of %s was refused with %q, which does not name %q", kind, what, e.Text, id)
			}
		}
	}
	refused("what was never delivered", s, "no-such-id")
	refused("what another consumer has", stranger, got[0].ID)
	s.ack(got[0])
	refused("what is settled", s, got[0].ID)
	s.quiet()
	stranger.quiet()
	stranger.unsubscribe()
	first.drop()
	k.settles(queue, "message 2")
}

func neverAcks(k *kit) {
	const n = 30
	queue := k.queue("jobs")
	c := k.dial("")
	idle, s := k.dial("").subscribe(queue, window(individualMode, 1)), k.dial("").subscribe(queue, window(individualMode, 5))
	c.sendAll(queue, texts(n)...)
	for range n - 1 {
		s.ack(s.take(1)[0])
	}
	s.quiet()
	idle.take(1)
	idle.quiet()
}

func topicAcknowledged(k *kit) {
	topic := k.topic("news")
	c := k.dial("")
	subs := []*sub{
		k.dial("").subscribe(topic, window(individualMode, 1)), k.dial("").subscribe(topic, window(individualMode, 1)),
		k.dial("").subscribe(topic),
	}
	c.sendAll(topic, texts(3)...)
	subs[2].expect(texts(3)...)
	one := subs[0].expect("message 1")
	also := subs[1].expect("message 1")
	subs[0].ack(one[0])
	one = subs[0].expect("message 2")
	subs[1].quiet()
	subs[0].ack(one[0])
	subs[0].ack(subs[0].expect("message 3")[0])
	subs[1].ack(also[0])
	subs[1].expect("message 2")
	for _, s := range subs {
		s.quiet()
	}
}

func transaction(k *kit) {
	topic := k.topic("news")
	c := k.dial("")
	s := k.dial("").subscribe(topic)
	c.transaction(subprotocol.KindBegin, "t")
	c.post(topic, "one", inTransaction("t"))
	c.post(topic, "two", inTransaction("t"))
	c.round()
	s.quiet()
	c.send(topic, "between")
	c.transaction(subprotocol.KindCommit, "t")
	s.expect("between", "one", "two")
	c.transaction(subprotocol.KindBegin, "t")
	c.post(topic, "three", inTransaction("t"))
	c.transaction(subprotocol.KindAbort, "t")
	c.send(topic, "four")
	s.expect("four")
	s.quiet()
}

// comeAndGo has consumers subscribe and unsubscribe while a queue is sent to.
func comeAndGo(k *kit) {
	const n, guests = 200, 3
	queue := k.queue("jobs")
	settled := make(map[string]int) // guarded by kit.mu
	done := func() bool { return len(settled) >= n }
	work := func(s *sub, most int) bool {
		for range most {
			m := s.nextOr(done)
			if m == nil {
				return false
			}
			s.ack(m)
			k.locked(func() { settled[string(m.Body)]++ })
		}
		return true
	}
	k.together(guests+2, func(i int) {
		c := k.dial("")
		switch i {
		case 0:
			c.sendAll(queue, texts(n)...)
		case 1:
			s := c.subscribe(queue, window(individualMode, 1))
			work(s, 2*n)
			s.unsubscribe()
		default:
			for more := true; more; {
				s := c.subscribe(queue, window(individualMode, 1+i))
				more = work(s, 1) // and leaves with what else it has
				s.unsubscribe()
			}
		}
	})
	for _, body := range texts(n) {
		if settled[body] != 1 {
			k.fatalf("%q was settled %d times", body, settled[body])
		}
	}
	k.settles(queue)
}

func transactionAck(k *kit) {
	queue := k.queue("jobs")
	c, first := k.dial(""), k.dial("")
	s := first.subscribe(queue, with(individualMode))
	c.sendAll(queue, texts(3)...)
	got := s.expect(texts(3)...)
	ack := func(m *subprotocol.Message, end subprotocol.Kind) {
		first.transaction(subprotocol.KindBegin, "t")
		first.write(s.settled(subprotocol.KindAck, m.ID, inTransaction("t")))
		first.transaction(end, "t")
	}
	ack(got[0], subprotocol.KindAbort)
	ack(got[1], subprotocol.KindCommit)
	s.quiet()
	first.drop()
	k.settles(queue, "message 1", "message 3")
}

func atomically(k *kit) {
	queue, topic := k.queue("jobs"), k.topic("news")
	c, first := k.dial(""), k.dial("")
	s, watch := first.subscribe(queue, with(individualMode)), k.dial("").subscribe(topic)
	c.sendAll(queue, texts(2)...)
	got := s.expect(texts(2)...)
	first.transaction(subprotocol.KindBegin, "t")
	first.post(topic, "one", inTransaction("t"))
	first.post(queue, "two", inTransaction("t"))
	first.write(s.settled(subprotocol.KindAck, got[0].ID, inTransaction("t")))
	first.write(s.settled(subprotocol.KindAck, "no-such-id", inTransaction("t")))
	if first.request(&subprotocol.Message{Kind: subprotocol.KindCommit, Transaction: "t"}) == nil {
		k.fatalf("a transaction with an Ack of an unknown ID was committed")
	}
	s.quiet()
	watch.quiet()
	first.drop()
	k.settles(queue, texts(2)...)
}

func deadLetters(k *kit) {
	queue := k.queue("jobs")
	c := k.dial("")
	dead := k.dial("").subscribe("/queue/dead-"+k.unique, with(individualMode))
	s := k.dial("").subscribe(queue, with(individualMode))
	c.send(queue, "poison", header("colour", "green"))
	for range deadAfter {
		s.nack(s.expect("poison")[0])
	}
	m := dead.expect("poison")[0]
	if v := m.Header.Get("colour"); v != "green" {
		k.fatalf("the header of the dead letter is %q, not %q", v, "green")
	}
	dead.ack(m)
	c.send(queue, "sound")
	s.ack(s.expect("sound")[0])
	s.quiet()
	dead.quiet()
}

func timeToLive(k *kit) {
	queue, topic := k.queue("jobs"), k.topic("news")
	c := k.dial("")
	live := c.subscribe(topic)
	// That it is refused is as good.
	_ = c.request(message(queue, "over", []extra{header("expires", "1000")}))
	_ = c.request(message(topic, "over", []extra{header("expires", "1000")}))
	c.send(queue, "brief", header("ttl", "1"))
	c.send(queue, "long", header("ttl", "3600000"))
	later := strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)
	c.send(queue, "until", header("expires", later))
	c.send(topic, "until", header("expires", later))
	for begin := time.Now(); time.Since(begin) < 20*time.Millisecond; {
		c.round()
	}
	s := k.dial("").subscribe(queue)
	s.expect("long", "until")
	s.quiet()
	live.expect("until")
	live.quiet()
}
