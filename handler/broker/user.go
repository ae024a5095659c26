package broker

import "github.com/weftws/weft/handler"

// UserChanged has the user destinations of s follow its user. Whoever calls
// Session.SetUser while s has subscriptions calls it afterwards; without that the session is
// found under its new name from its next message to the Broker on. What is published to
// the old name it does not get in either case.
func (b *Broker) UserChanged(s *handler.Session) { b.userChanged(s) }

func (b *Broker) userChanged(s *handler.Session) {
	m, ok := b.members.get(s)
	if !ok {
		return
	}
	m.mu.Lock()
	var moved []*subscription
	if m.users > 0 {
		user := s.User()
		if user != m.user {
			m.user = user
			for _, sub := range m.subscriptions {
				if sub.kind == isUser {
					moved = append(moved, sub)
				}
			}
		}
	}
	m.mu.Unlock()
	for _, sub := range moved {
		sub.move()
	}
}

// move puts sub into the topic of its session's user.
func (sub *subscription) move() {
	b := sub.broker
	sub.mu.Lock()
	old := sub.topic
	if !sub.begun || sub.ended() || old == nil || old.user == sub.session.User() {
		sub.mu.Unlock()
		return
	}
	old.remove(sub)
	after, err := b.joinTopic(sub)
	if err != nil {
		sub.topic = nil
	}
	sub.mu.Unlock()
	if err != nil {
		// There are too many destinations: it is better ended than deaf.
		_ = b.CloseSubscription(sub.session, sub.id) // an error says that it has ended already
		return
	}
	if after != nil {
		after()
	}
}
