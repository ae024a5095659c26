// Package client is the client's end of every sub-protocol, over every
// transport.Dialer.
package client
