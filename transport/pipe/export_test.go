package pipe

// QueuedItems is how many items wait to be received by c.
func QueuedItems(c *Conn) int {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	n := 0
	for it := c.in.head; it != nil; it = it.next {
		n++
	}
	return n
}
