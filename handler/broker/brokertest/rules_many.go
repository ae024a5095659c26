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
