//go:build !linux

package main

func rabbitmqRow() row {
	r := rabbitmq
	r.Unavailable = "it is started on Linux only"
	return r
}
