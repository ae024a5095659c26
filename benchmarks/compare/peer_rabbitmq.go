package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
)

// RabbitMQ with the plugins for STOMP, without a disk: its messages are not
// persistent. Publications come over a connection of STOMP from this process.
var rabbitmq = row{
	Name: "rabbitmq", Library: "rabbitmq-server", Kind: "broker", Framing: "websocket", SubProtocol: "v12.stomp",
	URL: "https://www.rabbitmq.com/docs/web-stomp", Limit: "not stated", Envelope: 139, UTF8: true,
	Hello: []frame{
		{"text", []byte(rabbitmqConnect)},
		{"text", []byte("SUBSCRIBE\nid:1\ndestination:/topic/bench\nreceipt:1\n\n\x00")},
	},
	Ready: "RECEIPT",
	Queue: &queue{Connect: []byte(rabbitmqConnect), Destination: "/queue/bench"},
	Note:  "Erlang, STOMP over WebSocket; fan-out and queues only; its stats are empty; nothing is persistent; schedulers that wait for work spin",
}

const (
	rabbitmqPlugins = "[rabbitmq_stomp,rabbitmq_web_stomp].\n"
	rabbitmqConf    = "listeners.tcp = none\nstomp.listeners.tcp.1 = 127.0.0.1:%s\nweb_stomp.tcp.ip = 127.0.0.1\n" +
		"web_stomp.tcp.port = %s\ndisk_free_limit.absolute = 1MB\nlog.console = false\nlog.file = false\n"
)

const rabbitmqConnect = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\nheart-beat:0,0\n\n\x00"

// stompPublisher connects to where a broker speaks STOMP over TCP.
func stompPublisher(addr, connect, destination string) (func() error, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write([]byte(connect)); err != nil {
		return nil, err
	}
	answer, err := bufio.NewReader(nc).ReadString(0)
	if err != nil || !strings.HasPrefix(answer, "CONNECTED") {
		return nil, fmt.Errorf("the answer to CONNECT is %.80q: %w", answer, err)
	}
	send := fmt.Appendf(nil, "SEND\ndestination:%s\n\n%s\x00", destination, message)
	return func() error {
		_, err := nc.Write(send)
		return err
	}, nil
}
