// Package raw is the sub-protocol that adds nothing: one transport message is one
// [subprotocol.Message], and its bytes are the body.
//
// # Use
//
// Give raw.New(nil) to an endpoint whose clients ask for no sub-protocol, or name
// the tokens that clients ask for in [Options].Names. What a client sends reaches
// the handler as a Send without a destination; what a handler sends back, as a
// Reply or a Deliver, reaches the client as one message. A client's framer sees
// the other side: what comes in is a Deliver.
//
// # Options
//
// A nil *[Options] answers clients that offer no sub-protocol, takes messages of
// any size that the transport lets through, and lets the body choose between text
// and binary.
//
// # Semantics
//
// Only Type and Body travel. Send, Deliver and Reply have a wire form, and it is
// the same for all three: the body as it is. Any other kind is an error that wraps
// errors.ErrUnsupported. Other fields of a message have no wire form and are not
// sent; a receiver finds them empty.
//
// Text that goes out is always UTF-8. A message whose Type is MessageText and
// whose body is not UTF-8 is an error. A message without a Type goes out as
// [Options].Type says; without that too it is text if the body is UTF-8 and binary
// if not. The scan that this takes is the one that text needs in any case. Where the
// transport carries only text, a message that would go out as binary is an error.
//
// # Limits
//
// There are no receipts, acknowledgements, errors, heartbeats or subscriptions;
// [subprotocol.Features] says so, and sessions do without. Frames end where
// transport messages end, so a transport without boundaries can't carry them.
//
// A message over the frame limit ends the connection with status 1009. By default
// there is no limit beyond the transport's own.
package raw
