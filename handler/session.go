package handler

// Session is one client.
type Session struct{}
