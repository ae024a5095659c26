package handler

import (
	"context"

	"github.com/weftws/weft/subprotocol"
)

// A Handler does what the application does with one message.
//
// Handle runs on the goroutine that read the message; messages of one session
// are handled one after the other, in order, while other sessions' messages are
// handled at the same time. r and all that it points to are valid until Handle
// returns. ctx ends with the session.
//
// An error is shown to the client where the sub-protocol can: the fields of a
// *subprotocol.Error as they are, of any other error only that there was one. A
// panic ends the session with status 1011, not the process.
type Handler interface {
	Handle(ctx context.Context, r Request) error
}

// HandlerFunc is a function that is a Handler.
type HandlerFunc func(ctx context.Context, r Request) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, r Request) error { return f(ctx, r) }

// Request is one message and the session that it came from.
type Request struct {
	Session *Session
	Message *subprotocol.Message

	tx      *transaction // nil outside
	receipt string       // what Message.Receipt was before anybody changed it
}

// OnCommit calls f when all that belongs together has been handled without an
// error, and never if it has not. For a message on its own that is at once, and
// OnCommit returns what f returns. For a part of a transaction it is at the end, and
// OnCommit returns nil. A handler whose effects reach others does them in f.
//
// At the end of a transaction the functions are called in the order of the calls of
// OnCommit, on the goroutine that handles the messages and before the client gets its
// receipts. After an error those that follow are not called, and the client is told
// that only a part was done: what can fail is better checked before. f uses
// Session.Context: what middleware made of the handler's ends when Handle returns.
//
// Middleware that passes on another Request changes a copy of the one it got, so
// that the transaction is not lost.
func (r Request) OnCommit(f func() error) error {
	if r.tx == nil {
		return f()
	}
	r.tx.effects = append(r.tx.effects, f)
	return nil
}

// PathValue returns what the wildcard of that name matched in the pattern that
// routed the message.
func (r Request) PathValue(name string) string { return r.Message.PathValue(name) }
