//! nginx as a server of HTTP that notes what it was sent and answers as it is told.
//!
//! Lives here: the server, its answers and its notes. Never here: what is expected of a relay.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::peer::program;
use super::super::port::Reserved;
use super::super::{HANG, eventually};
use super::access::Access;
use super::http_get;
use super::process::{Server, folder};

/// What it may be told to answer instead ([`Nginx::answer`]).
const ANSWERS: [u16; 8] = [301, 400, 401, 413, 429, 500, 502, 503];

/// A server of HTTP, on one port without and on another with TLS.
pub struct Nginx {
    pub server: Server,
    port: Reserved,
    tls_port: Reserved,
    _inner_ports: [Reserved; 2],
    access: Access,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub status: u16,
    pub method: String,
    pub uri: String,
    pub content_type: String,
    pub authorization: String,
    pub body: Vec<u8>,
}

impl Nginx {
    /// One that answers everything with 200.
    #[track_caller]
    pub fn start() -> Nginx {
        Nginx::with("location / { return 200; }")
    }

    /// One that answers by these directives of a `server` block, unless [`Nginx::answer`] tells otherwise.
    #[track_caller]
    pub fn with(directives: &str) -> Nginx {
        let (folder, access) = (folder(), Access::new());
        let ports = [(); 4].map(|()| Reserved::on_loopback());
        let text = configuration(directives, ports.each_ref().map(Reserved::address), &access);
        let [port, tls_port, inner_ports @ ..] = ports;
        fs::write(folder.path().join("nginx.conf"), text).expect("a file in a temporary folder");
        let mut command = program("nginx");
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder.path());
        let address = port.address();
        let server = Server::start(folder, command, move || http_get(address, "/nginx-is-ready").is_some());
        Nginx { server, port, tls_port, _inner_ports: inner_ports, access }
    }

    /// Where it listens without TLS.
    pub fn port(&self) -> u16 {
        self.port.address().port()
    }

    /// A path as the relay is told of it: `http` or `https`.
    pub fn url(&self, scheme: &str, path: &str) -> String {
        let address = if scheme == "https" { self.tls_address() } else { self.port.address() };
        format!("{scheme}://{address}{path}")
    }

    /// Where it listens with TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls_port.address()
    }

    /// Whom to trust.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// From now on it answers with this status; with 200 it answers by its directives again.
    pub fn answer(&self, status: u16) {
        assert!(status == 200 || ANSWERS.contains(&status), "{status} is not among {ANSWERS:?}");
        for other in ANSWERS {
            let path = self.server.folder().join(format!("answer-{other}"));
            if other == status {
                fs::write(path, "").expect("a file in a temporary folder");
            } else if path.exists() {
                fs::remove_file(path).expect("our own file");
            }
        }
    }

    /// What it has answered, in this order. It makes its note before the answer, so that no death of its own comes between.
    pub fn requests(&self) -> Vec<Request> {
        let text = fs::read_to_string(self.notes()).unwrap_or_default();
        // What comes after the last line is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(request).collect()
    }

    /// The bodies of the requests that it answered with 200, once there are so many; more are shown too.
    #[track_caller]
    pub fn taken(&self, at_least: usize) -> Vec<Vec<u8>> {
        let taken = || -> Vec<_> {
            self.requests().into_iter().filter(|one| one.status == 200).map(|one| one.body).collect()
        };
        eventually(&format!("{at_least} requests were taken within {HANG:?}"), || taken().len() >= at_least);
        taken()
    }

    /// Forgets its notes.
    pub fn purge(&self) {
        // nginx appends.
        fs::File::options().write(true).truncate(true).open(self.notes()).expect("its notes");
    }

    fn notes(&self) -> PathBuf {
        self.server.folder().join("notes")
    }
}

/// Three servers in a row: one that listens, one that notes, one that answers. nginx notes once it has answered and closed, which
/// may not linger; who listens gets that answer in the same process, and hands it on in a later turn. A body is read only where it
/// is passed on, so the one that answers is another.
fn configuration(
    directives: &str,
    [at, tls_at, notes, answering]: [SocketAddr; 4],
    access: &Access,
) -> String {
    let answers: Vec<String> =
        ANSWERS.iter().map(|status| format!("if (-f answer-{status}) {{ return {status}; }}")).collect();
    format!(
        "daemon off; user root; worker_processes 1; pid pid;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; server_tokens off; default_type text/plain;
            client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary;
            uwsgi_temp_path temporary; scgi_temp_path temporary;
            client_max_body_size 0; client_body_buffer_size 32m; client_body_in_single_buffer on;
            proxy_set_header Host $http_host;
            log_format notes '$status\t$request_method\t$request_uri\t$http_content_type\t$http_authorization\t$request_body';
            server {{
                listen {at};
                listen {tls_at} ssl;
                ssl_certificate {certificate}; ssl_certificate_key {key};
                ssl_client_certificate {authority}; ssl_verify_client optional;
                location = /nginx-is-ready {{ return 200; }}
                location / {{
                    proxy_set_header Host $http_host; proxy_set_header X-Client-Verified $ssl_client_verify;
                    proxy_pass http://{notes};
                }}
            }}
            server {{
                listen {notes}; lingering_close off;
                location / {{ access_log notes notes; proxy_pass http://{answering}; }}
            }}
            server {{ listen {answering}; {answers} {directives} }}
        }}\n",
        certificate = access.certificate().display(),
        key = access.key().display(),
        authority = access.authority().display(),
        answers = answers.join(" "),
    )
}

fn request(line: &str) -> Request {
    let mut fields = line.split('\t');
    let mut field = || unescaped(fields.next().expect("as many fields as the format has"));
    let mut text = || String::from_utf8(field()).expect("a field in UTF-8");
    let status = text().parse().expect("a status");
    let (method, uri, content_type, authorization) = (text(), text(), text(), text());
    Request { status, method, uri, content_type, authorization, body: field() }
}

/// What nginx has written with `\xHH` for whatever is no plain character, and with `-` for what is empty.
fn unescaped(field: &str) -> Vec<u8> {
    let mut parts = field.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        bytes.extend(rest.as_bytes());
    }
    if bytes == b"-" { Vec::new() } else { bytes }
}
