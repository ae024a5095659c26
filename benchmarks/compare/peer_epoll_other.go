//go:build !linux

package main

var epoll = row{
	Name: "tcp-epoll", Library: "golang.org/x/sys", Kind: "echo", Framing: "tcp",
	URL:         "https://man7.org/linux/man-pages/man7/epoll.7.html",
	Limit:       "none",
	Unavailable: "epoll is Linux's",
}
