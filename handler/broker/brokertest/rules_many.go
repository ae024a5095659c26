package brokertest

import (
	"fmt"
	"slices"

	"github.com/weftws/weft/subprotocol"
)

func many(k *kit) {
	const sessions, each = 24, 20
	topic, queue := k.topic("news"), k.queue("jobs")
	staying := k.dial("").subscribe(topic)
	settled := make(map[string]int) // how often each message was, guarded by kit.mu
	total := sessions * each
	if !k.f.Queues {
		total = 0
	}
	k.together(sessions, func(i int) {
		c := k.dial("")
		heard := c.subscribe(topic)
		var s *sub
		switch {
		case !k.f.Queues:
		case k.f.Acks:
			s = c.subscribe(queue, window(individualMode, 1+i%7))
		case i%4 != 0: // what a session has that breaks is lost in the mode auto
			s = c.subscribe(queue)
		}
		for j := range each {
			body := fmt.Sprintf("%d %d", i, j)
			c.post(topic, body)
			if k.f.Queues {
				c.send(queue, body)
			}
			if j%5 == i%5 {
				other := c.subscribe(topic)
				other.unsubscribe()
			}
		}
		c.round()
		heard.take(each) // its own at least
		if i%4 == 0 {
			c.drop()
			return
		}
		for s != nil {
			m := s.nextOr(func() bool { return len(settled) >= total })
			if m == nil {
				s.unsubscribe()
				return
			}
			if k.f.Acks {
				s.ack(m)
			}
			k.locked(func() { settled[string(m.Body)]++ })
		}
	})
	got := said(staying.take(sessions * each))
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != sessions*each {
		k.fatalf("of %d messages of the topic %d came", sessions*each, n)
	}
	staying.quiet()
	for body, n := range settled {
		if n != 1 {
			k.fatalf("%q was settled %d times", body, n)
		}
	}
	if k.f.Queues && k.f.Acks {
		k.settles(queue)
	}
}

// nextOr waits for a delivery, and returns nil if over comes before. It is asked under
// the lock.
func (s *sub) nextOr(over func() bool) *subprotocol.Message {
	var m *subprotocol.Message
	s.wait("a delivery of "+s.destination+", of which some are not settled", func() bool {
		if len(s.got) > s.read {
			m = s.got[s.read]
			s.read++
			return true
		}
		return over()
	})
	return m
}

// transfer moves messages from one queue to another in transactions, some of which are
// aborted, and some broken off while they are being committed.
func transfer(k *kit) {
	const n, workers = 120, 6
	from, to := k.queue("from"), k.queue("to")
	sender, collector := k.dial(""), k.dial("").subscribe(to)
	sender.sendAll(from, texts(n)...)
	moved := func() bool { return len(collector.got) >= n }
	k.together(workers, func(i int) {
		for round := 0; ; round++ {
			c := k.dial("")
			s := c.subscribe(from, window(individualMode, 1+i%3))
			for turn := range 8 {
				m := s.nextOr(moved)
				if m == nil {
					s.unsubscribe()
					return
				}
				c.transaction(subprotocol.KindBegin, "t")
				c.post(to, string(m.Body), inTransaction("t"))
				c.write(s.settled(subprotocol.KindAck, m.ID, inTransaction("t")))
				switch turn {
				case 3:
					c.transaction(subprotocol.KindAbort, "t")
					s.ackAgain(m, to)
				case 7:
					c.write(&subprotocol.Message{Kind: subprotocol.KindCommit, Transaction: "t"})
				default:
					c.transaction(subprotocol.KindCommit, "t")
				}
			}
			c.drop()
		}
	})
	got := said(collector.take(n))
	collector.quiet()
	want := texts(n)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		k.fatalf("of %d messages %d have moved", n, len(slices.Compact(got)))
	}
	k.settles(from)
}

// ackAgain moves m, which is still unsettled.
func (s *sub) ackAgain(m *subprotocol.Message, to string) {
	s.transaction(subprotocol.KindBegin, "again")
	s.write(s.settled(subprotocol.KindAck, m.ID, inTransaction("again")))
	s.post(to, string(m.Body), inTransaction("again"))
	s.transaction(subprotocol.KindCommit, "again")
}

func leak(k *kit) {
	c, other := k.dial("ada"), k.dial("ada")
	for _, c := range []*client{c, other} {
		c.subscribe(k.topic("news")).quiet()
		if k.f.Queues && k.f.Acks {
			c.subscribe(k.queue("jobs"), with(individualMode))
		}
		if k.f.UserDestinations {
			c.subscribe(k.system.User + k.queue("mine"))
		}
	}
	if k.f.Queues {
		c.sendAll(k.queue("jobs"), texts(3)...)
	}
	other.drop()
	c.send(k.topic("news"), "end")
}
