//! Mistakes, and the very text with which each is met.
//!
//! Lives here: the table. Never here: command lines that are valid.

use clap::Parser;

use crate::config::{ConfigError, RunArgs};

/// After each `$` what is typed, below it the whole message.
const MISTAKES: &str = r"
$ --from tcp://0.0.0.0:5140?framin=octet
unknown parameter `framin` in --from
  tcp://0.0.0.0:5140?framin=octet
                     ^^^^^^ did you mean `framing`?
a tcp source takes: framing, max_message, oversize, max_connections, half_close, linger, receive_buffer, name

$ --from tcp://0.0.0.0:5140?framing=octet&balance=spread
unknown parameter `balance` in --from
  tcp://0.0.0.0:5140?framing=octet&balance=spread
                                   ^^^^^^^
a tcp source takes: framing, max_message, oversize, max_connections, half_close, linger, receive_buffer, name

$ --from tcp://0.0.0.0:5140?confirm=acked
unknown parameter `confirm` in --from
  tcp://0.0.0.0:5140?confirm=acked
                     ^^^^^^^
a tcp source takes: framing, max_message, oversize, max_connections, half_close, linger, receive_buffer, name

$ --from tcp://0.0.0.0:5140?framing=lines
unknown framing `lines` in --from
  tcp://0.0.0.0:5140?framing=lines
                             ^^^^^ did you mean `line`?
framing is one of: line, octet

$ --from tcp://0.0.0.0:5140?framing=auto
unknown framing `auto` in --from
  tcp://0.0.0.0:5140?framing=auto
                             ^^^^ not in this version
framing is one of: line, octet

$ --from tcp://0.0.0.0:5140?framing=
no value of `framing` in --from
  tcp://0.0.0.0:5140?framing=
                     ^^^^^^^ framing=VALUE

$ --from tcp://0.0.0.0:5140?framing
no value of `framing` in --from
  tcp://0.0.0.0:5140?framing
                     ^^^^^^^ framing=VALUE

$ --from tcp://0.0.0.0:5140?linger=1s&linger=2s
parameter `linger` twice in --from
  tcp://0.0.0.0:5140?linger=1s&linger=2s
                               ^^^^^^ give it once

$ --from tcp://0.0.0.0:5140?linger=200
no unit after `200` in --from
  tcp://0.0.0.0:5140?linger=200
                            ^^^ 200s or 200ms

$ --from tcp://0.0.0.0:5140?linger=0
no unit after `0` in --from
  tcp://0.0.0.0:5140?linger=0
                            ^ 0s or 0ms

$ --from tcp://0.0.0.0:5140?linger=soon
not a duration: `soon` in --from
  tcp://0.0.0.0:5140?linger=soon
                            ^^^^ a number and its unit, like 200ms

$ --from tcp://0.0.0.0:5140?linger=2days
out of range: `2days` in --from
  tcp://0.0.0.0:5140?linger=2days
                            ^^^^^ 0s to 1day

$ --from tcp://0.0.0.0:5140?max_message=64
no unit after `64` in --from
  tcp://0.0.0.0:5140?max_message=64
                                 ^^ 64KiB or 64B

$ --from tcp://0.0.0.0:5140?max_message=1.5
no unit after `1.5` in --from
  tcp://0.0.0.0:5140?max_message=1.5
                                 ^^^ 1.5KiB or 1.5B

$ --from tcp://0.0.0.0:5140?max_message=64k
an ambiguous unit after `64` in --from
  tcp://0.0.0.0:5140?max_message=64k
                                 ^^^ 64KiB counts by 1024, 64KB by 1000

$ --from tcp://0.0.0.0:5140?max_message=big
not a size: `big` in --from
  tcp://0.0.0.0:5140?max_message=big
                                 ^^^ a number and its unit, like 64KiB

$ --from tcp://0.0.0.0:5140?max_message=0B
out of range: `0B` in --from
  tcp://0.0.0.0:5140?max_message=0B
                                 ^^ 1B to 16MiB

$ --from tcp://0.0.0.0:5140?max_message=17MiB
out of range: `17MiB` in --from
  tcp://0.0.0.0:5140?max_message=17MiB
                                 ^^^^^ 1B to 16MiB

$ --max-in-flight 1MiB --from tcp://0.0.0.0:5140?max_message=513KiB
too large for what may be in flight: `513KiB` in --from
  tcp://0.0.0.0:5140?max_message=513KiB
                                 ^^^^^^ at most 512KiB, half of --max-in-flight

