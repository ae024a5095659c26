// Package inspect is a live page about endpoints: who is connected, what is queued for them,
// what passes, and a button that ends a session.
//
// # Use
//
// An [Inspector] is an http.Handler, and wraps the transports whose frames are to be seen:
//
//	ins := inspect.New(nil)
//	ep := handler.NewEndpoint(ins.Transport(gobwas.New(nil)), h, handler.WithSubProtocols(stomp.New(nil)))
//	ins.Add("chat", ep)
//	mux := http.NewServeMux()
//	mux.Handle("/ws", ep)
//	mux.Handle("/inspect/", http.StripPrefix("/inspect", ins))
//	srv := &http.Server{Addr: "127.0.0.1:8080", Handler: mux}
//	srv.RegisterOnShutdown(ins.Close)
//	log.Fatal(srv.ListenAndServe())
//
// The folder example has a whole program with robots that talk; go run ./example shows it.
//
// # Options
//
// [Options] may be nil. The page answers to this machine alone: the request must come from a loopback
// address, ask for localhost or a loopback address (so that no name can be rebound to it), and have
// passed no proxy; one that does not show in the request, with a Host of localhost, can't be told
// from a browser here. Options.AllowRemote lifts that: put your own log-in around the handler first.
//
// # Semantics
//
// The charts and the list are read from the endpoint every second or two while somebody looks. The page
// lists 100 sessions, those with the longest queues first, or by another column, or those
// in which a text is found.
//
// The frames of a session are what its transport delivers and takes: messages of the
// sub-protocol, as they pass from the moment somebody watches. A session is listed once its
// Connect is accepted, so that its first frames are not seen. A frame out is shown when the
// transport has taken it; an answer that comes very fast can stand before what it
// answers. A viewer that is too slow misses the oldest frames, and is told how many.
//
// Credentials are masked before anything is sent to the page. Frames of STOMP, JSON and msgpack
// are taken apart, with the values in their values (a body of JSON in an envelope of msgpack, JSON
// in a string, base64), and the values whose names say that they are credentials are not shown:
// authorization, passcode, password, token, secret, cookie, API key, session id and the like, in
// whatever case and with whatever hyphens, and what Options.Secret adds. So it is for pairs
// such as ["token", "..."], and for the parameters of URLs. Other texts are shown up to the first
// such word. What has no names for its parts is shown by its size alone: plain text and its
// bodies, values of arrays that stand in no object, other binary, parts of a STOMP frame; see Options.Opaque.
//
// A page of another origin gets nothing: all but the page itself needs a header with a token that
// the page alone knows. Texts of clients reach the page as text, cut to 256 bytes, or 4 KiB for
// a frame, with what is invisible or turns text around written as \u{202e}.
//
// # Limits
//
// A credential in a value whose name does not say so is shown: in an array of positional parameters,
// in a chat message, encrypted in a way of one's own. The page is for those who may see what clients send.
//
// A listing looks at sessions for 250 ms and says when that was not enough; one runs at a
// time. A watch holds 256 frames and 1 MiB, shows frames of up to Options.MaxFrame, and ends after
// Options.WatchTime. Options.MaxViewers bounds pages and watches.
//
// The page belongs to the process that served it: behind a balancer its requests must come to the
// same one. What is around the handler must be able to flush answers, and flush them: a
// compressing middleware has to leave it out.
//
// A session that nobody watches costs an atomic load for each call of its transport and 48 bytes.
// One that is watched costs a copy of each frame on its way; the rest is done for the viewer.
package inspect
