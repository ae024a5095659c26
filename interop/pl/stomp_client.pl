# Net::Stomp over TCP against a broker that knows guest with the password guest.
#
#	perl stomp_client.pl 127.0.0.1:61613 1.2 weft|rabbitmq [CERTIFICATE]

use strict;
use warnings;
use Net::Stomp;

$| = 1;
my ($address, $version, $broker, $certificate) = @ARGV;
my ($host, $port) = split /:/, $address;
my $weft     = $broker eq 'weft';
my $patience = 10;                  # seconds
my $number   = 0;

sub fresh { my ($kind) = @_; return sprintf '/%s/perl-%d-%d', $kind, $$, ++$number }

sub check { my ($holds, @why) = @_; die join(' ', @why) . "\n" unless $holds; return }

# A connection that never comes back by itself, and CONNECTED or what came instead.
sub hello {
    my ($passcode) = @_;
    my $c = Net::Stomp->new({
        hostname => $host, port => $port, timeout => $patience,
        reconnect_attempts => 1, connect_delay => 0,
        $certificate ? (ssl => 1, ssl_options => { SSL_ca_file => $certificate }) : (),
    });
    my $frame = $c->connect({
        login => 'guest', passcode => $passcode, host => '/', 'accept-version' => $version,
    });
    check($frame, 'no answer to CONNECT');
    return ($c, $frame);
}

sub connected {
    my ($c, $frame) = hello('guest');
    check($frame->command eq 'CONNECTED', 'no CONNECTED but', $frame->as_string);
    return $c;
}

sub next_frame {
    my ($c, $command) = @_;
    my $frame = $c->receive_frame({ timeout => $patience });
    check($frame, "no $command came");
    check($frame->command eq $command, "no $command but", $frame->as_string);
    return $frame;
}

# Sends a frame and waits until the server has done what it asks for. Messages that
# come before the receipt would be lost, so none may be due.
sub done {
    my ($c, $command, %headers) = @_;
    my $body    = delete $headers{body};
    my $receipt = 'r' . ++$number;
    $c->send_frame(Net::Stomp::Frame->new({
        command => $command, headers => { %headers, receipt => $receipt }, body => $body,
    }));
    my $got = next_frame($c, 'RECEIPT')->headers->{'receipt-id'};
    check($got eq $receipt, "receipt $got for $receipt");
    return;
}

sub subscribe {
    my ($c, $destination, $ack, %more) = @_;
    my $id = 's' . ++$number;
    $c->subscribe({ destination => $destination, id => $id, ack => $ack || 'auto', %more });
    return $id;
}

sub bodies {
    my ($c, $n) = @_;
    return join ' ', map { next_frame($c, 'MESSAGE')->body } 1 .. $n;
}

# Nothing more is on the way: a message that is sent now comes next.
sub quiet {
    my ($c) = @_;
    my $marker = fresh('topic');
    my $id = subscribe($c, $marker);
    $c->send({ destination => $marker, body => 'marker' });
    my $got = next_frame($c, 'MESSAGE');
    check($got->destination eq $marker, 'there was more:', $got->as_string);
    done($c, 'UNSUBSCRIBE', id => $id, destination => $marker);
    return;
}

sub settling {
    my ($message) = @_;
    my $h = $message->headers;
    return (subscription => $h->{subscription}) if $version eq '1.1';
    return (id => $h->{ack}) if $version eq '1.2';
    return;
}

