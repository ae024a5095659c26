// Package envelope is weft's own sub-protocol: each transport message is one
// envelope, a flat set of named fields, in JSON or in msgpack.
//
// # Use
//
// Give envelope.NewJSON(nil), envelope.NewMsgpack(nil) or both to an endpoint.
// Clients ask for [JSON] or [Msgpack]; a browser gets by with JSON.parse. SPEC.md
// beside this file is all that a client in another language needs, and
// client.js is one for browsers.
//
// # Options
//
// A nil *[Options] has limits that suit a server on the Internet. They are about
// what comes in; what goes out is the other side's to judge.
//
// # Semantics
//
// Both forms have the same kinds and fields, from one table, and are strict: a field
// that is unknown, repeated, mistyped, missing or out of place in that kind, and a
// kind of the wrong side, is a *subprotocol.Error that names the field and carries the receipt of the
// request, if there was one. It is not fatal: the envelope is discarded and the
// session goes on. Bytes that are no JSON or msgpack at all are fatal.
//
// The version of a Connect is what both sides speak, today always "1"; an empty one
// goes out as "1". Heartbeats are rounded up to whole milliseconds. The Status of an Error does not travel:
// the close frame has it. Append writes the fields that the kind has. Other strings
// of the message are not sent, so that a Send can be turned into a Deliver
// as it is, but a Body where there is no place for one is an error.
//
// A body arrives as the bytes that were sent, in both forms. In the JSON form it stands as JSON if
// its content type is JSON (application/json, +json or none) and it is a JSON value with
// no space around it, else as text if it is UTF-8, else as base64. Its numbers and escapes
// are not touched, and names that stand twice are left to the codec.
//
// # Limits
//
// [Options] has them all. The msgpack form needs binary messages and is refused
// where a transport has none. A Deliver is one envelope; nothing is cut in pieces.
//
// Destinations, subscriptions, content types and names of header fields that came
// before are not allocated again: a connection remembers 16 strings of at most 128
// bytes, and longer ones are each allocated alone. The other strings of an envelope
// share one allocation, so that whoever keeps a receipt keeps the values of the header
// with it.
package envelope
