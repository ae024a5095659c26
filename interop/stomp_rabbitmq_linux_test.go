package interop

import "testing"

// Scripts that pass with RabbitMQ are right, and what weft's client can do with it is
// no accident of weft's own server.
func TestInteropRabbitMQ(t *testing.T) {
	foreign(t)
	b := rabbitmq(t)
	t.Run("clients", func(t *testing.T) { eachStompClient(t, b.tcp, "rabbitmq") })
}
