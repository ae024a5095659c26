package handler

import (
	"github.com/weftws/weft/subprotocol"
	"github.com/weftws/weft/transport"
)

// connect has the handler decide about the session, and answers. m is the client's
// Connect, or one made for it where the sub-protocol has none.
func (s *Session) connect(m *subprotocol.Message) error {
	if s.connected.Load() {
		return s.reconnect(m)
	}
	s.in.Or(inBegun)
	client := m.Heartbeat
	version := m.Version
	if err := s.endpoint.handler.Handle(s.ctx, Request{Session: s, Message: m}); err != nil {
		s.handlerError(m, err)
		s.endpoint.counts.connectRefused.Add(1)
		shown := s.shownError(err, subprotocol.Error{Code: "refused", Text: "the connection was refused"})
		shown.Fatal = true
		if shown.Status == 0 {
			shown.Status = transport.StatusPolicyViolation
		}
		return s.fail(&shown)
	}
	if !s.framer.Features().Connect {
		s.ready()
		return nil
	}
	err := func() error {
		defer s.ready() // also if it failed or a Sender panics: the handler has accepted, and sees Disconnect
		return s.answerConnect(version)
	}()
	if err != nil {
		s.stop(transport.StatusInternalError, "", err)
		return errStopped
	}
	if !s.framer.Features().Heartbeats {
		client = subprotocol.Heartbeat{}
	}
	s.startHeartbeat(client)
	return nil
}

// ready makes the session one that others may send to. Whoever answers Connect does
// that once the answer is encoded and nothing can come before it any more.
func (s *Session) ready() {
	if !s.connected.Load() {
		s.in.Or(inReady)
		s.endpoint.sessions.show(s)
	}
}

// reconnect has the handler decide about fresh credentials. A refusal leaves the
// session as it is, unless it is fatal.
func (s *Session) reconnect(m *subprotocol.Message) error {
	if !s.framer.Features().Reconnect {
		return s.fail(&subprotocol.Error{Code: "connected", Text: "this session is connected already", Fatal: true})
	}
	receipt, version := m.Receipt, m.Version
	if err := s.endpoint.handler.Handle(s.ctx, Request{Session: s, Message: m}); err != nil {
		s.handlerError(m, err)
		shown := s.shownError(err, subprotocol.Error{Code: "refused", Text: "the credentials were refused"})
		shown.Receipt = receipt
		return s.fail(&shown)
	}
	// What can't be sent was counted.
	_ = s.answerConnect(version)
	return nil
}

// answerConnect sends Connected.
func (s *Session) answerConnect(version string) error {
	m := subprotocol.Message{Kind: subprotocol.KindConnected, Version: version, ID: s.id}
	if s.framer.Features().Heartbeats {
		m.Heartbeat = s.endpoint.cfg.heartbeat
	}
	if user := s.User(); user != "" {
		m.Header = subprotocol.Header{{Name: userName, Value: user}}
	}
	_, err := s.reply(s.endpoint.pools.scratch(&m))
	return err
}

// userName is the header of Connected that says as whom the client is known.
const userName = "user-name"
