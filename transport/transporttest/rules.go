package transporttest

import "time"

// The names of the rules.
const (
	ruleOpenFirst       = "open-first"
	ruleOrder           = "order"
	ruleIntact          = "intact"
	ruleHead            = "head"
	ruleShared          = "shared"
	ruleWriteCopies     = "write-copies"
	ruleDataValid       = "data-valid"
	ruleDataOwn         = "data-own"
	ruleOneReceive      = "one-receive"
	ruleDuplex          = "duplex"
	ruleBadType         = "bad-type"
	ruleUTF8            = "utf8"
	ruleLimit           = "limit"
	ruleClosedOnce      = "closed-once"
	ruleClosedLast      = "closed-last"
	ruleAfterClosed     = "after-closed"
	ruleClosedError     = "closed-error"
	ruleCloseReason     = "close-reason"
	ruleCloseLocal      = "close-local"
	ruleCloseDrains     = "close-drains"
	ruleCloseInReceive  = "close-in-receive"
	ruleCloseInOpen     = "close-in-open"
	ruleCloseWrite      = "close-during-write"
	ruleCloseUnanswered = "close-unanswered"
	ruleCloseTwice      = "close-twice"
	ruleCloseBoth       = "close-both"
	ruleCloseCheck      = "close-check"
	ruleWriteAfterEnd   = "write-after-end"
	ruleWriteWaits      = "write-never-waits"
	ruleWritableComes   = "writable-comes"
	ruleWritableOnce    = "writable-once"
	ruleWritableReceive = "writable-in-receive"
	ruleExactlyOnce     = "exactly-once"
	ruleYield           = "yield"
	ruleYieldOutside    = "yield-outside"
	rulePause           = "pause"
	rulePing            = "ping"
	rulePingYield       = "ping-while-yielded"
	rulePingEnds        = "ping-ends"
	ruleHandshake       = "handshake"
	ruleRefuse          = "refuse"
	ruleAdmission       = "admission"
	ruleSubProtocol     = "sub-protocol"
	ruleLastData        = "last-data"
	ruleVanish          = "vanish"
	ruleLeak            = "leak"
)

const (
	smallLimit = 1000                   // MaxMessageSize for the rule limit
	shortClose = 100 * time.Millisecond // CloseTimeout for close-unanswered
)

// Shorthands for what rules need.
func needs(lack string, has func(f *Features) bool) func(*Features) string {
	return func(f *Features) string {
		if has(f) {
			return ""
		}
		return lack
	}
}

var (
	needsStall     = needs("Stall", func(f *Features) bool { return f.Stall })
	needsYield     = needs("Yield", func(f *Features) bool { return f.Yield })
	needsPause     = needs("Pause", func(f *Features) bool { return f.Pause })
	needsPing      = needs("Ping", func(f *Features) bool { return f.Ping })
	needsCodes     = needs("CloseCodes", func(f *Features) bool { return f.CloseCodes })
	needsLimit     = needs("Limit", func(f *Features) bool { return f.Limit })
	needsText      = needs("Text and Boundaries", func(f *Features) bool { return f.Text && f.Boundaries })
	needsSub       = needs("SubProtocols", func(f *Features) bool { return f.SubProtocols })
	needsPingYield = needs("Ping and Yield", func(f *Features) bool { return f.Ping && f.Yield })
)

