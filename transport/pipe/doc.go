// Package pipe connects two ends inside one process, without a socket. It is the
// reference implementation of the transport contract, and the test double for
// whatever stands on top of it.
//
// # Use
//
// A [Transport] is bound to an acceptor (an endpoint binds itself) and dialled:
//
//	p := pipe.New(nil)
//	p.Bind(acceptor)
//	conn, err := p.Dial(ctx, "pipe://host/path?query", nil, open)
//
// [Pair] makes two connected ends for tests of a receiver alone. It has no
// handshake.
//
// A test finds the [Conn] behind a transport.Conn with transport.As and makes
// trouble with it: [Conn.SetDelay] makes a direction slow, [Conn.SetFull] makes it
// take nothing, [Conn.Cut] breaks the connection so that both sides notice, and
// [Conn.Vanish] so that the peer does not. Everything here waits on channels,
// mutexes and timers only, so that it works inside a testing/synctest bubble.
//
// # Options
//
// [Options] bounds what a direction holds, how large a message may be and how
// long a close may take.
//
// # Semantics
//
// Each direction is a bounded queue. A Write copies messages into it while there
// is room, and the goroutine that empties it into the peer's Receiver exists only
// while there is something to deliver: an idle connection has no goroutine, no
// timer and no buffer.
//
// Pings and close frames stand in the same queue. A peer that is paused, or held
// up in a Receive that has not yielded, answers neither; a pong therefore says that
// all that was written before the ping has been delivered.
//
// The side that closes discards what still comes in. Its Closed has an
// *transport.EndError with the code and transport.ErrLocalClose, once the peer has
// taken all that was written and the close frame; the peer's Closed has a
// *transport.CloseError. When the peer does not take the close frame within
// CloseTimeout, the error is transport.ErrTimeout too, and the peer still finds the
// frame when it reads on.
//
// # Limits
//
// There is no fragmentation, no compression and no TLS, and the ends must be in the
// same process.
package pipe
