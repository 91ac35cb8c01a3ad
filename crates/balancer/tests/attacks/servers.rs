//! Debian's web servers as origins. Each answers every request with the body that it was sent, and with
//! the target in the field `Target`; each logs the requests that it believes to have had.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::client::Reply;
use crate::support::eventually;

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Nginx,
    Apache,
    Lighttpd,
    Haproxy,
    Gunicorn,
}

/// A running server. Ends with the test.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddrV4,
    program: Program,
    process: Child,
    directory: TempDir,
}

impl Server {
    /// Starts it in the test's namespace and waits until it listens.
    pub fn start(program: Program) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = free_address();
        let mut command = program.command(directory.path(), address.port());
        command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(create(directory.path(), "stdout"))
            .stderr(create(directory.path(), "stderr"));
        // SAFETY: prctl is async-signal-safe and touches no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{program:?} ({error}): run `scripts/setup checks`"));
        let mut server = Self {
            address,
            program,
            process,
            directory,
        };
        eventually("the server listens", || {
            let ended = server.process.try_wait().unwrap();
            assert_eq!(ended, None, "{program:?} ended: {}", server.said());
            TcpStream::connect(address).ok()
        });
        server
    }

    /// The requests that it believes to have had, as `METHOD TARGET`. Waits until this one is logged as
    /// many times, and ends the server.
    pub fn requests(mut self, last: &str, times: usize) -> Vec<String> {
        // lighttpd writes its log when it ends.
        if self.program != Program::Lighttpd {
            eventually("the requests are logged", || {
                let logged = self.logged();
                let found = logged.iter().filter(|request| *request == last);
                (found.count() >= times).then_some(())
            });
        }
        let signal = match self.program {
            // `unshare` heeds no other, and the log is whole at any time.
            Program::Gunicorn => libc::SIGKILL,
            _ => libc::SIGTERM,
        };
        // SAFETY: the child was not waited for, so the number is still its own.
        unsafe { libc::kill(self.process.id().cast_signed(), signal) };
        eventually("the server ends", || self.process.try_wait().unwrap());
        self.logged()
    }

    fn logged(&self) -> Vec<String> {
        let log = ["seen", "stdout"].map(|name| read(self.directory.path(), name));
        let lines = log.iter().flat_map(|log| log.lines());
        let first_two = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        lines.map(first_two).collect()
    }

    /// What it complained of.
    pub fn said(&self) -> String {
        ["stderr", "stdout", "error"]
            .map(|name| read(self.directory.path(), name))
            .concat()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The body that the server took the request to have had. `HAProxy` writes line ends as URLs do.
pub fn echo(reply: &Reply) -> String {
    reply.text().replace("%0D", "\r").replace("%0A", "\n")
}

/// The target that the server took the request to have had.
pub fn target(reply: &Reply) -> &str {
    reply.field("Target").unwrap_or_default()
}

fn free_address() -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    match listener.local_addr().unwrap() {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => panic!("bound to IPv4"),
    }
}

fn create(directory: &Path, name: &str) -> std::fs::File {
    std::fs::File::create(directory.join(name)).unwrap()
}