$ --from tcp://0.0.0.0:5140?oversize=split
unknown oversize `split` in --from
  tcp://0.0.0.0:5140?oversize=split
                              ^^^^^
oversize is one of: truncate, drop, close

$ --from tcp://0.0.0.0:5140?oversize=trunkate
unknown oversize `trunkate` in --from
  tcp://0.0.0.0:5140?oversize=trunkate
                              ^^^^^^^^ did you mean `truncate`?
oversize is one of: truncate, drop, close

$ --from tcp://0.0.0.0:5140?max_connections=0
out of range: `0` in --from
  tcp://0.0.0.0:5140?max_connections=0
                                     ^ 1 to 1048576

$ --from tcp://0.0.0.0:5140?max_connections=many
not a number: `many` in --from
  tcp://0.0.0.0:5140?max_connections=many
                                     ^^^^ 1 to 1048576

$ --from tcp://0.0.0.0:5140?half_close=yes
unknown half_close `yes` in --from
  tcp://0.0.0.0:5140?half_close=yes
                                ^^^
half_close is one of: true, false

$ --from tcp://0.0.0.0:5140?receive_buffer=1KiB
out of range: `1KiB` in --from
  tcp://0.0.0.0:5140?receive_buffer=1KiB
                                    ^^^^ 4KiB to 512MiB

$ --from tcp://0.0.0.0:5140?name=a%20b
an unfit name in --from
  tcp://0.0.0.0:5140?name=a%20b
                          ^^^^^ at most 64 bytes, none of them a space

$ --from tcp://0.0.0.0:5140?name=%ff
bytes that are not UTF-8 in --from
  tcp://0.0.0.0:5140?name=%ff
                          ^^^

$ --from tcp://a:1?name=x --from tcp://a:2?name=x
name `x` twice in --from
  tcp://a:2?name=x
                 ^ choose another

$ --from tcp://a:1 --from tcp://a:1
the same address twice in --from
  tcp://a:1
  ^^^^^^^^^ another source listens there

$ --from tpc://0.0.0.0:5140
unknown scheme `tpc` in --from
  tpc://0.0.0.0:5140
  ^^^ did you mean `tcp`?
a source is tcp://HOST:PORT

$ --from localhost:5140
no scheme in --from
  localhost:5140
  ^^^^^^^^^^^^^^ did you mean `tcp://localhost:5140`?
a source is tcp://HOST:PORT

$ --from 0.0.0.0:5140
no scheme in --from
  0.0.0.0:5140
  ^^^^^^^^^^^^ did you mean `tcp://0.0.0.0:5140`?
a source is tcp://HOST:PORT

$ --from [::1]:514
no scheme in --from
  [::1]:514
  ^^^^^^^^^ did you mean `tcp://[::1]:514`?
a source is tcp://HOST:PORT

$ --from 5140
no scheme in --from
  5140
  ^^^^
a source is tcp://HOST:PORT

$ --from tcp
no scheme in --from
  tcp
  ^^^
a source is tcp://HOST:PORT

$ --from tcp:
no host in --from
  tcp:
      ^ like 127.0.0.1:5140 for this machine, 0.0.0.0:5140 for every IPv4 address of it

$ --from tcp://
no host in --from
  tcp://
        ^ like 127.0.0.1:5140 for this machine, 0.0.0.0:5140 for every IPv4 address of it

$ --from tcp://?framing=line
no host in --from
  tcp://?framing=line
        ^ like 127.0.0.1:5140 for this machine, 0.0.0.0:5140 for every IPv4 address of it

$ --from tcp:0.0.0.0:5140
no `//` in --from
  tcp:0.0.0.0:5140
      ^^^^^^^^^^^^ did you mean `tcp://0.0.0.0:5140`?

$ --from tcp://0.0.0.0
no port in --from
  tcp://0.0.0.0
               ^ like 127.0.0.1:5140

$ --from tcp://0.0.0.0:
no port in --from
  tcp://0.0.0.0:
                ^ like 127.0.0.1:5140

$ --from tcp://:5140
no host in --from
  tcp://:5140
        ^^^^^ like 127.0.0.1:5140 for this machine, 0.0.0.0:5140 for every IPv4 address of it

$ --from tcp://0.0.0.0:65536
not a port: `65536` in --from
  tcp://0.0.0.0:65536
                ^^^^^ a number up to 65535

$ --from tcp://0.0.0.0:syslog
not a port: `syslog` in --from
  tcp://0.0.0.0:syslog
                ^^^^^^ a number up to 65535

$ --from tcp://::1:514
an IPv6 address without brackets in --from
  tcp://::1:514
        ^^^^^^^ like [::1]:5140

