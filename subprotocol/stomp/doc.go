// Package stomp is STOMP in its versions 1.0, 1.1 and 1.2, for servers and clients.
//
// # Use
//
// Give stomp.New(nil) to an endpoint or to a client. Clients ask for [V12], [V11] or
// [V10]; whichever they get, what holds is the version that the headers accept-version
// and version agree on. The specifications are at https://stomp.github.io.
//
// # Options
//
// A nil *[Options] speaks all versions, with limits that suit a server on the Internet.
//
// # Semantics
//
// Headers that the neutral message has fields for become fields and don't stand in its Header:
// destination, id, subscription, receipt, receipt-id, transaction, ack, message-id,
// content-type, content-length, accept-version, version, session, heart-beat, each in the frames
// that STOMP has it in. All others, among them login, passcode and host of a CONNECT, are the
// Header, in order. Of a header that stands more than once the first counts.
// Append writes the fields and leaves out what the Header has under their names.
//
// A CONNECT may lack the header host in every version; a client sends one only if its Connect
// has it in the Header.
//
// What breaks the format is a fatal *subprotocol.Error that names the header and the rule, with
// the receipt of the frame if it asked for one. The codes are malformed, missing-header,
// bad-header, unknown-command, unknown-ack, not-connected, too-large and version.
// Headers are UTF-8 in every version.
//
// A Deliver with an ID may be acknowledged. What the client names in its ACK tells the
// server the ID and the Subscription: in 1.2 the header ack, in 1.1 message-id and
// subscription, in 1.0 message-id. A client's framer puts whatever that is in ID. In 1.2
// message-id stays in the client's Header. A Deliver without an ID wants no
// acknowledgement; its message-id counts, from a number that hardly another session has. A
// Reply is a MESSAGE; one without a Subscription, as a Deliver without one, has the
// subscription "reply".
//
// A subscription without an id, in 1.0 or with Options.Lenient, is a Subscription that has
// a NUL and then the destination. No id can have a NUL. Its MESSAGEs have no subscription.
//
// A RECEIPT says that what the frame asked for is done. Within a transaction that is when its
// COMMIT is: who waits for the RECEIPT of a SEND before that waits for ever. After an ABORT
// the frames before it get none.
//
// An ERROR has the text in its header message and both code and text in its body; that of
// another server has the code "error" and keeps its body. Each ends the connection. In the header
// message of one that comes before CONNECTED a backslash is written as a slash, because clients
// don't agree on whether escapes count there.
//
// Version 1.0 has no escapes: a line break in a header, or a colon in its name, is an error of
// Append there, and padding around a value is lost. Nor do CONNECT and CONNECTED have any, in
// any version. Message.Type is not looked at: a frame whose body is not UTF-8 is binary, and
// others are as the client connected.
//
// STOMP has no word for a server that ends a subscription, for a server's Disconnect and for
// a heartbeat that asks for an answer: Append gives an error.
//
// # Limits
//
// [Options] has them all. A frame may lie in any number of messages, or in chunks of a
// transport without boundaries, and a message may have many; what was read of one is not read again,
// and no memory is taken for what is only announced. A frame that lies in one message is not
// copied.
//
// Destinations, subscriptions, content types and names of headers that came before
// are not allocated again: a connection remembers 16 strings of at most 128 bytes, and longer ones are
// each allocated alone. The other strings of a frame share one allocation.
package stomp