fn read(directory: &Path, name: &str) -> String {
    let bytes = std::fs::read(directory.join(name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Program {
    /// What runs it in the foreground as one process, or as a family that ends with its first one.
    fn command(self, directory: &Path, port: u16) -> Command {
        let fill = |template: &str| {
            template
                .replace("DIRECTORY", directory.to_str().unwrap())
                .replace("PORT", &port.to_string())
        };
        let put = |name: &str, template: &str| {
            std::fs::write(directory.join(name), fill(template)).unwrap();
        };
        let run = |line: &str| {
            let line = fill(line);
            let mut words = line.split(' ');
            let mut command = Command::new(words.next().unwrap());
            command.args(words);
            command
        };
        match self {
            Self::Nginx => {
                put("nginx.conf", NGINX);
                run("nginx -p DIRECTORY -e DIRECTORY/error -c DIRECTORY/nginx.conf")
            }
            Self::Apache => {
                put("apache.conf", APACHE);
                run("apache2 -X -f DIRECTORY/apache.conf")
            }
            Self::Lighttpd => {
                put("lighttpd.conf", LIGHTTPD);
                put("echo.cgi", LIGHTTPD_ECHO);
                run("lighttpd -D -f DIRECTORY/lighttpd.conf")
            }
            Self::Haproxy => {
                put("haproxy.cfg", HAPROXY);
                run("haproxy -db -f DIRECTORY/haproxy.cfg")
            }
            Self::Gunicorn => {
                put("echo.py", GUNICORN_ECHO);
                run(
                    "unshare --pid --fork --kill-child gunicorn --worker-class gthread --threads 4 \
                     --keep-alive 60 --bind 127.0.0.1:PORT --chdir DIRECTORY echo:answer",
                )
            }
        }
    }
}

/// nginx reads a body only when it has a use for it, hence the inner server that it is first passed on to.
const NGINX: &str = r#"
daemon off;
master_process off;
user root;
pid DIRECTORY/pid;
events { worker_connections 1024; }
http {
  log_format seen '$request_method $request_uri';
  access_log DIRECTORY/seen seen;
  client_body_temp_path DIRECTORY/body;
  proxy_temp_path DIRECTORY/proxy;
  fastcgi_temp_path DIRECTORY/fastcgi;
  uwsgi_temp_path DIRECTORY/uwsgi;
  scgi_temp_path DIRECTORY/scgi;
  client_body_buffer_size 64k;
  client_body_in_single_buffer on;
  keepalive_requests 100000;
  server {
    listen 127.0.0.1:PORT;
    location / {
      proxy_pass http://unix:DIRECTORY/inner.sock;
      proxy_intercept_errors on;
      error_page 418 =200 @echo;
    }
    location @echo {
      add_header Target $request_uri;
      return 200 $request_body;
    }
  }
  server {
    listen unix:DIRECTORY/inner.sock;
    access_log off;
    location / { return 418; }
  }
}
"#;

const APACHE: &str = r#"
ServerRoot DIRECTORY
DefaultRuntimeDir DIRECTORY
PidFile DIRECTORY/pid
ErrorLog DIRECTORY/error
ServerName localhost
Listen 127.0.0.1:PORT
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule reflector_module /usr/lib/apache2/modules/mod_reflector.so
User www-data
Group www-data
LogFormat "%m %U%q" seen
CustomLog DIRECTORY/seen seen
KeepAlive On
KeepAliveTimeout 60
MaxKeepAliveRequests 0
<Location />
  SetHandler reflector
  Header always set Target "expr=%{REQUEST_URI}"
</Location>
"#;

const LIGHTTPD: &str = r#"
server.document-root = "DIRECTORY"
server.bind = "127.0.0.1"
server.port = PORT
server.errorlog = "DIRECTORY/error"
server.modules = ("mod_cgi", "mod_accesslog", "mod_rewrite")
server.max-keep-alive-requests = 100000
server.max-keep-alive-idle = 60
server.http-parseopts = ("method-get-body" => "enable")
accesslog.filename = "DIRECTORY/seen"
accesslog.format = "%r"
cgi.assign = (".cgi" => "/bin/sh")
url.rewrite-once = ("" => "/echo.cgi")
"#;

const LIGHTTPD_ECHO: &str = r#"
printf 'Status: 200\r\nTarget: %s\r\n\r\n' "$REQUEST_URI"
exec cat
"#;

const HAPROXY: &str = r#"
global
  log stdout len 8192 format raw local0 info
  nbthread 1
defaults
  mode http
  log global
  option http-buffer-request
  option dontlognull
  timeout client 60s
  timeout http-request 60s
frontend origin
  bind 127.0.0.1:PORT
  log-format "%HM %HU"
  http-request return status 200 content-type text/plain hdr Target "%[pathq]" lf-string "%[req.body]"
"#;

const GUNICORN_ECHO: &str = r#"
def answer(environ, start_response):
    method, target = environ["REQUEST_METHOD"], environ["RAW_URI"]
    with open("DIRECTORY/seen", "a") as seen:
        seen.write(f"{method} {target}\n")
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Target", target), ("Content-Length", str(len(body)))])
    return [body]
"#;