$ --from tcp://[::1]
no port in --from
  tcp://[::1]
             ^ like 127.0.0.1:5140

$ --from tcp://[::g]:514
not an IPv6 address: `[::g]` in --from
  tcp://[::g]:514
        ^^^^^ like [::1]

$ --from tcp://[::1:514
an IPv6 address without brackets in --from
  tcp://[::1:514
        ^^^^^^^^ like [::1]:5140

$ --from tcp://256.0.0.1:514
not a host: `256.0.0.1` in --from
  tcp://256.0.0.1:514
        ^^^^^^^^^ a name, an IPv4 address or [an IPv6 address]

$ --from tcp://*:514
not a host: `*` in --from
  tcp://*:514
        ^ 0.0.0.0 or [::]

$ --from tcp://bücher.example:514
not a host: `bücher.example` in --from
  tcp://bücher.example:514
        ^^^^^^^^^^^^^^ a name, an IPv4 address or [an IPv6 address]

$ --from tcp://a:514/path
a path in --from
  tcp://a:514/path
              ^^^^ a tcp endpoint has none

$ --from tcp://me@a:514
a user name in --from
  tcp://me@a:514
        ^^ a tcp endpoint takes none

$ --from tcp://a:514#x
a fragment in --from
  tcp://a:514#x
             ^^ write %23 for a `#` in a name

$ --from udp://127.0.0.1:5140
unsupported scheme `udp` in --from
  udp://127.0.0.1:5140
  ^^^ this version relays tcp
a source is tcp://HOST:PORT

$ --from redis://h/S?group=G
unsupported scheme `redis` in --from
  redis://h/S?group=G
  ^^^^^ this version relays tcp
a source is tcp://HOST:PORT

$ --from stdout
unsupported scheme `stdout` in --from
  stdout
  ^^^^^^ this version relays tcp
a source is tcp://HOST:PORT

$ --from -
unsupported scheme `-` in --from
  -
  ^ this version relays tcp
a source is tcp://HOST:PORT

$ --from file:x
unsupported scheme `file` in --from
  file:x
  ^^^^ this version relays tcp
a source is tcp://HOST:PORT

$ --to tcp://a:0
port 0 in --to
  tcp://a:0
          ^ 1 to 65535; only a source may leave the choice open

$ --to tcp://a:514 --to tcp://b:514
a second sink in --to
  tcp://b:514
  ^^^^^^^^^^^ several sinks are not in this version

$ --to tcp://a:514?connections=65
out of range: `65` in --to
  tcp://a:514?connections=65
                          ^^ 1 to 64

$ --to tcp://a:514?confirm=replied
unknown confirm `replied` in --to
  tcp://a:514?confirm=replied
                      ^^^^^^^ not in this version
confirm is one of: written, acked

$ --to tcp://a:514?confirm=ack
unknown confirm `ack` in --to
  tcp://a:514?confirm=ack
                      ^^^ did you mean `acked`?
confirm is one of: written, acked

$ --to tcp://a:514?linger=1s
unknown parameter `linger` in --to
  tcp://a:514?linger=1s
              ^^^^^^
a tcp sink takes: framing, confirm, connections, name

$ --to http://a/x
unsupported scheme `http` in --to
  http://a/x
  ^^^^ this version relays tcp
a sink is tcp://HOST:PORT, stdout, file:///absolute/path or file:relative/path

$ --to /var/log/relay.log
no scheme in --to
  /var/log/relay.log
  ^^^^^^^^^^^^^^^^^^ did you mean `file:/var/log/relay.log`?
a sink is tcp://HOST:PORT, stdout, file:///absolute/path or file:relative/path

$ --to stdot
no scheme in --to
  stdot
  ^^^^^ did you mean `stdout`?
a sink is tcp://HOST:PORT, stdout, file:///absolute/path or file:relative/path

$ --to stdout://x
something behind `stdout:` in --to
  stdout://x
         ^^^ it takes only ?PARAMETERS

$ --to stdout?confirm=acked
a confirmation without a peer in --to
  stdout?confirm=acked
                 ^^^^^ `written`; only tcp sinks have `acked`

$ --to file:x?confirm=acked
a confirmation without a peer in --to
  file:x?confirm=acked
                 ^^^^^ `written`; only tcp sinks have `acked`

$ --to file:x?connections=2
unknown parameter `connections` in --to
  file:x?connections=2
         ^^^^^^^^^^^
a file takes: framing, confirm, name

$ --to file:
no file name in --to
  file:
       ^ like file:///var/log/relay.log

