// Package subprotocol has the contract between transport messages and the
// messages that an application works on.
//
// A [SubProtocol] is a wire format and nothing else. It makes a [Framer] for each
// connection, which turns transport messages into neutral [Message] values and
// back. What the messages mean (when a session is connected, what a receipt
// promises, how a heartbeat is answered) lives once, in package handler, for all
// sub-protocols.
//
// What a sub-protocol lacks it declares in [Features]. Optional powers are the small
// interfaces [Former], [Splitter] and [Partialer].
//
// # Implementations
//
// The folders beside this one list them: raw, one transport message one Message;
// envelope, messages with destinations as JSON or msgpack; stomp, STOMP 1.0, 1.1 and
// 1.2. The package subprotocoltest holds the rules of this contract as tests.
package subprotocol
