// Package transport has the contract between whatever moves bytes and whatever
// gives them a meaning.
//
// A [Transport] accepts connections and pushes whole messages into a [Receiver];
// nobody calls Read. That is what lets a goroutine for each connection, an event
// loop, and HTTP requests that come and go carry the same sessions. The other
// direction is a [Conn], whose Write takes what there is room for and never waits
// for the peer.
//
// # Opening
//
// Accepting has two steps. An [Acceptor] sees the [Handshake] before the answer
// is written, and refuses it with a [Refusal] or returns an [Admission]. Once the
// answer is out, Admission.Open exchanges the Conn for the Receiver, and only then
// is the first byte read. A [Dialer] opens the same way from the client's side.
//
// # Ending
//
// Closed is called exactly once for each Receiver. Its error tells what the peer
// said (a [CloseError]) from what was found on this side (an [EndError]); both
// unwrap to net.ErrClosed, as does every error of a method that found the
// connection gone.
//
// # Implementations
//
// The folders beside this one list them: pipe, in memory, the reference; gobwas and
// gorilla, WebSocket on the libraries of these names; tcp, byte streams;
// sockjs, requests where WebSocket does not get through. The package transporttest holds
// the rules of this contract as tests; an implementation that passes its Run
// works under every part of weft.
//
// Optional powers are small exported interfaces ([Yielder], [Pauser], [Pinger],
// [RoundTripTimer], [ListenerServer], [Binder], [OriginChecker]), found with [As] through wrappers.
package transport