$ --to file:///
no file name in --to
  file:///
         ^ like file:///var/log/relay.log

$ --to file://var/log/x
a host before a file's path in --to
  file://var/log/x
         ^^^ did you mean `file:///var/log/x` or `file:var/log/x`?

$ --to file:///var/log/
no file name in --to
  file:///var/log/
         ^^^^^^^^^ like file:///var/log/relay.log

$ --to file:..
no file name in --to
  file:..
       ^^ like file:///var/log/relay.log

$ --to file:a%00b
a zero byte in --to
  file:a%00b
       ^^^^^ no path holds one

$ --to file:a#b
a fragment in --to
  file:a#b
        ^^ write %23 for a `#` in a name

$ --to ftp://x
unknown scheme `ftp` in --to
  ftp://x
  ^^^
a sink is tcp://HOST:PORT, stdout, file:///absolute/path or file:relative/path

$ --to tcp://a:514 --cores 0
out of range: `0` in --cores
  0
  ^ 1 to 1024
cores are a count (2), their numbers (0,3) or all

$ --to tcp://a:514 --cores two
not a number: `two` in --cores
  two
  ^^^ 1 to 1024
cores are a count (2), their numbers (0,3) or all

$ --to tcp://a:514 --cores 0,0
core 0 twice in --cores
  0,0
    ^

$ --to tcp://a:514 --cores 1,
not a number: `` in --cores
  1,
    ^ 0 to 1023
cores are a count (2), their numbers (0,3) or all

$ --to tcp://a:514 --cores 0-3
not a number: `0-3` in --cores
  0-3
  ^^^ 1 to 1024
cores are a count (2), their numbers (0,3) or all

$ --to tcp://a:514 --cores 1024,1
out of range: `1024` in --cores
  1024,1
  ^^^^ 0 to 1023
cores are a count (2), their numbers (0,3) or all

$ --cores 2
more than one core for stdout in --cores
  2
  ^ use 1, or send to a file or tcp with --to
stdout is one stream, which one core writes

$ --cores 0,1
more than one core for stdout in --cores
  0,1
  ^^^ use 1, or send to a file or tcp with --to
stdout is one stream, which one core writes

$ --drain-timeout 25
no unit after `25` in --drain-timeout
  25
  ^^ 25s or 25ms

$ --drain-timeout 2days
out of range: `2days` in --drain-timeout
  2days
  ^^^^^ 0s to 1day

$ --max-in-flight 64
no unit after `64` in --max-in-flight
  64
  ^^ 64KiB or 64B

$ --max-in-flight 64KiB
out of range: `64KiB` in --max-in-flight
  64KiB
  ^^^^^ 1MiB to 1TiB

$ --max-in-flight 99999999PB
out of range: `99999999PB` in --max-in-flight
  99999999PB
  ^^^^^^^^^^ 1MiB to 1TiB

$ --from tcp://a:1?oversize=trunc
unknown oversize `trunc` in --from
  tcp://a:1?oversize=trunc
                     ^^^^^ did you mean `truncate`?
oversize is one of: truncate, drop, close
";

#[derive(Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    args: RunArgs,
}

fn mistake(line: &str) -> ConfigError {
    let args = Line::try_parse_from(line.split(' ')).expect(line).args;
    args.plan().expect_err(line)
}

fn from(url: &str) -> String {
    let args = RunArgs { from: vec![url.to_owned()], ..RunArgs::default() };
    args.plan().expect_err(url).to_string()
}

#[test]
fn each_mistake_is_shown_with_its_place_and_what_is_right() {
    let cases: Vec<&str> = MISTAKES.trim().split("\n\n").collect();
    assert!(cases.len() > 25, "only {} cases were found", cases.len());
    for case in cases {
        let (line, message) = case.split_once('\n').expect(case);
        let line = line.strip_prefix("$ ").expect(case);
        assert_eq!(mistake(line).to_string(), message, "the message for {line}");
    }
}

#[test]
fn nothing_typed_is_shown_by_one_caret() {
    assert_eq!(from(""), "no scheme in --from\n  \n  ^\na source is tcp://HOST:PORT");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let shown = from("tcp://a\u{1b}[31m:514");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let decoded = from("tcp://a:514?framing=%1b[31m");
    assert!(!decoded.contains('\u{1b}'), "{decoded:?}");
}

#[test]
fn carets_count_characters_not_bytes() {
    let shown = from("tcp://ü:514");
    assert!(shown.contains("\n  tcp://ü:514\n        ^ "), "{shown}");
}
