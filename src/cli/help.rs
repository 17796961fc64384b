//! The long texts of `--help`, at most 80 columns wide.
//!
//! Lives here: prose. Never here: what a single flag says about itself (that is beside the flag).

pub(super) const ABOUT: &str = "\
A message relay for Linux that can be stopped at any moment without losing a
message that it had accepted.";

pub(super) const AFTER: &str = "\
Examples:
  slackwater run
      from tcp and udp on 127.0.0.1:5140 to the terminal
  slackwater run --from tcp://0.0.0.0:5140 --to tcp://10.0.0.5:514
      from every IPv4 address of this machine to another one
  slackwater check -c slackwater.toml
      what that file means, or where its mistake is
  slackwater doctor
      what this machine lacks, and the command that mends it
  slackwater demo
      see it stopped in full flow, and its books

Exit codes:
  0  nothing was abandoned
  1  could not start, broke, or could not write its ledger
  2  bad usage or configuration
  3  messages were abandoned; the report says how many

`slackwater run --help` tells about endpoints and signals.";

pub(super) const RUN: &str = "\
Relays messages until TERM or INT, then drains: nothing new is taken in, and
what was taken in is delivered. Listeners are on loopback unless --from says
otherwise.";

pub(super) const AFTER_RUN: &str = "\
Sources (--from), with their parameters and [defaults]:
  tcp://HOST:PORT                  listens there; port 0 lets the kernel choose
  udp://HOST:PORT                  each datagram is a message
  unix:PATH                        a stream socket, made there
  unixgram:PATH                    a datagram socket, made there
    all:
    ?framing=line|octet|auto|u32|nul|datagram
                                   how messages are told apart [line; datagram
                                   on udp and unixgram]
    &max_message=SIZE              longest message [64KiB]
    &oversize=truncate|drop|close  what happens to a longer one [truncate]
    &to=NAME,NAME                  the sinks that get its messages [every one]
    &overflow=block|drop_newest    where there is no room: the sender waits, or
                                   the message is thrown away [block]
    &name=NAME                     in logs and books [tcp-PORT, udp-PORT, file]
    tcp and udp:
    &allow=BLOCK,BLOCK             who may send, like 10.0.0.0/8 [everyone]
    tcp, udp and unixgram:
    &receive_buffer=SIZE           SO_RCVBUF [the system's; less in a crowd]
    tcp and unix:
    &max_connections=N             connections held at once [65536]
    &idle_timeout=DURATION         a silent connection is closed [never]
    &half_close=true|false         a drain sends FIN to busy senders [true]
    &linger=DURATION               how long a drain reads on from them [5s];
                                   half of --drain-timeout at most
    tcp:
    &max_connections_per_client=N  of one address [no limit]
    unix and unixgram:
    &mode=OCTAL                    permissions of the socket [by the umask]

Sinks (--to):
  tcp://HOST:PORT,HOST:PORT        connects there; one or more
  udp://HOST:PORT,HOST:PORT        a datagram for each message
  unix:PATH,PATH                   a stream socket of another program
  unixgram:PATH,PATH               a datagram for each message
    ?framing=line|octet|u32|nul|datagram
                                   [as the message came in; datagram on udp and
                                   unixgram]
    &confirm=acked|written         delivered once the peer's TCP acknowledged,
                                   or once our kernel took it [acked on tcp,
                                   else written]
    &connections=N                 to each, per core; tcp and unix [1]
    &balance=spread|failover|hash|copy
                                   which endpoint gets a message [spread]
    &key_until=BYTE, &key_regex=PATTERN
                                   what a hash is made of [the whole message]
    &name=NAME                     [HOST:PORT, or the file's name]
  stdout, or -                     framing and name as above
  file:///absolute/path            appended to; framing and name as above
  file:relative/path               the same

Queues and services, each a source and a sink, [with TLS as in brackets]:
  redis://HOST/STREAM [rediss]     a consumer group; XADD
  redis-list://HOST/LIST [rediss-list]
                                   a reliable list; RPUSH
  nats://HOST/STREAM [nats+tls]    a JetStream consumer; as a sink /SUBJECT
  amqp://HOST/VHOST/QUEUE [amqps]  acknowledged; confirmed; without VHOST: /
  http://HOST:PORT/PATH [https]    a listener for POST; as a sink a POST each
    several hosts are divided by commas; ports have their usual defaults
    all:
    ?user=NAME, &password_file=FILE, &password_env=VARIABLE
                                   who we are there; never in the URL itself
    &ca_file=FILE                  whom to trust [the system's certificates]
    &timeout=DURATION              of one request [10s]
    &name=NAME                     [the queue, or http-PORT]
    queues:
    &batch=N                       messages at once [512]
    &group=NAME, &claim_idle=DURATION
                                   of a Redis stream [slackwater, 30s]
    &consumer=NAME                 Redis [one of this process alone; of a list
                                   the host's name], NATS [slackwater]
    &credentials_file=FILE         NATS
    &prefetch=N                    AMQP: unacknowledged messages of one core, as
                                   many from the start [what fits into
                                   max_in_flight, a bit more with each round]
    sinks:
    &batch=N, &batch_bytes=SIZE, &batch_wait=DURATION
                                   how much is sent at once [512, of http 1;
                                   1MiB; 0s]
    &dead_letter=NAME|file:PATH    who gets what is refused for good, as on
                                   every other sink [it fails, and is gone]
    &max_len=N                     of a Redis stream, about [all is kept]
    &exchange=NAME                 AMQP [the default one]
    &headers=NAME: VALUE, &concurrency=N
                                   HTTP; several requests at a time do not keep
                                   the order [1]
    http as a source:
    ?framing=line                  each line is a message [all of a request is]
    &max_message=SIZE              longer ones get 413 [64KiB]
    https, either way:
    &certificate_file=FILE, &key_file=FILE
                                   our own; as a sink only if they want one

Sizes and durations carry their units: 64KiB, 64KB, 200ms, 1m 30s.
In a shell, a URL with `&` or `?` stands in quotes.

Examples:
  slackwater run
  slackwater run --from 'tcp://0.0.0.0:5140?framing=octet' --to file:relay.log
  slackwater run --from 'tcp://[::]:5140?linger=200ms' \\
      --to 'tcp://10.0.0.5:514?connections=2' --cores 2 --ledger books.json
  slackwater run --from 'udp://0.0.0.0:514?allow=10.0.0.0/8' \\
      --to 'tcp://10.0.0.5:514,10.0.0.6:514?balance=failover'
  slackwater run -c slackwater.toml

Signals:
  TERM, INT  drain, for at most --drain-timeout; TERM again changes nothing
  INT again, QUIT
             end at once; what is left is abandoned, or returned to its queue
  USR1       log the books
  HUP, USR2  noted; change nothing yet

Exit codes:
  0  nothing was abandoned
  1  could not start, broke, or could not write its ledger
  2  bad usage or configuration
  3  messages were abandoned; the report says how many

Environment:
  SLACKWATER_LOG  a level, or levels by module: info,slackwater::socket=debug;
                  --log-level goes before it
  NO_COLOR        no colours in logs";

pub(super) const DEMO: &str = "\
Runs the real relay on loopback between a generator and a counting sink, stops
it in full flow, and shows its books beside what the sink received.";

pub(super) const DOCTOR: &str = "\
Looks at the kernel, each io_uring feature that the relay uses, limits, sysctls
and the control group, and says what is missing, what that costs, and the
command that mends it. With the flags or the file of `run` it looks at what that
relay needs; it opens and changes nothing.

Exit codes: 0 the relay can run here, 1 it cannot, 2 bad usage.";

pub(super) const CHECK: &str = "\
Reads the flags or the file of `run`, and shows every source and sink with all
its values, defaults among them. It opens and resolves nothing.

Exit codes: 0 it would run, 2 there is a mistake, which is pointed at.";
