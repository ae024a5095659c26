package otel

import (
	"context"
	"time"

	"github.com/weftws/weft/subprotocol"
)

// StartSend begins a span "send" for a message that a client is about to send, below that
// of ctx, and writes its trace context into the header of m, which must be the caller's alone.
// end is to be called once, with what sending returned:
//
//	ctx, end := t.StartSend(ctx, m)
//	err := c.SendReceipt(ctx, m)
//	end(err)
func (t *Telemetry) StartSend(ctx context.Context, m *subprotocol.Message) (_ context.Context, end func(err error)) {
	begin := time.Now()
	f := t.form(opSend, 0, m.Destination)
	ctx, span := t.tracer.Start(ctx, f.name, f.start...)
	t.Inject(ctx, m)
	if span.IsRecording() {
		t.describe(ctx, span, nil, m)
	}
	return ctx, func(err error) { t.end(ctx, t.sending, f, span, nil, begin, err) }
}

// StartReceive begins a span "receive" for a message that came to a client, below the
// publication's that m carries: a client trusts its server. Without one it is below that of
// ctx. end is to be called once, with what became of it.
func (t *Telemetry) StartReceive(ctx context.Context, m *subprotocol.Message) (_ context.Context, end func(err error)) {
	begin := time.Now()
	f := t.form(opReceive, 0, m.Destination)
	ctx, span := t.tracer.Start(t.Extract(ctx, m), f.name, f.start...)
	if span.IsRecording() {
		t.describe(ctx, span, nil, m)
	}
	return ctx, func(err error) { t.end(ctx, t.processing, f, span, nil, begin, err) }
}
