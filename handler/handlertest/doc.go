// Package handlertest has the one table of stacks that weft's behaviour tests and
// benchmarks range over: every transport, in every way to mount it, with every
// sub-protocol and codec.
//
//	for _, stack := range handlertest.Stacks() {
//		t.Run(stack.Name, func(t *testing.T) {
//			server := stack.Start(t, handler.HandlerFunc(handlertest.Echo))
//			client := server.Dial(t)
//			if err := client.Send(&subprotocol.Message{Body: []byte("hello")}); err != nil {
//				t.Fatal(err)
//			}
//			m, err := client.Receive()
//			...
//		})
//	}
//
// A handler or a middleware that behaves alike on all stacks depends on none of
// them. [Stack.Start] serves on loopback only and cleans up at the end of the test;
// what is still there then fails the test.
//
// [Stack.Served] has another project's server carry a row, and [Run] checks what every row
// must carry, so that an adapter's test is a loop over the table.
//
// This is the one package beside tests and programs that imports implementations,
// so a program should not import it: it brings all of them along. Besides them it
// uses only the standard library.
package handlertest