my @cases = (
    'CONNECTED names the version and a session' => sub {
        my ($c, $frame) = hello('guest');
        check($frame->command eq 'CONNECTED', $frame->as_string);
        check(($frame->headers->{version} || '1.0') eq $version, $frame->as_string);
        check($c->session_id, $frame->as_string);
        $c->disconnect;
    },
    'a wrong password is an ERROR that says so and does not repeat it' => sub {
        my (undef, $frame) = hello('mistaken');
        my $said = $frame->as_string;
        check($frame->command eq 'ERROR', $said);
        check($said !~ /mistaken/, $said);
        check(!$weft || $said =~ /login|password|credentials/, $said);
    },
    'a topic reaches each subscriber once' => sub {
        my @c = (connected(), connected());
        my $destination = fresh('topic');
        for my $c (@c) { subscribe($c, $destination); quiet($c) }
        $c[0]->send({ destination => $destination, 'content-type' => 'text/plain', colour => 'blue', body => 'hello' });
        for my $c (@c) {
            my $m = next_frame($c, 'MESSAGE');
            check($m->body eq 'hello', $m->as_string);
            check($m->destination eq $destination, $m->as_string);
            check($m->content_type eq 'text/plain', $m->as_string);
            check($m->headers->{colour} eq 'blue', $m->as_string);
            quiet($c);
        }
    },
    # Its send_transactional waits for the receipt of a SEND before it sends COMMIT: no
    # broker that counts a receipt as part of the transaction can serve it.
    'send_with_receipt of the library' => sub {
        my $c = connected();
        my $destination = fresh('queue');
        check($c->send_with_receipt({ destination => $destination, body => 'kept' }), 'no receipt');
        subscribe($c, $destination);
        check(bodies($c, 1) eq 'kept');
        quiet($c);
    },
    'a queue keeps order and has one consumer for each message' => sub {
        my ($a, $b) = (connected(), connected());
        my $destination = fresh('queue');
        $a->send({ destination => $destination, body => $_ }) for 1 .. 200;
        subscribe($a, $destination);
        check(bodies($a, 200) eq join(' ', 1 .. 200), 'another order');
        subscribe($b, $destination);
        quiet($_) for $a, $b;
    },
    'ack client is cumulative, the rest is delivered again' => sub {
        my $a = connected();
        my $destination = fresh('queue');
        done($a, 'SEND', destination => $destination, body => $_) for 'a' .. 'd';
        subscribe($a, $destination, 'client');
        my @m = map { next_frame($a, 'MESSAGE') } 1 .. 4;
        $a->ack({ frame => $m[1], settling($m[1]) });
        quiet($a);
        $a->disconnect;
        my $b = connected();
        subscribe($b, $destination, 'client');
        for my $want ('c', 'd') {
            my $m = next_frame($b, 'MESSAGE');
            check($m->body eq $want, $m->as_string);
            check($m->headers->{redelivered} eq 'true', $m->as_string);
        }
        quiet($b);
    },
    'COMMIT has effect, ABORT has none' => sub {
        my ($a, $b) = (connected(), connected());
        my $destination = fresh('queue');
        subscribe($b, $destination);
        for my $end ('ABORT', 'COMMIT') {
            done($a, 'BEGIN', transaction => $end);
            $a->send({ destination => $destination, transaction => $end, body => $end });
            done($a, 'SEND', destination => fresh('queue'), body => 'the server has seen what came before');
            quiet($b);
            done($a, $end, transaction => $end);
        }
        check(bodies($b, 1) eq 'COMMIT');
        quiet($b);
    },
    'all bytes, with NULs' => sub {
        my $c = connected();
        my $destination = fresh('queue');
        subscribe($c, $destination);
        for my $body (join('', map { chr } 0 .. 255), "\0", "\0\n\0") {
            $c->send({ destination => $destination, bytes_message => 1, body => $body });
            check(next_frame($c, 'MESSAGE')->body eq $body, 'another body');
        }
    },
    'nothing comes after UNSUBSCRIBE, and a queue keeps it' => sub {
        my $c = connected();
        my $destination = fresh('queue');
        my $id = subscribe($c, $destination);
        $c->send({ destination => $destination, body => 'one' });
        check(bodies($c, 1) eq 'one');
        done($c, 'UNSUBSCRIBE', id => $id);
        done($c, 'SEND', destination => $destination, body => 'two');
        quiet($c);
        subscribe($c, $destination);
        check(bodies($c, 1) eq 'two');
    },
    'a destination that there is not is an ERROR that names it' => sub {
        my $c = connected();
        $c->send({ destination => '/elsewhere/x', receipt => 'wanted', body => 'lost' });
        my $said = next_frame($c, 'ERROR')->as_string;
        check($said =~ /elsewhere/, $said);
        check(!$weft || $said =~ /^receipt-id:wanted$/m, $said);
    },
);

push @cases, $version eq '1.0'
    ? (
    'a subscription without id is named by its destination' => sub {
        my $c = connected();
        my $destination = fresh('queue');
        done($c, 'SUBSCRIBE', destination => $destination, ack => 'client');
        $c->send({ destination => $destination, body => 'one' });
        my $m = next_frame($c, 'MESSAGE');
        check($m->body eq 'one', $m->as_string);
        check(!$weft || !defined $m->headers->{subscription}, $m->as_string);
        $c->ack({ frame => $m });
        done($c, 'UNSUBSCRIBE', destination => $destination);
        done($c, 'SEND', destination => $destination, body => 'two');
        quiet($c);
    },
    'a backslash and a later colon are nothing special' => sub {
        my $c = connected();
        my $destination = fresh('queue');
        my $value = 'a:b\\n\\\\c';
        subscribe($c, $destination);
        $c->send({ destination => $destination, value => $value, body => 'x' });
        my $m = next_frame($c, 'MESSAGE');
        # RabbitMQ has escapes in all versions.
        check(!$weft || $m->headers->{value} eq $value, $m->as_string);
    },
    )
    : (
    'ack client-individual acknowledges one message' => sub {
        my $a = connected();
        my $destination = fresh('queue');
        done($a, 'SEND', destination => $destination, body => $_) for 'a' .. 'c';
        subscribe($a, $destination, 'client-individual');
        my @m = map { next_frame($a, 'MESSAGE') } 1 .. 3;
        $a->ack({ frame => $m[1], settling($m[1]) });
        quiet($a);
        $a->disconnect;
        my $b = connected();
        subscribe($b, $destination, 'client-individual');
        check(bodies($b, 2) eq 'a c');
        quiet($b);
    },
    'what was refused is delivered again, and marked' => sub {
        my $c = connected();
        my $destination = fresh('queue');
        done($c, 'SEND', destination => $destination, body => 'work');
        subscribe($c, $destination, 'client-individual');
        my $first = next_frame($c, 'MESSAGE');
        $c->nack({ frame => $first, settling($first) });
        my $again = next_frame($c, 'MESSAGE');
        check($again->body eq 'work' && $again->headers->{redelivered} eq 'true', $again->as_string);
        $c->ack({ frame => $again, settling($again) });
        quiet($c);
    },
    );

while (my ($name, $body) = splice @cases, 0, 2) {
    local $SIG{ALRM} = sub { die "not over after 20 s\n" };
    alarm 20;
    my $ok = eval { $body->(); 1 };
    alarm 0;
    my $why = $@;
    $why =~ s/\n/ | /g;
    print $ok ? "ok $name\n" : "not ok $name: $why\n";
}
print "done\n";
