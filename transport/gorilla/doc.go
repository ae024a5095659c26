// Package gorilla is WebSocket (RFC 6455) on github.com/gorilla/websocket.
package gorilla