// rules returns all rules in their fixed order: later ones rest on earlier ones.
func rules() []rule {
	return []rule{
		{name: ruleOpenFirst, run: openFirst,
			text: "Nothing is received before Open has returned; what is written inside Open arrives."},
		{name: ruleOrder, run: order,
			text: "Messages arrive in the order in which they were taken."},
		{name: ruleIntact, run: intact,
			text: "Messages of every size arrive whole, with their type and their bytes, all of it in Data."},
		{name: ruleHead, run: head,
			text: "Head and Data arrive as one message."},
		{name: ruleShared, run: shared,
			text: "A Shared arrives intact on every connection that it is written to and is never changed."},
		{name: ruleWriteCopies, run: writeCopies,
			text: "Head and Data are the caller's again when Write returns: what it does to them then does not show."},
		{name: ruleDataValid, run: dataValid,
			text: "Data is valid until Receive returns, whatever comes in meanwhile."},
		{name: ruleDataOwn, run: dataOwn,
			text: "The receiver may change the bytes of Data and append to it, and no other message is harmed."},
		{name: ruleOneReceive, run: oneReceive,
			text: "Receive is called for one message at a time, unless the receiver yields."},
		{name: ruleDuplex, run: duplex,
			text: "Both sides may write at once; what one direction carries does not hold up or harm the other."},
		{name: ruleBadType, run: badType,
			text: "A message type that the transport does not carry is an error that does not unwrap to net.ErrClosed, and the connection is as it was."},
		{name: ruleUTF8, run: invalidText, needs: needsText,
			text: "Text that is not UTF-8 is not received and ends the connection with status 1007."},
		{name: ruleLimit, run: limit, needs: needsLimit,
			text: "A message of MaxMessageSize is received; a larger one is not, and ends the connection with status 1009 on both sides."},
		{name: ruleClosedOnce, run: closedOnce,
			text: "Closed is called exactly once on each side, however the connection ends."},
		{name: ruleClosedLast, run: closedLast,
			text: "Closed comes after the last Receive, which has returned or yielded."},
		{name: ruleAfterClosed, run: afterClosed,
			text: "No call of the receiver follows Closed."},
		{name: ruleClosedError, run: closedError,
			text: "The error of Closed unwraps to net.ErrClosed and is a *CloseError or an *EndError."},
		{name: ruleCloseReason, run: closeReason, needs: needsCodes,
			text: "The code and the reason of Close reach the peer's Closed as a *CloseError."},
		{name: ruleCloseLocal, run: closeLocal,
			text: "The side that called Close gets an *EndError with its code and ErrLocalClose."},
		{name: ruleCloseDrains, run: closeDrains,
			text: "What was taken before Close arrives before the close."},
		{name: ruleCloseInReceive, run: closeInReceive,
			text: "Close may be called inside Receive, before and after Yield, and returns at once."},
		{name: ruleCloseInOpen, run: closeInOpen,
			text: "Close may be called inside Open and ends the connection."},
		{name: ruleCloseWrite, run: closeDuringWrite,
			text: "Close may be called while Write runs: what was taken arrives, and Write says that the connection is over."},
		{name: ruleCloseUnanswered, run: closeUnanswered, needs: needsStall,
			text: "Close returns at once and ends the connection within CloseTimeout, though the peer neither reads nor answers."},
		{name: ruleCloseTwice, run: closeTwice,
			text: "Only the first Close counts; later ones return an error that unwraps to net.ErrClosed."},
		{name: ruleCloseBoth, run: closeBoth,
			text: "Both sides may close at once."},
		{name: ruleCloseCheck, run: closeCheck,
			text: "A Close with a code or a reason that may not be sent is an error, and nothing happens."},
		{name: ruleWriteAfterEnd, run: writeAfterEnd,
			text: "Write after the end takes nothing and returns an error that unwraps to net.ErrClosed."},
		{name: ruleWriteWaits, run: writeNeverWaits, needs: needsStall,
			text: "Write never waits for the peer: when there is no room it returns at once with fewer taken and no error."},
		{name: ruleWritableComes, run: writableComes, needs: needsStall,
			text: "Writable comes after each short Write once there is room, also when there was room before that Write had returned."},
		{name: ruleWritableOnce, run: writableOnce, needs: needsStall,
			text: "Writable comes once for each short Write, and not otherwise."},
		{name: ruleWritableReceive, run: writableInReceive, needs: needsStall,
			text: "Writable comes while a Receive of the same side runs."},
		{name: ruleExactlyOnce, run: exactlyOnce, needs: needsStall,
			text: "What was counted as taken arrives exactly once, and what was not does not arrive."},
		{name: ruleYield, run: yield, needs: needsYield,
			text: "After Yield the next Receive comes while the first one runs, in order, and the first one's Data stays valid; one Yield counts for each Receive."},
		{name: ruleYieldOutside, run: yieldOutside, needs: needsYield,
			text: "Yield outside of Receive does nothing and returns false."},
		{name: rulePause, run: pause, needs: needsPause,
			text: "Nothing is received between Pause and Resume, and afterwards everything is, in order."},
		{name: rulePing, run: ping, needs: needsPing,
			text: "Ping is answered and measures the time; any number may run at once."},
		{name: rulePingYield, run: pingWhileYielded, needs: needsPingYield,
			text: "Ping is answered while the peer runs a Receive that has yielded."},
		{name: rulePingEnds, run: pingEnds, needs: needsPing,
			text: "Ping ends with its context and with the connection, then with an error that unwraps to net.ErrClosed."},
		{name: ruleHandshake, run: handshake, once: true,
			text: "The acceptor sees what the client said; no field that has to be there is nil."},
		{name: ruleRefuse, run: refuse, once: true,
			text: "A refused handshake gives the dialer a *Refusal with status and text, text of other errors is not shown, and Open is called on no side. Where a handshake has no answer, the client's connection ends and brings nothing."},
		{name: ruleAdmission, run: admissionOnce, once: true,
			text: "Exactly one of Open and Abort is called for each admission, exactly once, also when the client goes away."},
		{name: ruleSubProtocol, run: subProtocol, once: true, needs: needsSub,
			text: "The sub-protocol that the admission names is that of both Conns; one that was not offered fails the Dial."},
		{name: ruleLastData, run: lastData,
			text: "What was taken just before the connection broke is received before Closed."},
		{name: ruleVanish, run: vanish,
			text: "A connection that breaks without a close frame gives both sides an *EndError, status 1006 to the one that was left."},
		{name: ruleLeak, run: leak,
			text: "No goroutine is left after the end of the connections and of the server."},
	}
}
