package interop

// stompClients are other people's, each driven by a script that takes an address, a
// version and the name of the broker.
var stompClients = []struct{ name, command, script string }{
	{"stomp.py", python, "py/stomp_client.py"},
	{"Net::Stomp", "perl", "pl/stomp_client.pl"},
	{"stompit", "node", "js/stompit_client.mjs"},
}
